"""The agent: the container's main process, which owns the target engine and serves the API."""
