"""The commands of vm-disks, a module each. None imports libvirt or kubernetes before it needs them: `xml` is fast."""
