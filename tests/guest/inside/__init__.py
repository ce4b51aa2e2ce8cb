"""Tests that run in the guest, by its own pytest (see ../test_lio.py): they need LIO, and do to it what they like."""
