"""What target, provisioner and vm_disks share: nothing here knows any of them."""
