"""How `lundock-target` prints what the API gave: a table for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click
import yaml
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from target_image.api import fields, requests, responses

Form = Literal["table", "json", "yaml"]
WIDE = 2000
FORMS = ("table", "json", "yaml")
T = TypeVar("T", bound=BaseModel)
Columns = dict[str, Callable[[Any], str]]


def show(models: Sequence[BaseModel], form: Form) -> None:
    """Print models of one kind: a table, or a list of them."""
    if form == "table":
        _table(models)
    else:
        _serialize([model.model_dump(mode="json") for model in models], form)


def show_one(model: BaseModel, form: Form) -> None:
    """Print one model: a table of one row, or the object itself, as kubectl does."""
    if form == "table":
        _table([model])
    else:
        _serialize(model.model_dump(mode="json"), form)


def show_fields(models: dict[str, BaseModel], form: Form) -> None:
    """Print models by their names: a line for each of their fields, or one object."""
    if form != "table":
        _serialize({name: model.model_dump(mode="json") for name, model in models.items()}, form)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for model in models.values():
        for name, value in model:
            table.add_row(name.replace("_", " "), size(value) if name.endswith("_bytes") else str(value))
    _console().print(table)


def found(model: T | None, name: str) -> T:
    """The model, or a failure because it is not there."""
    if model is None:
        raise click.ClickException(f"there is no {name}")
    return model


def parsed(model: type[T], content: dict[str, Any]) -> T:
    """The model of what was typed, or a usage error that names the field and hides its value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise click.UsageError("; ".join(found)) from error


def _serialize(content: object, form: Form) -> None:
    click.echo(json.dumps(content, indent=2) if form == "json" else yaml.safe_dump(content, sort_keys=False).rstrip())


def size(count: int) -> str:
    """A number of bytes for people: 1.5 GiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def _console() -> Console:
    """As wide as the terminal; without one as wide as the rows, so that grep finds whole ids."""
    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def _table(models: Sequence[BaseModel]) -> None:
    if not models:
        click.echo("none")
        return
    columns = _COLUMNS.get(type(models[0])) or {name: _attribute(name) for name in type(models[0]).model_fields}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.upper(), overflow="fold")
    for model in models:
        table.add_row(*(cell(model) for cell in columns.values()))
    _console().print(table)


def _attribute(name: str) -> Callable[[Any], str]:
    return lambda model: str(getattr(model, name))


def _phase(model: Any) -> str:
    if model.phase is fields.Phase.WORKING and model.bytes_total:
        return f"{model.phase} {100 * model.bytes_done // model.bytes_total}%"
    return f"{model.phase}: {model.condition.code}" if model.condition else str(model.phase)


def _source(volume: responses.Volume) -> str:
    if isinstance(volume.source, requests.ImageSource):
        return f"image {volume.source.image}"
    return f"volume {volume.source.volume}" if isinstance(volume.source, requests.VolumeSource) else "-"


_COLUMNS: dict[type[BaseModel], Columns] = {
    responses.Volume: {
        "id": lambda volume: volume.id,
        "size": lambda volume: size(volume.size_bytes),
        "used": lambda volume: size(volume.allocated_bytes),
        "source": _source,
        "exports": lambda volume: ", ".join(volume.exports) or "-",
        "phase": _phase,
    },
    responses.Export: {
        "id": lambda export: export.id,
        "iqn": lambda export: export.iqn,
        "portals": lambda export: ", ".join(export.portals),
        "luns": lambda export: ", ".join(
            f"{lun.lun}={lun.volume}{' (ro)' if lun.read_only else ''}" for lun in export.luns
        ),
        "chap": lambda export: export.chap.username if export.chap else "-",
        "sessions": lambda export: str(export.sessions),
        "phase": lambda export: f"{export.phase}: {export.condition.code}" if export.condition else str(export.phase),
    },
    responses.Image: {
        "name": lambda image: image.name,
        "phase": _phase,
        "size": lambda image: size(image.virtual_size_bytes) if image.virtual_size_bytes else "-",
        "stand-in": lambda image: "yes" if image.stand_in else "-",
        "licence": lambda image: (image.spec.licence if image.spec else "") or "-",
    },
    responses.Session: {
        "export": lambda session: session.export,
        "session": lambda session: str(session.session),
        "initiator": lambda session: session.initiator,
        "addresses": lambda session: ", ".join(session.addresses),
    },
}
