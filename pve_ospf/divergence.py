"""Pure: where kernel, zebra and our LSAs say different things, and the mildest cure of each.

The kernel is right by definition: whether it holds what it should is sync's business. Each
kind of divergence, and what cures it, was measured on FRR 8.4.4, 10.3 and 10.7 (facts).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Literal

from .lsdb import KernelRoute
from .redistribution import Redistribution

LASTS = 1.5
"""Seconds a divergence must have lasted, with the same kernel state, before it counts: an
announcement under way is in kernel, zebra and LSA within 0.1 s of each other."""

RESTART_EVERY = 600.0
"""Seconds between two restarts of ospfd. watchfrr, which does them, postpones a restart that
follows another too soon, by 600 s at most (--max-restart-interval), and ospfd would be down
as long."""

_AGAIN, _SELDOM = 2.0, 300.0

Kind = Literal["stale-zebra", "missing-zebra", "missing-lsa", "unwanted-lsa", "stale-lsa",
               "zebra-alone"]


@dataclass(frozen=True, slots=True, order=True)
class Divergence:
    """One address (0.0.0.0 for FRR as a whole) and the device its route leads to."""

    kind: Kind
    address: IPv4Address = IPv4Address(0)
    device: str = ""

    def __str__(self) -> str:
        what = _WORDS[self.kind].format(device=self.device)
        return f"{self.address}: {what}" if int(self.address) else what


_WORDS: Mapping[Kind, str] = {
    "stale-zebra": "zebra keeps a route by {device} that the kernel no longer has",
    "missing-zebra": "the kernel has our route by {device}, but zebra does not",
    "missing-lsa": "zebra has our route by {device}, but ospfd does not announce it",
    "unwanted-lsa": "the route-map denies it, but ospfd announces it",
    "stale-lsa": "ospfd announces what neither the kernel nor zebra has",
    "zebra-alone": "zebra was restarted without ospfd, which redistributes nothing since",
}


@dataclass(frozen=True, slots=True)
class Process:
    """A daemon; `started` in clock ticks since the machine's start (/proc/PID/stat)."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The three views. `kernel` are our /32 routes and their devices, `foreign` the hosts of
    other kernel routes zebra would import; `lsas` the hosts of our own external LSAs, without
    those being flushed."""

    kernel: Mapping[IPv4Address, str]
    foreign: Set[IPv4Address]
    zebra: tuple[KernelRoute, ...]
    lsas: Set[IPv4Address]
    redistribution: Redistribution
    zebra_process: Process
    ospfd_process: Process


@dataclass(frozen=True, slots=True)
class Try:
    """What was done about a divergence so far: how often, and when last."""

    count: int
    last: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What one healing hands to the next; times are seconds of the monotonic clock.

    `seen` says since when each divergence has been there while the same daemons ran.
    """

    daemons: tuple[Process, ...] = ()
    seen: Mapping[Divergence, float] = field(default_factory=dict)
    tried: Mapping[Divergence, Try] = field(default_factory=dict)
    restarted: float | None = None


@dataclass(frozen=True, slots=True, order=True)
class Bounce:
    """`ip route add` and `del` of what the kernel lacks: only a deletion it hears of makes
    zebra let go."""

    address: IPv4Address
    device: str


@dataclass(frozen=True, slots=True, order=True)
class TellAgain:
    """Our kernel route replaced by one with another attribute, and back: the kernel notifies,
    and nobody sees it gone. An identical replacement is not notified."""

    address: IPv4Address
    device: str


@dataclass(frozen=True, slots=True, order=True)
class Reevaluate:
    """ospfd applies its route-map to every route again. Whenever any prefix-list changes it
    does, but only what then differs is announced or flushed."""


@dataclass(frozen=True, slots=True, order=True)
class Unoptimize:
    """`no route-map … optimization`: the map is gone through in order, as it is written.

    The table FRR looks hosts up in otherwise (lib/routemap.c) loses the map's entry for a
    prefix when one of two rules of that prefix is taken out of the entry's list, and no
    evaluation finds it again (seen on 8.4.4, not on 10.7.1). No answer changes but the wrong
    ones.
    """

    route_map: str


@dataclass(frozen=True, slots=True, order=True)
class RestartOspfd:
    """ospfd alone. Every announcement of this node is gone for some seconds."""


Cure = Bounce | TellAgain | Unoptimize | Reevaluate | RestartOspfd


def compare(reading: Reading) -> frozenset[Divergence]:
    """Every divergence there is now, those in passing included."""
    return frozenset((*_whole(reading), *_of_routes(reading), *_left_over(reading)))


def watch(found: frozenset[Divergence], daemons: tuple[Process, ...], memory: Memory,
          now: float) -> Memory:
    """The memory with what was found now; what is no longer there is forgotten."""
    known = memory.seen if daemons == memory.daemons else {}
    return replace(memory, daemons=daemons, seen={d: known.get(d, now) for d in found},
                   tried={d: t for d, t in memory.tried.items() if d in found})


def due(memory: Memory, now: float) -> tuple[Divergence, ...]:
    """What has lasted and was not treated just now: the pauses double, to five minutes."""
    return tuple(sorted(d for d, since in memory.seen.items()
                        if now - since >= LASTS and _again(d, memory, now)))


def cures(divergences: Iterable[Divergence], reading: Reading,
          memory: Memory) -> tuple[Cure, ...]:
    """The mildest means for each, in the order they are to be used.

    With zebra restarted alone nothing but ospfd's restart helps, and it mends all.
    """
    wanted = tuple(divergences)
    if any(d.kind == "zebra-alone" for d in compare(reading)):
        return (RestartOspfd(),) if any(d.kind == "zebra-alone" for d in wanted) else ()
    filtered = [d for d in wanted if d.kind in ("missing-lsa", "unwanted-lsa")]
    return (*_of_route_map(filtered, reading.redistribution, memory),
            *(Bounce(d.address, d.device) for d in wanted
              if d.kind in ("stale-zebra", "stale-lsa")),
            *(TellAgain(d.address, d.device) for d in wanted
              if d.kind == "missing-zebra" or d in filtered))


def _of_route_map(filtered: Iterable[Divergence], rules: Redistribution,
                  memory: Memory) -> Iterator[Cure]:
    """What makes ospfd look again: its table is given up only when looking alone has failed."""
    wanted = tuple(filtered)
    if rules.optimized and any(d in memory.tried for d in wanted):
        yield Unoptimize(rules.route_map)
    if wanted:
        yield Reevaluate()


def treated(divergences: Iterable[Divergence], memory: Memory, now: float) -> Memory:
    """The memory after the cures of these divergences were used."""
    wanted = tuple(divergences)
    restarted = now if any(d.kind == "zebra-alone" for d in wanted) else memory.restarted
    tries = {d: Try(memory.tried[d].count + 1 if d in memory.tried else 1, now) for d in wanted}
    return replace(memory, tried={**memory.tried, **tries}, restarted=restarted)


def _again(divergence: Divergence, memory: Memory, now: float) -> bool:
    if divergence.kind == "zebra-alone":
        return memory.restarted is None or now - memory.restarted >= RESTART_EVERY
    before = memory.tried.get(divergence)
    return before is None or now - before.last >= min(_AGAIN * 2.0 ** before.count, _SELDOM)


def _whole(reading: Reading) -> Iterator[Divergence]:
    """ospfd forgets its redistribution when it loses zebra (lib/zclient.c, zclient_stop), and
    never sends its own routes again. FRR starts zebra first, so that an older ospfd says it
    all, whatever the LSAs look like still."""
    if reading.zebra_process.started > reading.ospfd_process.started:
        yield Divergence("zebra-alone")


def _of_routes(reading: Reading) -> Iterator[Divergence]:
    """What the kernel has of ours."""
    by_address = _by_address(reading.zebra)
    rules = reading.redistribution
    for address, device in reading.kernel.items():
        routes = [r for r in by_address.get(address, ()) if r.interface == device]
        if address in reading.foreign:
            continue  # which of the two zebra picks is not ours to say
        if not routes:
            yield Divergence("missing-zebra", address, device)
        elif any(r.selected for r in routes) and rules.decidable:
            permitted = rules.permits(address, device)
            if permitted and address not in reading.lsas:
                yield Divergence("missing-lsa", address, device)
            elif not permitted and address in reading.lsas:
                yield Divergence("unwanted-lsa", address, device)


def _left_over(reading: Reading) -> Iterator[Divergence]:
    """What zebra and ospfd have of hosts the kernel has no route for."""
    bridges = reading.redistribution.bridges
    by_address = _by_address(reading.zebra)
    for address in (by_address.keys() | reading.lsas) - reading.kernel.keys() - reading.foreign:
        held = [r for r in by_address.get(address, ()) if r.selected]
        stale = [r.interface for r in held if r.interface in bridges]
        if stale:
            yield Divergence("stale-zebra", address, stale[0])
        elif not held and address in reading.lsas and reading.redistribution.decidable and bridges:
            yield Divergence("stale-lsa", address, min(bridges))


def _by_address(routes: Iterable[KernelRoute]) -> Mapping[IPv4Address, list[KernelRoute]]:
    found: dict[IPv4Address, list[KernelRoute]] = {}
    for route in routes:
        if route.prefix.prefixlen == 32:
            found.setdefault(route.prefix.network_address, []).append(route)
    return found
