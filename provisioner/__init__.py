"""Claims become LUNs: watches PersistentVolumeClaims and writes PersistentVolumes."""
