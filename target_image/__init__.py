"""The containerized iSCSI target and its client."""
