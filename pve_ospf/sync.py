"""Makes this node's kernel state what the cluster's state says it should be.

Read → plan → apply, under one lock. Who calls it (a hook, a person, later the agent) only
decides *when*: the outcome depends on nothing but what is read here.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from . import lsdb, pve, rtnetlink, vtysh
from .announce import Desired, Never, Node, desired, never_ours
from .config import Config
from .errors import CannotTell
from .interfaces import Roles, classify
from .model import Finding, Guest
from .routes import KernelState, Plan, plan, removal

RUN = Path("/run/pve-ospf")
ROUTERS = Path("/var/lib/pve-ospf/routers")
LOCK_PATIENCE = 20.0
"""Seconds a sync waits for another one. A hundred hooks at once take about ten."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything one sync knows: what was read, and what follows from it."""

    config: Config
    cluster: pve.Cluster
    node: Node
    state: KernelState
    desired: Desired

    @property
    def roles(self) -> Roles:
        return self.node.roles

    def own_guests(self) -> tuple[Guest, ...]:
        """The guests whose configuration this node owns."""
        return tuple(g for g in self.cluster.guests if g.node == self.node.name)


@dataclass(frozen=True, slots=True)
class Result:
    """What a sync did, or would do: `failed` pairs a change with the kernel's reason."""

    plan: Plan
    findings: tuple[Finding, ...]
    failed: tuple[tuple[str, str], ...] = ()


def look(stopped: Collection[int] = ()) -> Picture:
    """Reads everything and changes nothing.

    `stopped` are guests known to be stopped though their socket may still look alive: in
    post-stop it does, for the hook's own guest (facts). Raises ConfigError and CannotTell.
    """
    name = pve.node_name()
    config = pve.read_config(name)
    cluster = pve.read_guests()
    running = pve.running() - frozenset(stopped)
    rings = pve.ring_addresses()
    state = rtnetlink.read_state(lambda found: classify(config, found, rings))
    roles = classify(config, state.interfaces, rings)
    node = Node(name=name, roles=roles, interfaces=state.interfaces, running=running,
                never=_never(config, state, rings), incumbents=state.incumbents())
    return Picture(config, cluster, node, state, desired(config, cluster.guests, node))


def sync(dry_run: bool = False, stopped: Collection[int] = (),
         since: int | None = None) -> Result | None:
    """One full sync. Returns None when one that began reading after `since` (nanoseconds of
    the monotonic clock) has already done the work: so a hundred hooks at once cost a few
    syncs, not a hundred. Raises ConfigError and CannotTell, with nothing changed."""
    with _locked():
        if since is not None and _last_sync() > since:
            return None
        begun = time.monotonic_ns()
        picture = look(stopped)
        planned = plan(picture.desired, picture.roles, picture.state)
        failed = [] if dry_run else rtnetlink.apply(planned.changes)
        if not (dry_run or failed or stopped):
            _write(RUN / "synced", str(begun))
    return Result(planned, (*picture.cluster.findings, *picture.desired.findings,
                            *planned.findings),
                  tuple((str(change), reason) for change, reason in failed))


def _never(config: Config, state: KernelState, rings: frozenset[IPv4Address]) -> Never:
    routers, known = _routers()
    if config.router_id:
        routers |= {config.router_id}
    return never_ours(state.interfaces, state.next_hops(), routers, rings, known)


def _routers() -> tuple[frozenset[IPv4Address], bool]:
    """Router ids and neighbours' addresses, and whether OSPF could be asked.

    With FRR stopped, or started just now and alone still, the last whole answer counts: a
    router's address must not become a guest's because the routers cannot be seen just then.
    It outlives a boot, for guests start before OSPF has a neighbour.
    """
    try:
        neighbours = lsdb.neighbours(vtysh.show(lsdb.NEIGHBOURS))
        routers = vtysh.show(lsdb.ROUTERS)
    except CannotTell:
        return _remembered_routers(), False
    found = frozenset((*(n.address for n in neighbours), *(n.router_id for n in neighbours),
                       *lsdb.router_ids(routers),
                       *(a for several in lsdb.router_addresses(routers).values()
                         for a in several)))
    if not any(n.full for n in neighbours):
        return found | _remembered_routers(), False
    text = "".join(f"{address}\n" for address in sorted(found))
    if text != _text(ROUTERS):
        ROUTERS.parent.mkdir(parents=True, exist_ok=True)
        _write(ROUTERS, text)
    return found, True


def _remembered_routers() -> frozenset[IPv4Address]:
    try:
        return frozenset(map(IPv4Address, _text(ROUTERS).split()))
    except AddressValueError:
        return frozenset()  # torn by a full disk; the next good answer replaces it


@contextmanager
def _locked() -> Iterator[None]:
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(RUN / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise CannotTell(
                    f"{RUN}/lock: another sync has held it for {LOCK_PATIENCE:.0f} s",
                    "see which: fuser -v /run/pve-ospf/lock") from None
            time.sleep(0.01)


def _last_sync() -> int:
    text = _text(RUN / "synced")
    return int(text) if text.isdigit() else 0


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
    with _locked():
        state = rtnetlink.read_state(lambda _: Roles())
        failed = rtnetlink.apply(removal(state).changes)
    return [(str(change), reason) for change, reason in failed]
