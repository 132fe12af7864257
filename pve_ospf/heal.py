"""Compares the kernel with what zebra and ospfd hold of it, and mends what diverges.

The shell around divergence.py. Called again and again by the agent, with the memory the call
before returned; signs() says when something happened that is worth a call at once. Nothing is
read of /etc/pve: what has to be announced, the kernel and the running ospfd say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from . import lsdb, redistribution, rtnetlink, sync, vtysh
from .divergence import (
    Bounce,
    Cure,
    Divergence,
    Memory,
    Process,
    Reading,
    Reevaluate,
    TellAgain,
    Unoptimize,
    compare,
    cures,
    due,
    treated,
    watch,
)
from .errors import CannotTell, Refused
from .routes import Change, Route, is_ours

_FRR_OWN = frozenset({11, 42, *range(186, 199)})
"""Route protocols zebra writes itself, and so never imports (zebra/rt_netlink.c)."""

_UNIVERSE = 0
_REEVALUATE = ["ip prefix-list pve-ospf-again seq 5 deny 0.0.0.0/32",
               "no ip prefix-list pve-ospf-again"]
"""A change of any prefix-list makes ospfd apply its route-map to every route again, whether
the map uses the list or not (ospf_prefix_list_update, 8.4 to 10.7)."""

_PATIENCE = 2.0


def signs() -> tuple[object, ...]:
    """A signature of FRR's daemons and sockets, to be compared with the one before. Costs
    less than a millisecond, and asks no daemon."""
    return vtysh.signs()


def read() -> Reading | None:
    """The three views; None where there is nothing to heal: FRR is stopped or starting, or
    was not set up by us. Raises CannotTell."""
    zebra, ospfd = vtysh.process("zebra"), vtysh.process("ospfd")
    if not zebra or not ospfd:
        return None
    kernel = _hosts()
    lsas, config = vtysh.show_and_config(lsdb.OWN_EXTERNALS)
    rules = redistribution.read(config)
    if not rules:
        return None
    return Reading(
        kernel={a: found[0].device for a, found in kernel.items() if is_ours(found[0])},
        foreign=frozenset(a for a, found in kernel.items()
                          if len(found) > 1 or not is_ours(found[0])),
        zebra=lsdb.kernel_hosts(vtysh.show(lsdb.KERNEL_ROUTES)),
        lsas=lsdb.external_hosts(lsas),
        redistribution=rules, zebra_process=Process(*zebra), ospfd_process=Process(*ospfd))


def heal(memory: Memory) -> tuple[Memory, tuple[str, ...]]:
    """One comparison, and the cures that are due. Returns the memory for the next call and
    lines for the log. Raises CannotTell, when FRR or the kernel could not be read; the memory
    then stays as it was."""
    reading = read()
    if reading is None:
        return Memory(restarted=memory.restarted), ()
    now = time.monotonic()
    daemons = (reading.zebra_process, reading.ospfd_process)
    seen = watch(compare(reading), daemons, memory, now)
    lines = [f"agrees again: {d}" for d in memory.tried if d not in seen.seen]
    wanted = due(seen, now)
    if not wanted:
        return seen, tuple(lines)
    lines += _mended(wanted, cures(wanted, reading, seen))
    return treated(wanted, seen, now), tuple(lines)


def _mended(wanted: Iterable[Divergence], means: Iterable[Cure]) -> list[str]:
    lines = [f"to be mended: {d}" for d in wanted]
    routed: list[Bounce | TellAgain] = []
    for cure in means:
        if isinstance(cure, Bounce | TellAgain):
            routed.append(cure)
        elif isinstance(cure, Unoptimize):
            lines += _configured([f"no route-map {cure.route_map} optimization"])
        elif isinstance(cure, Reevaluate):
            lines += _configured(_REEVALUATE)
        else:
            lines.append(_restarted())
    if routed:
        lines += _routed(routed)
    return lines


def _configured(statements: list[str]) -> list[str]:
    try:
        vtysh.configure(statements)
    except (CannotTell, Refused) as error:
        return [error.message]
    return [f"given to FRR: {statements[0]}"] if statements is not _REEVALUATE else []


def _restarted() -> str:
    if not vtysh.watched("ospfd"):
        return "ospfd must be restarted, but watchfrr does not run: systemctl restart frr"
    vtysh.end("ospfd")
    return "ospfd ended, for watchfrr to start it again; what it announced is out for seconds"


def _routed(wanted: Iterable[Bounce | TellAgain]) -> list[str]:
    """Under the lock, and only where the kernel is as it was when compared."""
    with sync.locked(_PATIENCE):
        kernel = _hosts()
        changes = [change for cure in wanted for change in _changes(cure, kernel)]
        failed = rtnetlink.apply(changes)
        sync.note_deleted({change.item.destination.network_address: time.monotonic()
                           for change in changes if isinstance(change.item, Route)
                           and change.action == "delete"})
    return [f"{change}: {reason}" for change, reason in failed]


def _changes(cure: Bounce | TellAgain, kernel: dict[IPv4Address, list[Route]]) -> list[Change]:
    host = Route(IPv4Network(cure.address), cure.device)
    present = kernel.get(cure.address, [])
    if isinstance(cure, Bounce):
        return [] if present else [Change("replace", host), Change("delete", host)]
    if present != [host]:
        return []
    # Another scope is another route to the kernel, but not to zebra (nor to a packet). Were
    # this the end of us, the next sync would find the scope wrong and replace it.
    told = Route(host.destination, host.device, scope=_UNIVERSE)
    return [Change("replace", told), Change("replace", host)]


def _hosts() -> dict[IPv4Address, list[Route]]:
    """Host routes of the kernel's main table, without those zebra put there itself."""
    hosts: dict[IPv4Address, list[Route]] = {}
    for route in rtnetlink.routes():
        if route.destination.prefixlen == 32 and route.protocol not in _FRR_OWN:
            hosts.setdefault(route.destination.network_address, []).append(route)
    return hosts
