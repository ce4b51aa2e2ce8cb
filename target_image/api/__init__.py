"""The target's contract: the only package of the target that others import.

requests    what a client may ask; unknown fields are refused
responses   what the agent answers; unknown fields are ignored
problems    errors as they are answered, and their stable codes
failures    the base of the errors that agent and client raise
echo        requests that repeat what an answer said
client      the API as a typed Python class
"""
