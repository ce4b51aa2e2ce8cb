"""What the agent keeps on disk besides the volumes' data: the ledger, its rows, its migrations, and backups of it."""
