from __future__ import annotations

from importlib import import_module

from provisioner.__main__ import LundockProvisioner


def test_help_says_of_a_command_what_the_command_says() -> None:
    for name, place in LundockProvisioner.commands_at.items():
        module, _, attribute = place.partition(":")
        text = " ".join(str(getattr(import_module(module), attribute).help).split())
        assert text.startswith(LundockProvisioner.summaries[name])
