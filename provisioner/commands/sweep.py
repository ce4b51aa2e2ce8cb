"""`lundock-provisioner sweep`: volumes that nobody names any more."""

from __future__ import annotations

from collections.abc import Sequence

import click

from lundock_common import tables
from lundock_common.command_line import output_option
from lundock_common.kubernetes_api import CLASSES
from provisioner import identity
from provisioner.commands.options import cluster_options, connect, load
from provisioner.context import Context, secret_namespaces
from provisioner.kube.events import Recorder
from provisioner.observing.metrics import Metrics
from provisioner.planning.orphans import Step
from provisioner.sweep import Sweeper
from provisioner.targets import Targets


@click.command()
@cluster_options
@click.option("--dry-run/--remove", default=True, show_default=True, help="Only print, or do what is due as well.")
@output_option
def sweep(config: str, kubeconfig: str | None, context: str | None, dry_run: bool, output: tables.Form) -> None:
    """List volumes of this release that no claim and no PV names any more, with reasons.

    With --remove, what is due is done once: an orphan that was made longer ago than sweep.graceSeconds goes to
    the trash, and what has been in the trash as long is deleted.

    \b
    Examples:
      lundock-provisioner sweep --dry-run
      lundock-provisioner sweep -o json
    """
    settings = load(config, text_logs=True)
    if not dry_run:
        settings = settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"mode": "remove"})})
    kube = connect(settings, kubeconfig, context)
    metrics = Metrics()
    recorder = Recorder(kube, settings.provisioner_name)
    recorder.start()
    places = secret_namespaces(kube.list(CLASSES)[0], settings)
    parts = Context(kube, Targets(settings, metrics), recorder, metrics, identity.of(kube, settings), settings)
    click.echo(render(Sweeper(parts, lambda: places).sweep(dry_run=dry_run, since_creation=True), output))
    recorder.stop()


def render(steps: Sequence[tuple[str, Step]], form: tables.Form) -> str:
    """Each orphan with what would be done and why, of these targets."""
    rows = [
        {
            "target": target,
            "volume": step.orphan.volume.id,
            "size_bytes": step.orphan.volume.size_bytes,
            "action": step.action,
            "reason": f"{step.orphan.why}; {step.why}",
        }
        for target, step in steps
    ]
    if form in ("json", "yaml"):
        return tables.serialize(rows, form)
    if not rows:
        return "No orphans: every volume of this release is named by a claim or a PV."
    return tables.render(("target", "volume", "size", "action", "reason"), [[*row.values()] for row in rows])
