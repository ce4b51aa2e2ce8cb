"""The tgt engine: targets in one or several tgtd processes, all in user space.

What was applied is remembered, so that a change asks tgtd only for the difference and the cost of a call
does not grow with the number of targets: tgtd can show one target's LUNs only together with everyone
else's. `audit` reads all of it back, once after a replay and then now and again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

import structlog

from lundock_common.portal import Portal
from target_image.agent import addresses
from target_image.agent.engines import EngineCapabilities, LiveSession, TargetState
from target_image.agent.engines.tgt import plan, show
from target_image.agent.engines.tgt.daemon import POLL_S, Daemon
from target_image.agent.engines.tgt.ipc import ANY_TID, Code, Mode, Op, Request, TgtRefused
from target_image.agent.errors import EngineDown, EngineFailed, Invalid, NotSupported
from target_image.agent.settings import Settings

log = structlog.get_logger()

END_SESSIONS_TIMEOUT_S = 5.0
UNSPECIFIED = IPv4Address(0)
SHOW_ALL_ABOVE = 16
"""From this many targets on, one `show` of everything is the cheapest way to see which of them have sessions at all."""


class TgtEngine:
    """See engines.Engine. One lock per export is the caller's business; different targets may go in parallel."""

    name = "tgt"
    capabilities = EngineCapabilities(
        grow="detached",
        mutual_chap=True,
        access_by_initiator=True,
        access_by_network=True,
        access_by_both=False,
        unmap=True,
    )

    def __init__(self, settings: Settings) -> None:
        self._addresses = [address for address in settings.iscsi_addresses if addresses.usable(address)]
        self._port = settings.iscsi_port
        self._daemons = [
            Daemon(
                shard,
                settings.run_dir,
                [str(Portal(address, settings.iscsi_port + shard)) for address in self._addresses],
                settings.nop_interval_s,
                settings.nop_count,
            )
            for shard in range(settings.shards)
        ]
        self._hung_after_s = settings.hung_after_s
        self._applied: list[dict[int, TargetState]] = [{} for _ in self._daemons]
        """By shard, then tid. A new tgtd has a new dict: who is still busy with the old one changes nothing in it."""

    def start(self) -> None:
        for daemon in self._daemons:
            daemon.start()

    def open(self) -> None:
        for daemon in self._daemons:
            daemon.set_state("ready")

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self._daemons)) as pool:
            list(pool.map(Daemon.stop, self._daemons))
        self._applied = [{} for _ in self._daemons]

    def kill_hung(self) -> None:
        for daemon in self._daemons:
            daemon.kill_hung(self._hung_after_s)

    def dead_shards(self) -> set[int]:
        return {daemon.shard for daemon in self._daemons if not daemon.alive()}

    def restart(self, shard: int) -> None:
        self._applied[shard] = {}
        self._daemons[shard].start()

    def ready(self) -> bool:
        return all(daemon.ready() for daemon in self._daemons)

    def portals(self, shard: int) -> list[str]:
        return [str(Portal(own, self._port + shard)) for address in self._addresses for own in addresses.own(address)]

    def check(self, target: TargetState) -> None:
        for lun in target.luns:
            path = str(lun.address.as_file())
            if "," in path or "=" in path:
                raise Invalid(f"tgt cannot serve {path}: rename it, a path may hold no comma or equals sign")
        both = any(":" not in address for address in self._addresses)
        for network in map(ip_network, target.networks):
            if isinstance(network, IPv6Network) and both:
                raise NotSupported(
                    f"tgt cannot keep {network} to itself while it listens on IPv4 too: it takes an IPv4 initiator for "
                    "the IPv6 one before it; name initiators, or start with IPv6 --iscsi-addresses only"
                )
            if isinstance(network, IPv4Network) and UNSPECIFIED in network:
                raise NotSupported(
                    f"tgt takes every IPv6 initiator for 0.0.0.0, which is in {network}: name smaller networks"
                )

    def apply(self, target: TargetState) -> None:
        self.check(target)
        applied = self._applied_of(target)
        known = applied.pop(target.tid, None)
        if known == target:
            applied[target.tid] = target
            return
        if known is not None:
            self._send_all(target, plan.change(plan.Observed.of(known), target))
        else:
            self._create_or_adopt(target)
        self._read_back(target)
        applied[target.tid] = target

    def remove(self, target: TargetState) -> None:
        self._applied_of(target).pop(target.tid, None)
        gone = frozenset({Code.NO_TARGET})
        deadline = time.monotonic() + END_SESSIONS_TIMEOUT_S
        self._send(target, Request(Mode.TARGET, Op.UPDATE, target.tid, text="state=offline", tolerated=gone))
        while True:
            for session in self.sessions([target]):
                self.end_session(target, session)
            busy = frozenset({Code.NO_TARGET, Code.LUN_ACTIVE, Code.TARGET_ACTIVE})
            self._send(target, Request(Mode.TARGET, Op.DELETE, target.tid, force=True, tolerated=busy))
            if not self._exists(target):
                break
            if time.monotonic() > deadline:
                raise EngineFailed(
                    f"target {target.iqn} could not be removed: its commands did not end within "
                    f"{END_SESSIONS_TIMEOUT_S:g} s; repeat the request, or look at the disk below"
                )
            time.sleep(POLL_S)
        for name in () if target.chap is None else (target.chap.username, target.chap.mutual_username):
            if name is not None:
                self._send(target, plan.delete_account(name))

    def audit(self, targets: Sequence[TargetState]) -> list[TargetState]:
        """The targets that are not what was applied, after reading all of them back. They are forgotten.

        Initiators without a proper name are logged out: their names would be read as tgtd's own words.
        """
        self._end_nameless(targets)
        differing = []
        for shard in {target.shard for target in targets}:
            shown = self._show_all(shard)
            differing += [
                target for target in targets if target.shard == shard and not _matches(shown.get(target.tid), target)
            ]
        for target in differing:
            self._applied_of(target).pop(target.tid, None)
        return differing

    def sessions(self, targets: Iterable[TargetState]) -> list[LiveSession]:
        wanted = {target.tid: target for target in targets}
        if len(wanted) > SHOW_ALL_ABOVE:
            shards = {target.shard for target in wanted.values()}
            busy = {tid for shard in shards for tid, shown in self._show_all(shard).items() if shown.busy}
            wanted = {tid: target for tid, target in wanted.items() if tid in busy}
        return [session for target in wanted.values() for session in self._live_sessions(target)]

    def end_session(self, target: TargetState, session: LiveSession) -> None:
        gone = frozenset({Code.NO_TARGET, Code.NO_SESSION, Code.NO_CONNECTION})
        for connection in session.connections:
            self._send(
                target,
                Request(Mode.CONNECTION, Op.DELETE, target.tid, sid=session.session, cid=connection, tolerated=gone),
            )

    def session_bytes(self, target: TargetState) -> dict[int, tuple[int, int]]:
        """Bytes read and written by LUN, of the sessions that live now."""
        return show.session_bytes(self._send(target, Request(Mode.TARGET, Op.STATS, target.tid)))

    def _live_sessions(self, target: TargetState) -> list[LiveSession]:
        gone = frozenset({Code.NO_TARGET})
        stats = Request(Mode.TARGET, Op.STATS, target.tid, tolerated=gone)
        shown = show.connections(self._send(target, Request(Mode.CONNECTION, Op.SHOW, target.tid, tolerated=gone)))
        live = _by_session(target.iqn, shown)
        if len(live) > 1 and not show.sessions_of(self._send(target, stats)) >= {each.session for each in live}:
            # One of them made the others up, or has just gone: then the next look is clear again.
            return [replace(each, initiator=show.NAMELESS, addresses=()) for each in live]
        return live

    def _applied_of(self, target: TargetState) -> dict[int, TargetState]:
        """What is known to be applied in the target's shard.

        Raises:
            EngineFailed: there is no such shard.
        """
        if target.shard >= len(self._daemons):
            raise EngineFailed(
                f"target {target.iqn} belongs to shard {target.shard}, and there are {len(self._daemons)}: "
                "a volume keeps its shard, so start with at least as many --shards as before"
            )
        return self._applied[target.shard]

    def _send(self, target: TargetState, request: Request) -> str:
        self._applied_of(target)
        send = self._daemons[target.shard].socket.send
        try:
            return send(request)
        except TgtRefused as refused:
            if request.replaces is None or refused.tgt_code != Code.USER_EXISTS:
                raise
            send(request.replaces)
            return send(request)

    def _create_or_adopt(self, target: TargetState) -> None:
        """Make it; where tgtd has it already, since an attempt broke off, change that. Asking first costs more."""
        first, *rest = plan.create(target)
        try:
            self._send(target, first)
        except TgtRefused as refused:
            observed = self._read_state(target) if refused.tgt_code == Code.TARGET_EXISTS else None
            if observed is None:  # another tid has its IQN
                raise EngineFailed(f"target {target.iqn} could not be set up: {refused.detail}") from refused
            rest = list(plan.change(observed, target))
        self._send_all(target, rest)

    def _send_all(self, target: TargetState, requests: Iterable[Request]) -> None:
        for request in requests:
            try:
                self._send(target, request)
            except EngineDown:
                raise
            except EngineFailed as error:
                raise EngineFailed(f"target {target.iqn} could not be set up: {error.detail}") from error

    def _end_nameless(self, targets: Sequence[TargetState]) -> None:
        by_iqn = {target.iqn: target for target in targets}
        for session in self.sessions(targets):
            if session.initiator == show.NAMELESS:
                log.warning("an initiator whose name is no iSCSI name is shown out", iqn=session.iqn)
                self.end_session(by_iqn[session.iqn], session)

    def _show_all(self, shard: int) -> dict[int, show.ShownTarget]:
        return show.targets(self._daemons[shard].socket.send(Request(Mode.TARGET, Op.SHOW, ANY_TID)))

    def _exists(self, target: TargetState) -> bool:
        gone = frozenset({Code.NO_TARGET})
        return self._send(target, Request(Mode.TARGET, Op.SHOW, target.tid, tolerated=gone)) != ""

    def _read_state(self, target: TargetState) -> plan.Observed | None:
        if not self._exists(target):
            return None
        shown = self._show_all(target.shard).get(target.tid)
        if shown is not None and not shown.clear:
            raise EngineFailed(
                f"target {target.iqn} cannot be read back: an initiator's name garbles what tgtd shows of it; "
                "it is tried again when that initiator was shown out"
            )
        return None if shown is None else plan.Observed.shown(shown)

    def _read_back(self, target: TargetState) -> None:
        """Each LUN answers; tgtd's own words for the rest are read by `audit`."""
        for lun in target.luns:
            self._send(target, Request(Mode.DEVICE, Op.STATS, target.tid, lun=lun.lun))


def _matches(shown: show.ShownTarget | None, target: TargetState) -> bool:
    """Whether what tgtd shows is the target. Where that is not clear, it is not said to differ."""
    if shown is not None and not shown.clear:
        log.warning("what tgtd shows of a target is garbled", iqn=target.iqn)
        return True
    if shown is None or shown.iqn != target.iqn or set(shown.luns) != {lun.lun for lun in target.luns}:
        return False
    luns_match = all(
        (is_lun.path, is_lun.read_only, is_lun.online, is_lun.serial, is_lun.thin)
        == (lun.address.value, lun.read_only, True, lun.serial, lun.thin)
        for lun in target.luns
        for is_lun in [shown.luns[lun.lun]]
    )
    observed = plan.Observed.shown(shown)
    return luns_match and observed.acls == plan.acls(target) and observed.accounts == plan.accounts(target.chap)


def _by_session(iqn: str, connections: Sequence[show.ShownConnection]) -> list[LiveSession]:
    by_session: dict[int, list[show.ShownConnection]] = {}
    for connection in connections:
        by_session.setdefault(connection.session, []).append(connection)
    return [
        LiveSession(
            iqn=iqn,
            session=number,
            initiator=links[0].initiator if len({link.initiator for link in links}) == 1 else show.NAMELESS,
            addresses=tuple(link.address for link in links if link.address),
            connections=tuple(link.connection for link in links),
        )
        for number, links in by_session.items()
    ]
