"""The command `lundock-provisioner`."""

from __future__ import annotations

import click

from lundock_common.command_line import CONTEXT, Program, Subcommand
from lundock_common.kubernetes_api import KubernetesError, NoConfiguration
from provisioner.errors import ProvisionerError, SettingsError


class LundockProvisioner(Program):
    """`--help` imports neither the settings nor YAML."""

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

    failures = (ProvisionerError, KubernetesError)

    def unusable(self) -> tuple[type[Exception], ...]:
        """The configuration, the kubeconfig or the manifests."""
        from lundock_common.manifests import ManifestError

        return SettingsError, NoConfiguration, ManifestError


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
