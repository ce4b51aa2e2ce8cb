"""The command `lundock-target`."""
