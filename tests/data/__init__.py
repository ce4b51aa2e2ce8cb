"""What earlier agents answered, and the ledgers that they left: `python -m tests.data.record` made it."""
