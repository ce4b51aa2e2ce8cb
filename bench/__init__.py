"""Benchmarks: each a command that measures side by side in one run, prints a table and writes JSON."""
