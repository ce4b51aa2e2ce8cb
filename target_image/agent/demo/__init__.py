"""The demo target of 2017: what it serves, and what it tells people."""
