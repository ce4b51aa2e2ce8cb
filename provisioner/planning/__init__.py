"""What a claim or a PersistentVolume asks for, and what to do about it. Pure: nothing here calls anything."""
