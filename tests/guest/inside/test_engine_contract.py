"""The contract that tgt is held to, over LIO."""

from tests.target_image.contract.test_engine import *  # noqa: F403

# LIO tells no address of an initiator that the target does not name, and has no designator but those it builds from the
# serial number; test_lio_engine.py holds it to the rest of these two.
del test_sessions_are_listed_and_ended, test_identity_does_not_depend_on_the_target  # noqa: F821
