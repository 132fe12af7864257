"""Pure: which neighbours a new configuration would lose, and which are missing after it.

What a neighbour is configured to use FRR does not know, but one that is adjacent uses what
our own interface uses now: hello, dead and area must agree (RFC 2328, 10.5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from .frrconf import Statement
from .lsdb import Neighbour, OspfInterface
from .ospfd import OspfdConfig
from .ospfd import OspfInterface as SpeakingInterface


@dataclass(frozen=True, slots=True)
class Threat:
    """A neighbour that would be lost, why, and what to write into pve-ospf.yaml."""

    neighbour: Neighbour
    reason: str
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (f"neighbour {self.neighbour.router_id} on {self.neighbour.interface} would be "
                f"lost: {self.reason}")


def threats(neighbours: Collection[Neighbour], running: Collection[OspfInterface],
            config: OspfdConfig, theirs: Collection[Statement]) -> tuple[Threat, ...]:
    """The neighbours that would be lost; `theirs` is what the administrator configures."""
    return tuple(_threats(neighbours, running, config, theirs))


def missing(before: Collection[Neighbour], now: Collection[Neighbour],
            interfaces: Collection[OspfInterface]) -> tuple[Neighbour, ...]:
    """Neighbours that are not what they were: gone, or no longer Full; `interfaces` are now.

    A neighbour is known by its address as well, for it may have come back under another id.
    And a DR whose process starts over comes back as a DROther, between two of which 2-Way is
    all that ever comes; it has to be Full with another router there, which is the new DR.
    """
    by_id = {(n.interface, n.router_id): n for n in now}
    by_address = {(n.interface, n.address): n for n in now}
    others = {i.name for i in interfaces if i.state == "DROther"
              and any(n.full and n.interface == i.name for n in now)}

    def lost(was: Neighbour) -> bool:
        there = by_id.get((was.interface, was.router_id)) or by_address.get(
            (was.interface, was.address))
        if there is None or not was.full or there.full:
            return there is None
        return not (was.interface in others and there.state == "2-Way"
                    and there.role == "DROther")

    return tuple(filter(lost, before))


def disturbs(commands: Collection[str]) -> bool:
    """Whether commands of frr-reload touch interfaces, keys or the process, so that an adjacency
    may be lost one dead interval later. Lists and route-maps cannot do that."""
    return any(command.removeprefix("no ").startswith(("interface ", "router ospf", "key chain "))
               for command in commands)


def _threats(neighbours: Collection[Neighbour], running: Collection[OspfInterface],
             config: OspfdConfig, theirs: Collection[Statement]) -> Iterator[Threat]:
    by_name = {i.name: i for i in running}
    for neighbour in neighbours:
        now, then = by_name.get(neighbour.interface), config.interface(neighbour.interface)
        if then is None:
            if not _kept(neighbour.interface, theirs):
                yield Threat(neighbour, "OSPF would no longer run on that interface",
                             (f"uplinks: [{neighbour.interface}]",))
        elif now is not None:
            differences = tuple(
                (what, was, will) for what, was, will in _compared(now, then) if was != will)
            if differences:
                yield Threat(neighbour, ", ".join(f"its {what} is {was}, ours would be {will}"
                                                  for what, was, will in differences),
                             tuple(f"{what}: {was}" for what, was, _ in differences))


def _compared(now: OspfInterface, then: SpeakingInterface) -> Iterator[tuple[str, str, str]]:
    """What neighbours compare, as it is and as it would be. Several hellos a second carry an
    interval of 0, which nobody compares with anything."""
    yield "area", str(now.area), str(then.area)
    yield "dead-interval", str(now.dead_interval), str(then.dead)
    if not (now.hello_interval < 1 and then.minimal):
        yield "hello-interval", f"{now.hello_interval:g}", str(then.hello)


def _kept(interface: str, theirs: Collection[Statement]) -> bool:
    return any(s.stanza == f"interface {interface}" and s.text.startswith("ip ospf area ")
               for s in theirs)
