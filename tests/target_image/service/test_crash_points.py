"""The agent is killed between any two steps of any change; the next start finishes it or it never was.

A step is a call that changes the ledger, the store or the engine. Each operation is run again and again,
dying one step later each time, until it gets through; after each death a new agent starts on the same
folder and is asked the same again, as the provisioner would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lundock_common.quantity import MIB
from target_image.agent.engines.tgt.engine import TgtEngine
from target_image.agent.engines.tgt.ipc import ManagementSocket
from target_image.agent.service.agent import Agent
from target_image.agent.state.ledger import Ledger
from target_image.agent.stores.sparse_file import SparseFileStore
from target_image.api import fields, requests
from tests.target_image import initiator
from tests.target_image.conftest import MakeLocalAgent, export_spec, volume_spec
from tests.waiting import eventually

pytestmark = pytest.mark.integration
OLD = {"username": "disk", "password": "the-first-password"}
NEW = {"username": "disk", "password": "the-second-password"}

STEPS: list[tuple[type[Any], str]] = [
    *((Ledger, name) for name in ("add_volume", "save_volume", "forget_volume")),
    *((Ledger, name) for name in ("add_export", "save_export", "forget_export")),
    *((SparseFileStore, name) for name in ("create", "fill", "grow", "remove", "trash", "restore")),
    *((TgtEngine, name) for name in ("apply", "remove")),
    (ManagementSocket, "send"),
]


class Killed(BaseException):
    """Not an Exception: nothing may catch it and tidy up, as nothing can when the process is gone."""


class Death:
    """Counts steps, and kills before or after the chosen one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left: int | None = None
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self._mortal(getattr(owner, name)))

    @contextmanager
    def after(self, moments: int) -> Iterator[None]:
        self._left = moments
        try:
            yield
        finally:
            self._left = None

    def _mortal(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*values: Any, **named: Any) -> Any:
            self._moment()
            result = step(*values, **named)
            self._moment()
            return result

        return mortal

    def _moment(self) -> None:
        if self._left is None or threading.current_thread() is not threading.main_thread():
            return  # the supervisor's own steps would make the count a matter of luck
        if self._left == 0:
            self._left = None
            raise Killed
        self._left -= 1


Work = Callable[[Agent], object]


def _make_volume(agent: Agent) -> object:
    return agent.volumes.ensure("disk", volume_spec(16))


def _make_export(agent: Agent) -> object:
    _make_volume(agent)
    return agent.exports.ensure("disk", export_spec("disk", chap=OLD))


def _grow(agent: Agent) -> object:
    return agent.volumes.ensure("disk", volume_spec(32), if_match="*")


def _rotate(agent: Agent) -> object:
    return agent.exports.ensure("disk", export_spec("disk", chap=NEW), if_match="*")


def _unexport(agent: Agent) -> None:
    agent.exports.remove("disk")


def _delete(agent: Agent) -> None:
    agent.volumes.remove("disk")


def _trash(agent: Agent) -> object:
    return agent.volumes.trash("disk")


def _can_log_in(agent: Agent, chap: dict[str, str]) -> bool:
    [portal] = agent.engine.portals(0)
    login = initiator.Login(portal, "iqn.2026-11.io.lundock:disk", chap["username"], chap["password"])
    return initiator.can_log_in(login)


def _served(agent: Agent, chap: dict[str, str], size_bytes: int) -> None:
    other = NEW if chap is OLD else OLD
    assert _can_log_in(agent, chap)
    assert not _can_log_in(agent, other)
    export = agent.exports.get("disk").answer
    assert (export.phase, export.condition) == (fields.Phase.READY, None)
    assert agent.volumes.get("disk").answer.size_bytes == size_bytes
    assert agent.store.address("disk").as_file().stat().st_size == size_bytes


def _files(agent: Agent) -> set[str]:
    return {path.name for folder in ("volumes", "trash") for path in (agent.settings.data_dir / folder).iterdir()}


def _check_made(agent: Agent) -> None:
    assert agent.volumes.get("disk").answer.phase is fields.Phase.READY
    assert _files(agent) == {"disk.raw"}


def _check_deleted(agent: Agent) -> None:
    assert agent.volumes.list() == []
    assert _files(agent) == set()
    assert agent.ledger.promised_bytes() == 0


def _check_unexported(agent: Agent) -> None:
    assert agent.exports.list() == []
    assert initiator.discover(*agent.engine.portals(0)) == set()


def _check_trashed(agent: Agent) -> None:
    assert not agent.store.address("disk").as_file().exists()
    assert _files(agent) == {"disk.raw"}


@pytest.mark.parametrize(
    ("before", "work", "check"),
    [
        ([], _make_volume, _check_made),
        ([_make_volume], _make_export, lambda agent: _served(agent, OLD, 16 * MIB)),
        ([_make_export], _grow, lambda agent: _served(agent, OLD, 32 * MIB)),
        ([_make_export], _rotate, lambda agent: _served(agent, NEW, 16 * MIB)),
        ([_make_export], _unexport, _check_unexported),
        ([_make_volume], _delete, _check_deleted),
        ([_make_volume], _trash, _check_trashed),
    ],
    ids=["make-volume", "make-export", "grow", "rotate", "unexport", "delete", "trash"],
)
def test_a_kill_at_any_step(
    make_local_agent: MakeLocalAgent,
    monkeypatch: pytest.MonkeyPatch,
    before: list[Work],
    work: Work,
    check: Callable[[Agent], None],
) -> None:
    death = Death(monkeypatch)
    agent = make_local_agent()
    for moments in range(1000):
        for step in before:
            step(agent)
        try:
            with death.after(moments):
                work(agent)
        except Killed:
            agent = _restart(agent, make_local_agent)
            work(agent)
            check(agent)
            _reset(agent)
        else:
            check(agent)
            assert moments > 2, "nothing was ever killed"
            return
    pytest.fail("the work never got through")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_kill_while_a_copy_is_made(make_local_agent: MakeLocalAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_local_agent()
    agent.volumes.ensure("origin", volume_spec(16))
    agent.store.address("origin").as_file().write_bytes(b"origin" * 1000 + bytes(16 * MIB - 6000))

    def dying_fill(*_: object, **__: object) -> None:
        (agent.settings.data_dir / "volumes" / "copy.part").write_bytes(b"half")
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(SparseFileStore, "fill", dying_fill)
        agent.volumes.ensure("copy", volume_spec(16, requests.VolumeSource(volume="origin")))
        eventually((agent.settings.data_dir / "volumes" / "copy.part").exists, "the copy has begun")
    agent = _restart(agent, make_local_agent)
    eventually(lambda: agent.volumes.get("copy").answer.phase is fields.Phase.READY, "the copy is ready")
    assert agent.store.address("copy").as_file().read_bytes() == agent.store.address("origin").as_file().read_bytes()
    assert _files(agent) == {"copy.raw", "origin.raw"}


def _restart(agent: Agent, make_local_agent: MakeLocalAgent) -> Agent:
    """As after SIGKILL: tgtd is gone with the agent, and so is the lock; nothing was tidied up."""
    engine = agent.engine
    assert isinstance(engine, TgtEngine)
    agent.supervisor._stopping = True  # the thread would otherwise mend what the next agent shall mend
    for daemon in engine._daemons:
        daemon.kill()
    agent.stop()
    return make_local_agent()


def _reset(agent: Agent) -> None:
    for export in agent.exports.list():
        agent.exports.remove(export.id, force=True)
    for volume in agent.volumes.list():
        agent.volumes.remove(volume.id)
    assert list(Path(agent.settings.data_dir / "volumes").iterdir()) == []
