"""The target's contract: what goes over the wire and its client. The only package of the target that others import."""
