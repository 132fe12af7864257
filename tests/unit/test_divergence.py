"""Kernel, zebra and LSAs compared: what diverges, when it counts, and what cures it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from pve_ospf.divergence import (
    LASTS,
    RESTART_EVERY,
    Bounce,
    Divergence,
    Memory,
    Process,
    Reading,
    Reevaluate,
    RestartOspfd,
    TellAgain,
    Unoptimize,
    compare,
    cures,
    due,
    treated,
    watch,
)
from pve_ospf.lsdb import KernelRoute
from pve_ospf.redistribution import Entry, Redistribution, Rule

WEB, DB, ONLINK = map(IPv4Address, ("198.51.100.7", "198.51.100.8", "10.0.1.77"))
RULES = Redistribution(
    "pve-ospf", True, frozenset({"vmbr1"}),
    (Entry(10, False, "", "deny"), Entry(20, True, "vmbr1", "allow")),
    {"deny": (Rule(5, True, IPv4Network("10.0.1.0/24"), True),),
     "allow": (Rule(5, True, IPv4Network("198.51.100.0/24"), True),)})


def zebra(address: IPv4Address, device: str = "vmbr1", selected: bool = True) -> KernelRoute:
    return KernelRoute(IPv4Network(address), device, selected, selected)


HEALTHY = Reading(
    kernel={WEB: "vmbr1", ONLINK: "vmbr1"}, foreign=frozenset(),
    zebra=(zebra(WEB), zebra(ONLINK), KernelRoute(IPv4Network("0.0.0.0/0"), "vmbr0", True, True)),
    lsas=frozenset({WEB}), redistribution=RULES,
    zebra_process=Process(10, 1000), ospfd_process=Process(11, 1000))
DAEMONS = (HEALTHY.zebra_process, HEALTHY.ospfd_process)


def kinds(reading: Reading) -> list[tuple[str, str]]:
    return [(d.kind, str(d.address)) for d in sorted(compare(reading))]


def test_a_healthy_node() -> None:
    """The on-link address has no LSA, and is to have none."""
    assert kinds(HEALTHY) == []


@pytest.mark.parametrize(("change", "kind", "cure"), [
    ({"kernel": {ONLINK: "vmbr1"}}, "stale-zebra", (Bounce(WEB, "vmbr1"),)),
    ({"kernel": {ONLINK: "vmbr1"}, "lsas": frozenset()}, "stale-zebra", (Bounce(WEB, "vmbr1"),)),
    ({"zebra": (zebra(ONLINK),)}, "missing-zebra", (TellAgain(WEB, "vmbr1"),)),
    ({"zebra": (zebra(ONLINK), zebra(WEB, "vmbr2"))}, "missing-zebra",
     (TellAgain(WEB, "vmbr1"),)),
    ({"lsas": frozenset()}, "missing-lsa", (Reevaluate(), TellAgain(WEB, "vmbr1"))),
    ({"kernel": {ONLINK: "vmbr1"}, "zebra": (zebra(ONLINK),)}, "stale-lsa",
     (Bounce(WEB, "vmbr1"),))])
def test_each_divergence_and_its_cure(change: dict[str, object], kind: str,
                                      cure: tuple[object, ...]) -> None:
    reading = replace(HEALTHY, **change)  # type: ignore[arg-type]
    assert kinds(reading) == [(kind, str(WEB))]
    assert cures(compare(reading), reading, Memory()) == cure


def test_an_lsa_that_is_denied() -> None:
    reading = replace(HEALTHY, lsas=frozenset({WEB, ONLINK}))
    assert kinds(reading) == [("unwanted-lsa", str(ONLINK))]
    assert cures(compare(reading), reading, Memory()) == (Reevaluate(), TellAgain(ONLINK, "vmbr1"))


def test_the_table_of_the_route_map_is_given_up_when_looking_again_did_not_help() -> None:
    reading = replace(HEALTHY, lsas=frozenset())
    memory = treated(compare(reading), Memory(), 0)
    again = (Reevaluate(), TellAgain(WEB, "vmbr1"))
    assert cures(compare(reading), reading, memory) == (Unoptimize("pve-ospf"), *again)
    reading = replace(reading, redistribution=replace(RULES, optimized=False))
    assert cures(compare(reading), reading, memory) == again


@pytest.mark.parametrize("change", [
    # Somebody else's kernel route to the host, and one beside ours.
    {"kernel": {ONLINK: "vmbr1"}, "foreign": frozenset({WEB})},
    {"foreign": frozenset({WEB}), "zebra": (zebra(ONLINK),)},
    # zebra has it and prefers another: the node's own address, a static route.
    {"zebra": (zebra(ONLINK), zebra(WEB, selected=False)), "lsas": frozenset()},
    # An administrator's host route by another interface, which no map of ours lets out.
    {"zebra": (*HEALTHY.zebra, zebra(DB, "vmbr0"))},
    # A summary, or another redistribution: what has an LSA is not ours to say.
    {"redistribution": replace(RULES, entries=None), "lsas": frozenset({DB})},
    # A longer or shorter prefix is never ours.
    {"zebra": (*HEALTHY.zebra, KernelRoute(IPv4Network("198.51.100.0/25"), "vmbr1", True, True))}])
def test_not_ours_to_touch(change: dict[str, object]) -> None:
    assert kinds(replace(HEALTHY, **change)) == []  # type: ignore[arg-type]


def test_zebra_restarted_alone() -> None:
    """Nothing else is tried then: zebra would tell nobody."""
    reading = replace(HEALTHY, zebra_process=Process(12, 1001), lsas=frozenset())
    found = compare(reading)
    assert {d.kind for d in found} == {"zebra-alone", "missing-lsa"}
    assert cures(found, reading, Memory()) == (RestartOspfd(),)
    assert cures([d for d in found if d.kind == "missing-lsa"], reading, Memory()) == ()


def test_all_restarted_is_fine() -> None:
    reading = replace(HEALTHY, zebra_process=Process(12, 2000), ospfd_process=Process(13, 2001))
    assert kinds(reading) == []


GONE = Divergence("missing-zebra", WEB, "vmbr1")


def test_it_counts_when_it_lasts() -> None:
    memory = watch(frozenset({GONE}), DAEMONS, Memory(), 100)
    assert due(memory, 100) == ()
    memory = watch(frozenset({GONE}), DAEMONS, memory, 100 + LASTS / 2)
    assert due(memory, 100 + LASTS / 2) == ()
    assert due(watch(frozenset({GONE}), DAEMONS, memory, 100 + LASTS), 100 + LASTS) == (GONE,)


@pytest.mark.parametrize("between", [frozenset(), frozenset({replace(GONE, device="vmbr2")})])
def test_another_state_between_begins_anew(between: frozenset[Divergence]) -> None:
    memory = watch(frozenset({GONE}), DAEMONS, Memory(), 100)
    memory = watch(between, DAEMONS, memory, 101)
    memory = watch(frozenset({GONE}), DAEMONS, memory, 102)
    assert due(memory, 102) == ()


def test_another_daemon_begins_anew() -> None:
    memory = watch(frozenset({GONE}), DAEMONS, Memory(), 100)
    memory = watch(frozenset({GONE}), (Process(20, 9000), DAEMONS[1]), memory, 102)
    assert due(memory, 102) == ()


def test_what_does_not_help_is_done_ever_less_often() -> None:
    memory, now, times = Memory(), 0.0, []
    while now < 3000:
        memory = watch(frozenset({GONE}), DAEMONS, memory, now)
        if wanted := due(memory, now):
            times.append(now)
            memory = treated(wanted, memory, now)
        now += 0.5
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert pauses[:4] == [4, 8, 16, 32]
    assert set(pauses[8:]) == {300}


def test_what_agreed_meanwhile_is_forgotten() -> None:
    memory = treated([GONE], watch(frozenset({GONE}), DAEMONS, Memory(), 0), 2)
    assert watch(frozenset(), DAEMONS, memory, 3).tried == {}


def test_ospfd_is_not_restarted_often() -> None:
    alone = frozenset({Divergence("zebra-alone")})
    memory = treated(alone, watch(alone, DAEMONS, Memory(), 0), 10)
    memory = watch(frozenset(), DAEMONS, memory, 20)  # it helped, and is forgotten but for this
    memory = watch(alone, DAEMONS, memory, 100)
    assert due(memory, 9 + RESTART_EVERY) == ()
    assert due(memory, 10 + RESTART_EVERY) == tuple(alone)
