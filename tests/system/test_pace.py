"""No two LSAs of one address within a second, at routers with the default timers.

Each with its control: the same without the pace, where a router drops the second LSA and gets
it only when it is sent again. The node, too, sends it again after the default time here, not
after the second that is configured on its uplinks and halves the damage.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import pairwise

import pytest

from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.system.standing import ALLOW, WEB, Guests, known_to
from tests.system.watching import changed_program, hook, lsas, monitored, right

ADDED, SLACK = 1.2, 0.5
"""Seconds that routing may add, and what a busy machine may."""
PACE = 0.95
"""Seconds between two LSAs, as tcpdump stamps them; 1.1 are kept."""
DROPPED = 3.0
"""Seconds at least that an LSA is late which a router has dropped."""


@pytest.fixture(scope="module")
def served(standing: Lab) -> Iterator[Node]:
    """pve1 with 101, which is ours."""
    standing.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
    guests, node = Guests(nodes=standing.nodes), standing.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    retransmit = "interface vmbr0", "ip ospf retransmit-interval"
    node.vtysh("configure terminal", retransmit[0], f"{retransmit[1]} 5")
    yield node
    node.vtysh("configure terminal", retransmit[0], f"{retransmit[1]} 1")
    guests.destroy()


def _settled(lab: Lab, node: Node, *, announced: bool) -> None:
    """101 runs; it is announced or, by its hook's word, not (which the agent believes for ten
    seconds), r3 knows, and the last LSA is old enough for whatever comes."""
    if not node.running(101):
        node.pct("start", 101)
    _hooks(node, *(("pre-start", "post-start") if announced else ("post-stop",)))
    poll(lambda: bool(known_to(lab.router("r3"), WEB)) == announced, 15, "r3 knows")
    quiet = time.monotonic() + 1.5
    poll(lambda: time.monotonic() > quiet, 3, "the pace is over")


def _hooks(node: Node, *phases: str) -> float:
    """What `pct stop` and `pct start` have their hooks say, as fast as a guest can be; seconds."""
    began = time.monotonic()
    for phase in phases:
        hook(node, 101, phase)
    return time.monotonic() - began


def _without_pace(node: Node) -> AbstractContextManager[None]:
    return changed_program(node, "pace", "INTERVAL = 1.1", "INTERVAL = 0.0")


def _stop_start(lab: Lab, node: Node) -> tuple[float, float]:
    """(seconds that Proxmox took for both, seconds that r3 had no route)."""
    _settled(lab, node, announced=True)
    with monitored(lab.router("r3")) as seen:
        took = _hooks(node, "post-stop", "pre-start", "post-start")
        poll(lambda: seen.outages(WEB), 20, "announced again")
        return took, sum(seen.outages(WEB))


def test_changes_within_a_second_are_apart_on_the_wire(lab: Lab, served: Node) -> None:
    """However slow the machine is: what the others measure, without the measure."""
    _settled(lab, served, announced=True)
    with lsas(lab, "net1", "10.0.1.11") as sent:
        for _ in range(2):
            _hooks(served, "post-stop", "pre-start", "post-start")
        poll(lambda: len(sent.times(WEB)) >= 2, 20, "withdrawn and announced again")
        right(served)
        poll(lambda: known_to(lab.router("r3"), WEB), 20, "r3 knows")
        times = sent.times(WEB)
    assert all(b - a >= PACE for a, b in pairwise(times)), times


@pytest.mark.quiet
def test_a_stop_and_start_within_a_second(lab: Lab, served: Node) -> None:
    with lsas(lab, "net1", "10.0.1.11") as sent:
        took, out = _stop_start(lab, served)
        times = sent.times(WEB)
    assert out <= took + ADDED + SLACK
    assert len(times) >= 2, "the capture sees"
    assert all(b - a >= 1.0 for a, b in pairwise(times)), times
    with _without_pace(served):
        took, out = _stop_start(lab, served)
        assert out >= took + DROPPED, "the control"


def _start_stop(lab: Lab, node: Node) -> float:
    """Seconds from the end of the withdrawal's hook to r3's having no route, for good."""
    _settled(lab, node, announced=False)
    with monitored(lab.router("r3")) as seen:
        _hooks(node, "pre-start", "post-start")
        poll(lambda: seen.changes(WEB), 5, "announced", every=0.002)
        _hooks(node, "post-stop")
        ended = time.time()
        node.pct("stop", 101)  # what the hook said becomes true before the agent doubts it
        poll(lambda: seen.changes(WEB) and seen.changes(WEB)[-1] == "went", 30, "gone")
        return seen.events(WEB)[-1].at - ended


@pytest.mark.quiet
def test_a_start_and_stop_within_a_second(lab: Lab, served: Node) -> None:
    assert _start_stop(lab, served) <= ADDED + SLACK
    with _without_pace(served):
        assert _start_stop(lab, served) >= DROPPED, "the control"


@pytest.mark.quiet
def test_a_move_there_and_back_is_not_slowed(lab: Lab, served: Node) -> None:
    one, two, r3 = served, lab.node("pve2"), lab.router("r3")
    _settled(lab, one, announced=True)
    for source, target, router in ((one, two, "10.0.23.2"), (two, one, "10.0.13.1")):
        lab.migrate(101, source.name, target.name)
        poll(lambda: target.routes(WEB, "proto", "205"), 0.3, "announced at once")  # noqa: B023
        poll(lambda: known_to(r3, WEB) == router, 0.6, f"r3 goes by {router}")  # noqa: B023
