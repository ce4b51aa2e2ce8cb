"""The command `lundock-provisioner`. Each subcommand imports what it needs: --help answers at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from provisioner.settings import Settings

DEFAULT_CONFIG = "/etc/lundock/provisioner.yaml"


class Group(click.Group):
    """Expected errors are one line on stderr and exit code 2, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        from provisioner.errors import ProvisionerError

        try:
            return super().invoke(ctx)
        except ProvisionerError as error:
            click.echo(f"lundock-provisioner: {error}", err=True)
            sys.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lundock")
def main() -> None:
    """Turns PersistentVolumeClaims into LUNs of Lundock targets.

    \b
    lundock-provisioner run                   watch, provision, delete; in the cluster, as a Deployment
    lundock-provisioner check                 can it work: API, rights, targets, classes, versions
    lundock-provisioner plan -f claim.yaml    what it would do with a claim, as YAML; touches nothing
    lundock-provisioner sweep --dry-run       volumes that nobody names any more, with reasons

    Configuration is one YAML file; provisioner/example.yaml shows every field.
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--context", help="Context of the kubeconfig file."),
        click.option("--kubeconfig", type=click.Path(exists=True), help="Instead of the pod's service account."),
        click.option("--config", type=click.Path(path_type=Path), default=DEFAULT_CONFIG, show_default=True),
    ):
        command = option(command)
    return command


def _load(config: Path, *, text_logs: bool) -> Settings:
    from provisioner import logs, settings

    loaded = settings.load(config)
    level = "warning" if text_logs else loaded.log.level
    logs.configure(loaded.log.model_copy(update={"format": "text", "level": level}) if text_logs else loaded.log)
    return loaded


@main.command()
@_options
def run(config: Path, kubeconfig: str | None, context: str | None) -> None:
    """Watch claims and volumes, and keep the targets as they ask. SIGTERM stops it and lets go of the Lease."""
    from provisioner import service, settings
    from provisioner.kube import client

    loaded = _load(config, text_logs=False)
    settings.master_key(loaded)
    sys.exit(service.run(client.configuration(kubeconfig, context), loaded))


@main.command()
@_options
def check(config: Path, kubeconfig: str | None, context: str | None) -> None:
    """Say whether the provisioner can work: API server, rights, targets, classes, versions. Exit code 1 if not."""
    from importlib.metadata import version

    from provisioner.commands import inspection
    from provisioner.kube import client
    from provisioner.metrics import Metrics
    from provisioner.targets import Targets

    loaded = _load(config, text_logs=True)
    api = client.Kube(client.configuration(kubeconfig, context), loaded.kubernetes)
    findings = inspection.check(api, loaded, Targets(loaded, Metrics()), version("lundock"))
    for finding in findings:
        click.echo(f"{finding.level:8}{finding.what}: {finding.detail}")
    sys.exit(1 if any(finding.level == "error" for finding in findings) else 0)


@main.command()
@_options
@click.option("-f", "--file", type=click.Path(path_type=Path), required=True, help="Claims, and classes if you like.")
def plan(config: Path, kubeconfig: str | None, context: str | None, file: Path) -> None:
    """Print what would be done with the claims of a file, as YAML, and touch nothing."""
    import yaml

    from provisioner import service
    from provisioner.commands import inspection
    from provisioner.kube import client

    loaded = _load(config, text_logs=True)
    claims, classes = inspection.read_documents(file)
    api = client.Kube(client.configuration(kubeconfig, context), loaded.kubernetes)
    identity = service.identity_of(api, loaded)
    plans = [inspection.plan_claim(item, classes, inspection.looking_up(api), loaded, identity) for item in claims]
    click.echo(yaml.safe_dump_all(plans, sort_keys=False), nl=False)
    sys.exit(1 if any(item["step"] == "Refuse" for item in plans) else 0)


@main.command()
@_options
@click.option("--dry-run/--remove", default=True, show_default=True, help="Only print, or do what is due as well.")
def sweep(config: Path, kubeconfig: str | None, context: str | None, dry_run: bool) -> None:
    """List volumes of this release that no claim and no PV names any more, with reasons.

    With --remove, what is due is done once: an orphan that was made longer ago than sweep.graceSeconds goes to
    the trash, and what has been in the trash as long is deleted.
    """
    from provisioner import service
    from provisioner.kube import client
    from provisioner.kube.events import Recorder
    from provisioner.metrics import Metrics
    from provisioner.sweep import Sweeper, print_table, secret_namespaces
    from provisioner.targets import Targets

    loaded = _load(config, text_logs=True)
    if not dry_run:
        loaded = loaded.model_copy(update={"sweep": loaded.sweep.model_copy(update={"mode": "remove"})})
    api = client.Kube(client.configuration(kubeconfig, context), loaded.kubernetes)
    metrics = Metrics()
    recorder = Recorder(api, loaded.provisioner_name)
    recorder.start()
    identity, places = service.identity_of(api, loaded), secret_namespaces(api.list(client.CLASSES)[0], loaded)
    sweeper = Sweeper(api, Targets(loaded, metrics), recorder, metrics, identity, loaded, lambda: places)
    click.echo(print_table(sweeper.sweep(dry_run=dry_run, since_creation=True)), nl=False)
    recorder.stop()


if __name__ == "__main__":
    main()
