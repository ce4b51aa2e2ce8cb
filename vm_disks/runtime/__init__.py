"""VMs on this machine: what a start needs on the host, and libvirt's domains."""
