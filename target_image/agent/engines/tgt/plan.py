"""What to ask of tgtd so that one target becomes what it must be. Pure.

The order is the safety: a new target has no access list, so nobody gets in before everything is in place;
credentials change only while the access list is empty, since a target without accounts asks for none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from target_image.agent.engines import BackingLun, Credentials, TargetState
from target_image.agent.engines.tgt.ipc import Code, Mode, Op, Request
from target_image.agent.engines.tgt.show import ShownTarget
from target_image.agent.naming import VENDOR_ID

EVERYONE = "ALL"

SESSION_PARAMETERS = {
    "MaxRecvDataSegmentLength": "1048576",
    "MaxXmitDataSegmentLength": "1048576",
    "FirstBurstLength": "1048576",
    "MaxBurstLength": "16776192",
    "InitialR2T": "No",
}
"""Measured against tgt's defaults: 64 KiB writes at queue depth 32 are 3.6 times as fast, nothing is slower.

Each is a request, so that others are left out: ImmediateData is Yes by itself (usr/iscsi/target.c); with these bursts a
write of up to 17 MiB needs one R2T at most, so MaxOutstandingR2T has no part; a window of 128 commands (MaxQueueCmd)
is what the kernel's initiator asks for at most, and more than one I/O thread of a LUN can use.
"""


@dataclass(frozen=True)
class Observed:
    """What a target is known to be now. A LUN or credential that is None is there, but not known to be right."""

    luns: dict[int, BackingLun | None]
    acls: frozenset[str]
    chap: Credentials | None
    accounts: frozenset[str]

    @classmethod
    def of(cls, target: TargetState) -> Observed:
        """After `target` was applied as a whole."""
        return cls({lun.lun: lun for lun in target.luns}, acls(target), target.chap, accounts(target.chap))

    @classmethod
    def shown(cls, shown: ShownTarget) -> Observed:
        """After tgtd was asked: it shows no password, so the credentials count as unknown."""
        accounts = frozenset(name.removesuffix(" (outgoing)") for name in shown.accounts)
        return cls(dict.fromkeys(shown.luns), shown.acls, None, accounts)


def create(target: TargetState) -> Iterator[Request]:
    """Create a target that does not exist."""
    yield Request(Mode.TARGET, Op.NEW, target.tid, text=f"targetname={target.iqn}")
    for name, value in SESSION_PARAMETERS.items():
        yield Request(Mode.TARGET, Op.UPDATE, target.tid, text=f"{name}={value}")
    for lun in target.luns:
        yield from _add_lun(target.tid, lun)
    yield from _add_accounts(target)
    for acl in sorted(acls(target)):
        yield _bind(target.tid, acl)


def change(observed: Observed, target: TargetState) -> Iterator[Request]:
    """Change a target that exists into what it must be. Live sessions stay."""
    wanted_acls = acls(target)
    new_credentials = observed.chap != target.chap or observed.accounts != accounts(target.chap)
    for acl in sorted(observed.acls if new_credentials else observed.acls - wanted_acls):
        yield _unbind(target.tid, acl)
    wanted_luns = {lun.lun: lun for lun in target.luns}
    for number, lun in observed.luns.items():
        if wanted_luns.get(number) != lun or lun is None:
            yield Request(Mode.DEVICE, Op.DELETE, target.tid, lun=number, tolerated=frozenset({Code.NO_LUN}))
    for number, lun in wanted_luns.items():
        if observed.luns.get(number) != lun:
            yield from _add_lun(target.tid, lun)
    if new_credentials:
        for account in sorted(observed.accounts):
            yield delete_account(account)
        yield from _add_accounts(target)
    for acl in sorted(wanted_acls if new_credentials else wanted_acls - observed.acls):
        yield _bind(target.tid, acl)


def acls(target: TargetState) -> frozenset[str]:
    """The access list: names, or addresses; without either, everyone. tgt would OR both, so they never mix."""
    if target.initiators:
        return frozenset(target.initiators)
    return frozenset(target.networks or [EVERYONE])


def delete_account(name: str) -> Request:
    """Unbinds it everywhere, too (usr/target.c, account_del)."""
    return Request(Mode.ACCOUNT, Op.DELETE, text=f"user={name}", tolerated=frozenset({Code.NO_USER}))


def accounts(chap: Credentials | None) -> frozenset[str]:
    names = [] if chap is None else [chap.username, chap.mutual_username]
    return frozenset(name for name in names if name is not None)


def _add_lun(tid: int, lun: BackingLun) -> Iterator[Request]:
    yield Request(Mode.DEVICE, Op.NEW, tid, lun=lun.lun, text=f"path={lun.address.as_file()},bstype=rdwr")
    parameters = {
        "vendor_id": VENDOR_ID,
        "product_id": lun.product_id,
        "product_rev": "1",
        "scsi_sn": lun.serial,
        "scsi_id": f"{lun.serial[:16]}{lun.wwn}",
        "thin_provisioning": str(int(lun.thin)),
        "readonly": str(int(lun.read_only)),
    }
    text = ",".join(f"{name}={value}" for name, value in parameters.items())
    yield Request(Mode.DEVICE, Op.UPDATE, tid, lun=lun.lun, text=f"targetOps {text},")


def _add_accounts(target: TargetState) -> Iterator[Request]:
    chap = target.chap
    if chap is None:
        return
    yield from _add_account(target.tid, chap.username, chap.password, outgoing=False)
    if chap.mutual_username is not None and chap.mutual_password is not None:
        yield from _add_account(target.tid, chap.mutual_username, chap.mutual_password, outgoing=True)


def _add_account(tid: int, name: str, password: str, *, outgoing: bool) -> Iterator[Request]:
    # One that a broken attempt left behind may hold an old password.
    yield Request(Mode.ACCOUNT, Op.NEW, text=f"user={name},password={password}", replaces=delete_account(name))
    yield Request(Mode.ACCOUNT, Op.BIND, tid, text=f"user={name}", outgoing=outgoing)


def _bind(tid: int, acl: str) -> Request:
    return Request(Mode.TARGET, Op.BIND, tid, text=_acl_text(acl), tolerated=frozenset({Code.ACL_EXISTS}))


def _unbind(tid: int, acl: str) -> Request:
    return Request(Mode.TARGET, Op.UNBIND, tid, text=_acl_text(acl), tolerated=frozenset({Code.NO_ACL}))


def _acl_text(acl: str) -> str:
    """Names and addresses go in separate requests: both in one stores garbage (usr/mgmt.c, target_mgmt)."""
    return f"initiator-name={acl}" if acl.startswith(("iqn.", "eui.", "naa.")) else f"initiator-address={acl}"
