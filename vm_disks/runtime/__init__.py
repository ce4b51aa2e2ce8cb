"""VMs on this machine, through libvirt: the only package that imports it."""
