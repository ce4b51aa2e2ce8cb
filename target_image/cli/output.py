"""How `lundock-target` prints what the API gave: a table for people, JSON or YAML for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from lundock_common.command_line import Failure
from lundock_common.quantity import for_people
from lundock_common.tables import Form, render, serialize
from target_image.api import fields, responses

T = TypeVar("T", bound=BaseModel)
Columns = dict[str, Callable[[Any], str]]


def show(models: Sequence[BaseModel], form: Form) -> None:
    """Print models of one kind: a table, or a list of them."""
    if form in ("json", "yaml"):
        click.echo(serialize([model.model_dump(mode="json") for model in models], form))
    else:
        click.echo(_table(models) if models else "none")


def show_one(model: BaseModel, form: Form) -> None:
    """Print one model: a table of one row, or the object itself, as kubectl does."""
    click.echo(serialize(model.model_dump(mode="json"), form) if form in ("json", "yaml") else _table([model]))


def show_fields(models: dict[str, BaseModel], form: Form) -> None:
    """Print models by their names: a line for each of their fields, or one object."""
    if form in ("json", "yaml"):
        click.echo(serialize({name: model.model_dump(mode="json") for name, model in models.items()}, form))
        return
    rows = [
        (name.replace("_", " "), for_people(value) if name.endswith("_bytes") else str(value))
        for model in models.values()
        for name, value in model
    ]
    click.echo(render((), rows))


def found(model: T | None, name: str) -> T:
    """The model, or a failure because it is not there."""
    if model is None:
        raise Failure(f"there is no {name}")
    return model


def parsed(model: type[T], content: dict[str, Any]) -> T:
    """The model of what was typed, or a usage error that names the field and hides its value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise click.UsageError("; ".join(found)) from error


def _table(models: Sequence[BaseModel]) -> str:
    columns = _COLUMNS.get(type(models[0])) or {name: _attribute(name) for name in type(models[0]).model_fields}
    return render(list(columns), [[show_cell(model) for show_cell in columns.values()] for model in models])


def _attribute(name: str) -> Callable[[Any], str]:
    return lambda model: str(getattr(model, name))


def _phase(model: Any) -> str:
    if model.phase is fields.Phase.WORKING and model.bytes_total:
        return f"{model.phase} {100 * model.bytes_done // model.bytes_total}%"
    return f"{model.phase}: {model.condition.code}" if model.condition else str(model.phase)


def _source(volume: responses.Volume) -> str:
    if isinstance(volume.source, responses.ImageSource):
        return f"image {volume.source.image}"
    return f"volume {volume.source.volume}" if isinstance(volume.source, responses.VolumeSource) else "-"


_COLUMNS: dict[type[BaseModel], Columns] = {
    responses.Volume: {
        "id": lambda volume: volume.id,
        "size": lambda volume: for_people(volume.size_bytes),
        "used": lambda volume: for_people(volume.allocated_bytes),
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
        "size": lambda image: for_people(image.virtual_size_bytes) if image.virtual_size_bytes else "-",
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
