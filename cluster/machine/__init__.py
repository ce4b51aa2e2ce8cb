"""What is started and changed on this machine: programs, daemons, ports, networks, names."""
