"""The subcommands of `lundock-provisioner`, a module each."""
