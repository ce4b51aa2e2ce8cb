"""The LIO engine: targets of the host's own kernel, made in configfs with rtslib-fb.

The kernel keeps its configuration when the agent dies: sessions go on, and the next agent adopts what it finds by
comparing it with what it has to serve. Ours are the targets with our alias and the storage objects with our prefix;
anything else in LIO belongs to someone else. rtslib keeps a cache in memory, so one process manages one host: an
flock on configfs itself holds that across containers.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lundock_common.portal import Portal, bracketed
from lundock_common.process import ProgramFailed
from target_image.agent import addresses
from target_image.agent.engines import Credentials, EngineCapabilities, LiveSession, TargetState
from target_image.agent.engines.lio import host
from target_image.agent.engines.lio.disks import Disks
from target_image.agent.engines.lio.shape import Shape, check
from target_image.agent.errors import EngineFailed
from target_image.agent.settings import Settings

ALIAS = "lundock"
"""The iSCSI TargetAlias of our targets."""


class LioEngine:
    """See engines.Engine. Calls are serialised: rtslib is not safe to use from two threads."""

    name = "lio"
    capabilities = EngineCapabilities(
        grow="detached",
        mutual_chap=True,
        access_by_initiator=True,
        access_by_network=False,
        access_by_both=False,
        unmap=True,
    )

    def __init__(self, settings: Settings) -> None:
        self._shards = settings.shards
        self._addresses = [address for address in settings.iscsi_addresses if addresses.usable(address)]
        self._port = settings.iscsi_port
        self._lock = threading.RLock()
        self._host_lock: int | None = None
        self._serving = False
        self._rtslib: Any = None
        self._fabric: Any = None

    def start(self) -> None:
        if self._shards != 1:
            raise EngineFailed("the kernel serves all targets itself: start the LIO engine with --shards 1")
        self._rtslib = host.import_rtslib()
        host.load_lio()
        self._host_lock = host.lock()
        try:
            with self._attempt("start"):
                host.make_state_folders()
                self._disks = Disks(self._rtslib, self._rtslib.RTSRoot())
                self._fabric = self._rtslib.FabricModule("iscsi")
                # rtslib refuses an authority of one label (iqn.2026-11.org:disk); fields.Iqn has checked the names.
                self._fabric.wwn_types = ("free",)
                _ = self._fabric.discovery_enable_auth  # the first look creates the fabric, which loads its module
        except EngineFailed:
            self._unlock_host()
            raise

    def open(self) -> None:
        with self._attempt("begin to serve"):
            self._serving = True
            for target in self._our_targets():
                self._ensure_tpg(target).enable = True
            self._disks.sweep()

    def stop(self) -> None:
        if self._host_lock is None:
            return
        with self._attempt("take its targets down"):
            self._serving = False
            for target in list(self._our_targets()):
                target.delete()
            self._disks.sweep()
        self._unlock_host()

    def kill_hung(self) -> None:
        """Nothing to do: the kernel cannot be killed alone."""

    def dead_shards(self) -> set[int]:
        return set()

    def restart(self, shard: int) -> None:
        """Nothing to do: the kernel does not die alone."""

    def ready(self) -> bool:
        """LIO listens only while it has a target, so that without one there is nothing to wait for."""
        if not self._serving:
            return False
        with self._attempt("be asked for its targets"):
            empty = not any(True for _ in self._our_targets())
        portals = (Portal(address, self._port) for address in self._addresses)
        return empty or all(addresses.accepts_connections(portal) for portal in portals)

    def portals(self, shard: int) -> list[str]:  # noqa: ARG002 - there is but one
        return [str(Portal(own, self._port)) for address in self._addresses for own in addresses.own(address)]

    def check(self, target: TargetState) -> None:
        check(target)

    def apply(self, target: TargetState) -> None:
        check(target)
        with self._attempt(f"serve target {target.iqn}"):
            wanted = Shape.of(target)
            tpg = self._ensure_tpg(self._ensure_target(target.iqn))
            self._apply_shape(tpg, wanted, target)
            self._add_portals(tpg)
            if self._serving:
                tpg.enable = True
            if self._read_shape(tpg) != wanted:
                raise EngineFailed(f"target {target.iqn} is not what LIO was told: something else changes it")

    def remove(self, target: TargetState) -> None:
        with self._attempt(f"remove target {target.iqn}"):
            found = self._find_target(target.iqn)
            if found is None:
                return
            served = self._read_shape(self._ensure_tpg(found)).disks.values()
            found.delete()
            self._disks.sweep({disk.name for disk in served})

    def audit(self, targets: Sequence[TargetState]) -> list[TargetState]:
        return [target for target in targets if not self._matches(target)]

    def sessions(self, targets: Iterable[TargetState]) -> list[LiveSession]:
        """One for each initiator of a target: LIO does not tell two sessions of one initiator apart.

        Addresses are known only of initiators that the target names.
        """
        with self._attempt("list sessions"):
            return [session for target in targets for session in self._live_sessions(target.iqn)]

    def end_session(self, target: TargetState, session: LiveSession) -> None:
        """LIO ends an initiator's sessions when its access record goes; then the record is made again as it was."""
        with self._attempt(f"end the session of {session.initiator} at target {target.iqn}"):
            found = self._find_target(target.iqn)
            if found is None or session.initiator not in {live.initiator for live in self._live_sessions(target.iqn)}:
                return
            tpg = self._ensure_tpg(found)
            before = self._read_shape(tpg)
            # Making the record of an initiator that came in without one takes over its session.
            self._rtslib.NodeACL(tpg, session.initiator).delete()
            if session.initiator in before.mapped:
                name = session.initiator
                self._grant_access(tpg, name, before.mapped[name], before.credentials[name])

    def session_bytes(self, target: TargetState) -> dict[int, tuple[int, int]]:
        """LIO counts whole MiB, since the LUN was made."""
        with self._attempt(f"read the counters of target {target.iqn}"):
            found = self._find_target(target.iqn)
            luns = () if found is None else self._ensure_tpg(found).luns
            return {lun.lun: _read_counters(Path(lun.path)) for lun in luns}

    def _unlock_host(self) -> None:
        if self._host_lock is not None:
            os.close(self._host_lock)
            self._host_lock = None

    def _our_targets(self) -> Iterator[Any]:
        return (
            target for target in self._fabric.targets if self._ensure_tpg(target).get_parameter("TargetAlias") == ALIAS
        )

    def _find_target(self, iqn: str) -> Any | None:
        return next((target for target in self._our_targets() if target.wwn == iqn), None)

    def _ensure_tpg(self, target: Any) -> Any:
        """The target's one portal group, made if it does not exist."""
        return self._rtslib.TPG(target, 1)

    def _ensure_target(self, iqn: str) -> Any:
        """Our target of this name, made if it does not exist. One that has nothing in it yet is ours as well."""
        target = self._rtslib.Target(self._fabric, iqn)
        tpg = self._ensure_tpg(target)
        if tpg.get_parameter("TargetAlias") != ALIAS:
            if tpg.enable or any(True for _ in tpg.luns):
                raise EngineFailed(
                    f"LIO has a target {iqn} that Lundock did not make: remove it there, or choose another IQN"
                )
            tpg.set_parameter("TargetAlias", ALIAS)
            tpg.set_attribute("cache_dynamic_acls", 1)
            tpg.set_attribute("demo_mode_write_protect", 0)
        return target

    def _add_portals(self, tpg: Any) -> None:
        # LIO's IPv6 wildcard takes IPv4 connections too, and cannot be bound beside the IPv4 one.
        both = "::" in self._addresses
        for address in self._addresses:
            if both and address == "0.0.0.0":  # noqa: S104
                continue
            written = {"::": "[::0]"}.get(address, bracketed(address))
            try:
                self._rtslib.NetworkPortal(tpg, written, self._port)
            except self._rtslib.RTSLibError as error:
                raise EngineFailed(
                    f"the kernel cannot listen on {Portal(address, self._port)} ({error}): "
                    "look for another program on this port of the host, or choose another --iscsi-port"
                ) from error

    def _apply_shape(self, tpg: Any, wanted: Shape, target: TargetState) -> None:
        """Change what exists into what is wanted. Access is narrowed before, and widened after all the rest."""
        is_now = self._read_shape(tpg)
        if not wanted.open:
            tpg.set_attribute("generate_node_acls", 0)
            tpg.set_attribute("demo_mode_discovery", 0)  # discovery shows the target only to those it lets in
        _write_credentials(tpg, wanted.credentials[""])
        if wanted.authentication:
            tpg.set_attribute("authentication", 1)
        for acl in list(tpg.node_acls):
            if acl.node_wwn not in wanted.mapped:
                acl.delete()
        for lun in list(tpg.luns):
            if is_now.disks[lun.lun] != wanted.disks.get(lun.lun):
                lun.delete()
        self._disks.sweep({disk.name for disk in is_now.disks.values()})
        present = {lun.lun for lun in tpg.luns}
        for backing in target.luns:
            if backing.lun not in present:
                self._rtslib.LUN(tpg, backing.lun, self._disks.ensure(backing, wanted.disks[backing.lun]))
        for initiator, luns in wanted.mapped.items():
            self._grant_access(tpg, initiator, luns, wanted.credentials[initiator])
        if not wanted.authentication:
            tpg.set_attribute("authentication", 0)
        if wanted.open:
            tpg.set_attribute("demo_mode_discovery", 1)
            tpg.set_attribute("generate_node_acls", 1)

    def _grant_access(self, tpg: Any, initiator: str, luns: dict[int, bool], credentials: Credentials | None) -> None:
        acl = self._rtslib.NodeACL(tpg, initiator)
        _write_credentials(acl, credentials)
        mapped = {lun.mapped_lun: lun for lun in acl.mapped_luns}
        for number, read_only in luns.items():
            if number in mapped:
                mapped[number].write_protect = read_only
            else:
                self._rtslib.MappedLUN(acl, number, number, read_only)

    def _read_shape(self, tpg: Any) -> Shape:
        acls = {acl.node_wwn: acl for acl in tpg.node_acls}
        return Shape(
            disks={lun.lun: self._disks.read_disk(lun.storage_object) for lun in tpg.luns},
            mapped={name: {m.mapped_lun: m.write_protect for m in acl.mapped_luns} for name, acl in acls.items()},
            credentials={name: _read_credentials(holder) for name, holder in [*acls.items(), ("", tpg)]},
            authentication=tpg.get_attribute("authentication") == "1",
            open=tpg.get_attribute("generate_node_acls") == "1",
        )

    def _matches(self, target: TargetState) -> bool:
        with self._attempt(f"read target {target.iqn} back"):
            found = self._find_target(target.iqn)
            if found is None:
                return False
            tpg = self._ensure_tpg(found)
            return bool(tpg.enable) == self._serving and self._read_shape(tpg) == Shape.of(target)

    def _live_sessions(self, iqn: str) -> list[LiveSession]:
        found = self._find_target(iqn)
        if found is None:
            return []
        tpg = self._ensure_tpg(found)
        live: dict[str, tuple[str, ...]] = {}
        for name in Path(tpg.path, "dynamic_sessions").read_text().replace("\0", "\n").split():
            live[name] = ()
        for acl in tpg.node_acls:
            if session := acl.session:
                live[acl.node_wwn] = tuple(link["address"] for link in session["connections"] if "address" in link)
        return [LiveSession(iqn, zlib.crc32(name.encode()), name, links) for name, links in live.items()]

    @contextlib.contextmanager
    def _attempt(self, what: str) -> Iterator[None]:
        if self._rtslib is None:
            raise EngineFailed(f"LIO could not {what}: the engine was not started")
        with self._lock:
            try:
                yield
            except (self._rtslib.RTSLibError, OSError, ProgramFailed) as error:
                raise EngineFailed(f"LIO could not {what}: {error}; the kernel's log may say why (dmesg)") from error


def _write_credentials(holder: Any, credentials: Credentials | None) -> None:
    """To a target portal group or a node's record; both have the same four properties."""
    if _read_credentials(holder) == credentials:
        return
    holder.chap_userid = credentials.username if credentials else ""
    holder.chap_password = credentials.password if credentials else ""
    holder.chap_mutual_userid = (credentials and credentials.mutual_username) or ""
    holder.chap_mutual_password = (credentials and credentials.mutual_password) or ""


def _read_credentials(holder: Any) -> Credentials | None:
    if not holder.chap_userid:
        return None
    return Credentials(
        holder.chap_userid,
        holder.chap_password,
        holder.chap_mutual_userid or None,
        holder.chap_mutual_password or None,
    )


def _read_counters(lun: Path) -> tuple[int, int]:
    port = lun / "statistics" / "scsi_tgt_port"
    read, written = ((port / name).read_text() for name in ("read_mbytes", "write_mbytes"))
    return int(read) << 20, int(written) << 20
