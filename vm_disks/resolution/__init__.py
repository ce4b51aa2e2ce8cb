"""From a claim to its LUN, and from a VM's disks to devices: looked up, checked, numbered."""
