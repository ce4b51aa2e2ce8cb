"""libiscsi's SCSI and iSCSI conformance tests (iscsi-test-cu)."""
