"""Whether FRR follows a change, and whether every neighbour is what it was before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from . import adjacency, frrplan, lsdb, vtysh
from .errors import CannotTell, Refused
from .frrplan import Plan
from .lsdb import Neighbour

Out = Callable[[str], None]

START = 20.0
"""Seconds FRR has to start and to read its configuration; 0.6 s where nothing else goes on."""

DEAD_INTERVALS = 4
"""How many of them a neighbour has to come back in."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Neighbours that must be what they were, between `settle` and `limit` seconds from now:
    one that hears nothing fitting any more still looks well for a dead interval. `router_id`
    is our own from before."""

    neighbours: tuple[Neighbour, ...] = ()
    settle: float = 0
    limit: float = 0
    router_id: str | None = None


def watch(plan: Plan, neighbours: Iterable[Neighbour], told: Collection[str]) -> Watch:
    """What to wait for when FRR has been told `told`."""
    if plan.running is None:
        return Watch()
    there = lsdb.ospf_interfaces(vtysh.show(lsdb.INTERFACES))
    dead = max([*(i.dead for i in plan.config.interfaces), *(i.dead_interval for i in there)])
    hello = max(i.hello for i in plan.config.interfaces)
    return Watch(tuple(neighbours), dead + hello if adjacency.disturbs(told) else 0,
                 DEAD_INTERVALS * dead, router_id())


def router_id() -> str | None:
    """What the running OSPF calls itself, None when there is none."""
    process = vtysh.show("show ip ospf")
    return str(process["routerId"]) if isinstance(process, dict) and process else None


def neighbours() -> tuple[Neighbour, ...]:
    """The routers that are heard now. Raises CannotTell."""
    return lsdb.neighbours(vtysh.show(lsdb.NEIGHBOURS))


def wait_until_followed(plan: Plan, out: Out) -> None:
    """Until a second look finds nothing to change. Raises Refused when it never does."""
    deadline = time.monotonic() + START
    while True:
        try:
            now = frrplan.look(plan.config, plan.layout, force=True)
            left = frrplan.differences(now)
        except CannotTell as error:
            left = [error.message]
        if not left:
            return
        if time.monotonic() > deadline:
            for line in left:
                out(f"  {line}")
            raise Refused(f"FRR does not follow its configuration within {START:g} s")
        time.sleep(0.2)


def wait_for_neighbours(watch: Watch, out: Out) -> None:
    """Until all of them are what they were. Raises Refused when the time is over."""
    start = time.monotonic()
    said: tuple[Neighbour, ...] = ()
    while watch.neighbours:
        absent = adjacency.missing(watch.neighbours, neighbours(),
                                   lsdb.ospf_interfaces(vtysh.show(lsdb.INTERFACES)))
        names = ", ".join(f"{n.router_id} on {n.interface}" for n in absent)
        passed = time.monotonic() - start
        if not absent and passed >= watch.settle:
            out(f"All {len(watch.neighbours)} neighbours are what they were.")
            return
        if absent != said:
            out(f"Waiting for {names}" if absent else "All neighbours are back.")
            said = absent
        if absent and passed > watch.limit:
            raise Refused(f"neighbour {names} did not come back within {watch.limit:g} s")
        time.sleep(0.25)


def check_tunnels(plan: Plan) -> None:
    """Raises Refused when OSPF speaks on one that is to be passive."""
    speaking = [i.name for i in lsdb.ospf_interfaces(vtysh.show(lsdb.INTERFACES))
                if i.enabled and not i.passive and i.name in plan.config.passive]
    if speaking:
        raise Refused(f"OSPF speaks on the tunnel {', '.join(speaking)} all the same")
