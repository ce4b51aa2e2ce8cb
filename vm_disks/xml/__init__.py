"""libvirt's XML: each field declared once, a whole domain, or a given one with its disks replaced. Pure."""
