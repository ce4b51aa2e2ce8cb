"""What the subcommands of `lundock-provisioner` do beside `run`."""
