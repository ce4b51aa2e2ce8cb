"""The agent over HTTP: the API, the page for people, health and metrics."""
