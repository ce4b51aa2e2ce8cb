"""A Linux guest with Debian's cloud kernel: where tests find LIO and the kernel's own iSCSI initiator."""
