"""The command `lundock-provisioner`."""

from __future__ import annotations

import click

from lundock_common.command_line import CONTEXT, Program, Subcommand
from provisioner.errors import ProvisionerError


class LundockProvisioner(Program):
    """Every error that a subcommand ends with is one of the configuration, the input or the cluster."""

    subcommands = {  # noqa: RUF012 (ClassVar of Program)
        "run": Subcommand(
            "provisioner.commands.run:run",
            "Watch claims and volumes, and keep the targets as they ask.",
        ),
        "check": Subcommand(
            "provisioner.commands.check:check",
            "Say whether the provisioner can work: API server, rights, targets, classes, versions.",
        ),
        "plan": Subcommand(
            "provisioner.commands.plan:plan",
            "Print what would be done with the claims of a file, as YAML, and touch nothing.",
        ),
        "sweep": Subcommand(
            "provisioner.commands.sweep:sweep",
            "List volumes of this release that no claim and no PV names any more, with reasons.",
        ),
    }

    def unusable(self) -> tuple[type[Exception], ...]:
        """All that a subcommand is expected to end with."""
        from lundock_common.kubernetes_api import KubernetesError
        from lundock_common.manifests import ManifestError

        return ProvisionerError, KubernetesError, ManifestError


@click.group(cls=LundockProvisioner, context_settings=CONTEXT)
@click.version_option(package_name="lundock")
def main() -> None:
    """Turns PersistentVolumeClaims into LUNs of Lundock targets.

    \b
    Examples:
      lundock-provisioner run                   watch, provision, delete; in the cluster, as a Deployment
      lundock-provisioner check                 can it work: API, rights, targets, classes, versions
      lundock-provisioner plan -f claim.yaml    what it would do with a claim, as YAML; touches nothing
      lundock-provisioner sweep --dry-run       volumes that nobody names any more, with reasons

    Configuration is one YAML file; provisioner/example.yaml shows every field.
    """


if __name__ == "__main__":
    main()
