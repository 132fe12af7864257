"""One look at everything a sync needs: configuration, guests, what runs, the kernel.

Changes nothing. A resident process keeps a `Memory` from one look to the next, which only
saves reading again what has not changed; a fresh one starts with an empty one and comes to
the same result.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from . import home, incoming, kernel, pve, qmp, routers, vm
from .announce import Never, Node, claims, desired, never_ours
from .config import Config
from .guestfiles import GuestFiles
from .interfaces import carries_no_address, classify
from .model import Guest
from .picture import Picture, Routers
from .routes import KernelState

LINGERS = 10.0
"""Seconds for which a stopped container's socket is known to go on listening, at most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What QEMU said last (None: nothing in time), how often it was asked and since when."""

    status: str | None = None
    times: int = 0
    since: float = 0.0

    def due(self) -> float | None:
        """When it is to be asked again; None: it runs, or was asked often enough."""
        return None if self.status == "running" else vm.ask_due(self.times, self.since)


@dataclass
class Memory:
    """What a resident process keeps.

    `routers` None: ask OSPF. `stopped`: VMID → (which run of it has ended, when), for a
    container's socket listens a little longer than its post-stop hook takes. `asked`: what
    QEMU said of a VM that may only wait, by VMID, run and lock; `doubtful` are those of them
    that the last look met: nobody is asked about one whose doubt is over.
    """

    files: GuestFiles = field(default_factory=GuestFiles)
    routers: Routers | None = None
    stopped: dict[int, tuple[str, float]] = field(default_factory=dict)
    asked: dict[tuple[int, str, str | None], Asked] = field(default_factory=dict)
    doubtful: set[tuple[int, str, str | None]] = field(default_factory=set)

    def due(self) -> float | None:
        """When QEMU is to be asked again, in seconds of the monotonic clock."""
        return min((due for a in self.asked.values() if (due := a.due()) is not None),
                   default=None)


def look(stopped: Collection[int] = (), memory: Memory | None = None) -> Picture:
    """Reads everything and changes nothing.

    `stopped` are guests known to be stopped though their socket may still look alive: in
    post-stop it does, for the hook's own guest (facts). Raises ConfigError and CannotTell.
    """
    memory = memory or Memory()
    name = pve.node_name()
    config = pve.read_config(name)
    runs = living(memory, stopped)
    cluster = memory.files.read(runs, time.monotonic())
    rings = pve.ring_addresses()
    networks = pve.cluster_networks(rings)
    state = kernel.read_state(lambda found: classify(config, found, networks))
    roles = classify(config, state.interfaces, networks)
    known = memory.routers or routers.read()
    node = Node(name=name, roles=roles,
                interfaces=tuple(i for i in state.interfaces if not carries_no_address(i.name)),
                running=frozenset(runs), never=_never(config, state, rings, known),
                incumbents=state.incumbents())
    memory.doubtful = set()
    node = replace(node, running=frozenset(
        vmid for vmid in runs if (guest := cluster.guest(vmid)) is None
        or guest_runs(guest, runs[vmid], node, memory)))
    memory.asked = {key: a for key, a in memory.asked.items() if key in memory.doubtful}
    return Picture(config, cluster, node, state, desired(config, cluster.guests, node), runs,
                   known, home.away(config, cluster.guests, node, state.routes))


def living(memory: Memory, stopped: Collection[int] = ()) -> dict[int, str]:
    """The guests that live here, VMs that wait included, less those known to have stopped."""
    runs = pve.running()
    now = time.monotonic()
    memory.stopped = {vmid: (run, since) for vmid, (run, since) in memory.stopped.items()
                      if runs.get(vmid) == run and now < since + LINGERS}
    return {vmid: run for vmid, run in runs.items()
            if vmid not in stopped and vmid not in memory.stopped}


def guest_runs(guest: Guest, run: str, node: Node, memory: Memory) -> bool:
    """Whether a guest that lives here and whose configuration this node owns runs: a VM may be
    waiting for a migration to arrive, or for its backup to end (see vm.py)."""
    if guest.kind != "qemu" or guest.node != node.name or not guest.attached:
        return True
    if any(node.incumbents.get(c.address) == c.net.mac for c in claims(guest)):
        return True  # announced here already, so it ran
    command_line = pve.command_line(run)
    if not command_line:
        return False  # gone since the processes were listed: after a backup, before its lock
    if not vm.in_doubt(guest, command_line):
        return True
    arrived = guest.vmid in incoming.expected()
    return (vm.runs(guest, arrived=arrived, status=None)
            or vm.runs(guest, arrived=arrived, status=_status(guest, run, memory)))


def _status(guest: Guest, run: str, memory: Memory) -> str | None:
    """QEMU's word, asked a few times for each run and lock of the VM."""
    now = time.monotonic()
    key = (guest.vmid, run, guest.lock)
    memory.doubtful.add(key)
    asked = memory.asked.get(key, Asked(since=now))
    due = asked.due()
    if due is not None and now >= due:
        asked = Asked(qmp.status(guest.vmid), asked.times + 1, asked.since)
        memory.asked = {k: v for k, v in memory.asked.items() if k[0] != guest.vmid}
        memory.asked[key] = asked
    return asked.status


def _never(config: Config, state: KernelState, rings: frozenset[IPv4Address],
           known: Routers) -> Never:
    own = frozenset({config.router_id} if config.router_id else ())
    return never_ours(state.interfaces, state.next_hops(), known.addresses | own, rings,
                      known.known)
