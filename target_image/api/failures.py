"""What agent and client expect to go wrong. Imports nothing, so that `--help` waits for neither of them."""


class ExpectedError(Exception):
    """Its text says to a person what was attempted, why it failed and what to do next."""
