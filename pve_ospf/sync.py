"""Makes this node's kernel state what the cluster's state says it should be.

Read → plan → pace → apply, under one lock. Who calls it (a hook, a person, the agent) only
decides *when*: the outcome depends on nothing but what is read here.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from . import before, incoming, kernel, moving, onlink, sysctls
from .errors import CannotTell
from .interfaces import Roles
from .look import Memory, look
from .model import Announcement, Finding
from .pace import paced, remembered
from .picture import Picture
from .routes import Change, DeviceAddress, Plan, is_ours, plan, removal
from .sysctls import Sysctl

__all__ = ["Busy", "Memory", "Picture", "Result", "locked", "look", "remove_all", "sync"]

RUN = Path("/run/pve-ospf")
LOCK_PATIENCE = 20.0
"""Seconds a sync waits for another one. A hundred hooks at once take about ten."""


class Busy(CannotTell):
    """Another sync holds the lock."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a sync did, or would do: `failed` pairs a change with the kernel's reason.

    `due`: when the changes of `plan` that had to wait (see pace.py) may be made, in seconds of
    the monotonic clock; `done` are the others. `announced` is what belongs here, without what
    a stranger on the LAN holds.
    """

    plan: Plan
    findings: tuple[Finding, ...]
    failed: tuple[tuple[str, str], ...] = ()
    done: tuple[Change, ...] = ()
    due: float | None = None
    announced: tuple[Announcement, ...] = ()


def sync(dry_run: bool = False, stopped: Collection[int] = (),
         since: int | None = None) -> Result | None:
    """One full sync, and what has to wait for its turn after that: at most 1.1 s more.

    Returns None when one that began reading after `since` (nanoseconds of the monotonic clock)
    has already done the work: so a hundred hooks at once cost a few syncs, not a hundred.
    Raises ConfigError and CannotTell, with nothing changed.
    """
    with locked():
        if since is not None and _last_sync() > since:
            return None
        begun = time.monotonic_ns()
        picture = look(stopped)
        result = settle(picture, dry_run)
        onlink.announce(picture, onlink.taken(picture, result.done))
        if not (dry_run or result.failed or stopped or result.due):
            _write(RUN / "synced", str(begun))
    if result.due is None or dry_run:
        return result
    time.sleep(max(0.0, result.due - time.monotonic()))
    later = sync(stopped=stopped)
    if later is None:
        return result
    return Result(result.plan, later.findings, (*result.failed, *later.failed),
                  (*result.done, *later.done), announced=later.announced)


def settle(picture: Picture, dry_run: bool = False) -> Result:
    """Makes the kernel what `picture` says it should be, as far as it may be done now. For a
    caller that holds the lock. What fails is told."""
    kept = before.kept()
    if not dry_run:
        picture = onlink.free(picture)
        _end_moves(picture)
    planned = plan(picture.desired, picture.roles, picture.state, picture.away, kept)
    findings = (*picture.cluster.findings, *picture.desired.findings, *planned.findings)
    announced = picture.desired.announcements
    if dry_run:
        return Result(planned, findings)
    if not planned.changes:
        before.keep(sysctls.in_use(kept, picture.roles, picture.away))
        return Result(planned, findings, announced=announced)
    changed = {a: when for a, when in _changed().items() if a not in _unannounced(picture)}
    pace = paced(planned.changes, changed, time.monotonic())
    failed = _carry_out(pace.now, picture, kept)
    lost = {change for change, _ in failed}
    done = tuple(change for change in pace.now if change not in lost)
    _remember(remembered(done, changed, time.monotonic()))
    return Result(planned, findings, tuple((str(change), reason) for change, reason in failed),
                  done, pace.due, announced)


def _carry_out(changes: Collection[Change], picture: Picture,
               kept: frozenset[Sysctl]) -> list[tuple[Change, str]]:
    """What failed. What values are is kept before they are changed, and what they were until
    they have been set back."""
    items = [c.item for c in changes if c.action == "replace"]
    was = sysctls.before([i for i in items if isinstance(i, Sysctl)],
                         {i.device for i in items if isinstance(i, DeviceAddress)},
                         picture.state.sysctls)
    fresh = sysctls.in_use(was, picture.roles, picture.away)
    before.keep(sysctls.first(kept, fresh))
    failed = kernel.apply(changes)
    if not failed:
        still = sysctls.in_use(kept, picture.roles, picture.away)
        before.keep(sysctls.first(still, fresh))
    return failed


def _end_moves(picture: Picture) -> None:
    """The markers of VMs that are no longer on their way here; after free(), which needs them
    at the switchover itself."""
    for vmid, age in incoming.ages().items():
        if moving.over(picture.cluster.guest(vmid), picture.node.name,
                       lives=vmid in picture.runs, age=age):
            incoming.forget(vmid)


def _unannounced(picture: Picture) -> frozenset[IPv4Address]:
    """On-link addresses have no LSA that could come too soon."""
    return frozenset((*(a.address for a in picture.desired.announcements if a.uplink),
                      *(n.address for n in picture.state.proxies if is_ours(n))))


@contextmanager
def locked(patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """The one lock: whoever changes the kernel for us holds it. Raises Busy when another
    process or thread holds it for `patience` seconds."""
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(RUN / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, patience)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Busy(
                    f"{RUN}/lock: another sync has held it for {patience:g} s",
                    "see which: fuser -v /run/pve-ospf/lock") from None
            time.sleep(0.002)


def _last_sync() -> int:
    text = _text(RUN / "synced")
    return int(text) if text.isdigit() else 0


def _changed() -> dict[IPv4Address, float]:
    """When each address's route was changed last, whichever process did it."""
    found = {}
    for line in _text(RUN / "changed").splitlines():
        address, _, when = line.partition(" ")
        try:
            found[IPv4Address(address)] = float(when)
        except (AddressValueError, ValueError):
            continue  # torn by a full disk: the pace of that address is lost, and no more
    return found


def note_deleted(addresses: Mapping[IPv4Address, float]) -> None:
    """Routes of ours went then, by another's hand than sync's: to put one back at once would
    be too soon for its LSA (see pace.py). For a caller that holds the lock."""
    _remember({**_changed(), **addresses})


def _remember(changed: dict[IPv4Address, float]) -> None:
    _write(RUN / "changed", "".join(f"{a} {when:.3f}\n" for a, when in changed.items()))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> None:
    """Whole or not at all; what is kept here only saves work, so a failure is no error."""
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_text(text, encoding="ascii")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def remove_all() -> list[tuple[str, str]]:
    """Takes everything of ours out of the kernel; returns what failed, with the reason."""
    with locked():
        state = kernel.read_state(lambda _: Roles())
        failed = kernel.apply(removal(state, before.kept()).changes)
        if not failed:
            before.keep(())
    return [(str(change), reason) for change, reason in failed]
