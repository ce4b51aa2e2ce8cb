"""What the agent does: volumes and exports as they are asked for, and the engine kept at what the ledger says."""
