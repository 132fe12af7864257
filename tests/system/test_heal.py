"""FRR healed, on real FRR: each divergence provoked, seen to last by itself, and mended, while a
healthy announcement is never withdrawn two hops away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.system.standing import WEB, Guests, known_to

DB, ONLINK, OTHER_NET = "198.51.100.9", "10.0.1.77", "203.0.113.9"
STRAY, FOREIGN = "198.51.100.66", "198.51.100.50"
LASTS = 3.0
"""Seconds a divergence is watched without a healer: zebra and ospfd need 0.1 s."""
MENDED = 5.0
"""Seconds from the healer's start until all is well two hops away: it looks every half second,
and what it sees has to last for 1.5 s."""
PROGRAM = """
import time
from pve_ospf import heal
from pve_ospf.divergence import Memory
from pve_ospf.errors import PveOspfError
memory = Memory()
while True:
    try:
        memory, lines = heal.heal(memory)
    except PveOspfError as error:
        lines = [f"cannot tell: {error.message}"]
    for line in lines:
        print(line, flush=True)
    time.sleep(0.5)
"""


class Log:
    """What a program says in a machine, while it runs there."""

    def __init__(self, machine: Machine, name: str, words: list[str]) -> None:
        self._path = Path(f"/proc/{machine.pid}/root/run/{name}")
        self._path.unlink(missing_ok=True)
        self._process = machine.popen(
            ["sh", "-c", f'exec >/run/{name} 2>&1; exec "$@"', "sh", *words])
        poll(self._path.exists, 5, f"{name} writes")

    @property
    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()

    def close(self) -> None:
        kill_group(self._process)


@contextmanager
def healer(node: Node) -> Iterator[Log]:
    """What the agent does, as a small program."""
    log = Log(node, "healer", ["/usr/bin/python3", "-c", PROGRAM])
    try:
        yield log
    finally:
        log.close()


class Far:
    """The routes of a router two hops away, as they come and go."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.log = Log(machine, "monitor", ["stdbuf", "-oL", "ip", "-ts", "monitor", "route"])

    def withdrawn(self, address: str) -> list[float]:
        """When it was."""
        return [when for when, event in self._events() if event.startswith(f"Deleted {address} ")]

    def out(self, address: str) -> float:
        """Seconds for which it was not there, in all, since the watch began."""
        gone, total = 0.0, 0.0
        for when, event in self._events():
            if event.startswith(f"Deleted {address} "):
                gone = gone or when
            elif gone and event.startswith(f"{address} "):
                total, gone = total + when - gone, 0.0
        return total

    def _events(self) -> Iterator[tuple[float, str]]:
        for line in self.log.lines:
            stamp, _, event = line.partition("] ")
            yield datetime.fromisoformat(stamp.lstrip("[")).timestamp(), event


@pytest.fixture
def far(lab: Lab) -> Iterator[Far]:
    router = lab.router("r3")
    poll(lambda: not known_to(router, DB), 10, "what the test before announced is gone")
    far = Far(router)
    yield far
    far.log.close()


@pytest.fixture
def node(serving: Node, guests: Guests, far: Far) -> Node:
    """pve1 with a second guest, DB, which is announced as well as WEB."""
    guests.attached(serving, 111, f"{DB}/32")
    serving.pct("start", 111)
    poll(lambda: known_to(far.machine, DB), 10, "announced")
    return serving


def stays(state: Callable[[], object], seconds: float = LASTS) -> None:
    """The control: nobody mends it without us."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert state(), "it went away without a healer"
        time.sleep(0.1)


def test_a_route_that_the_kernel_dropped_silently(node: Node, far: Far) -> None:
    """With the last address of the bridge its routes go, and the kernel tells nobody."""
    node.ip(f"route add {STRAY}/32 dev vmbr1 proto 205 scope link")
    poll(lambda: known_to(far.machine, STRAY), 10, "announced")
    node.sh("ip addr flush dev vmbr1; pve-ospf sync")
    assert not known_to(node, STRAY)
    stays(lambda: known_to(far.machine, STRAY))
    with healer(node) as log:
        poll(lambda: not known_to(far.machine, STRAY), MENDED, "withdrawn")
        poll(lambda: "agrees again" in log.lines[-1], 5, "said so")
    assert len(log.lines) == 2, log.lines
    assert not far.withdrawn(WEB)
    assert not far.withdrawn(DB)


def test_a_route_that_zebra_lost(node: Node, far: Far) -> None:
    """Appended once more, one of the two deleted: zebra takes it for the only one."""
    node.sh(f"ip route append {DB} dev vmbr1 proto 205 scope link initcwnd 11;"
            f"ip route del {DB} dev vmbr1 proto 205")
    poll(lambda: not known_to(far.machine, DB), 10, "zebra lost it")
    stays(lambda: not known_to(far.machine, DB))
    assert known_to(node, DB)
    with healer(node) as log:
        poll(lambda: known_to(far.machine, DB), MENDED, "announced")
        poll(lambda: "agrees again" in log.lines[-1], 5, "said so")
    assert node.routes("exact", f"{DB}/32")[0]["scope"] == "253"
    assert node.run(["pve-ospf", "sync"]).output == ""
    assert not far.withdrawn(WEB)


def test_what_is_healthy_is_left_alone(node: Node, far: Far, guests: Guests) -> None:
    """An on-link address, somebody else's route to a host, an LSA that is being flushed, and
    a node full of guests that start and stop."""
    guests.attached(node, 112, f"{ONLINK}/32")
    node.pct("start", 112)
    node.ip(f"route add {FOREIGN}/32 dev vmbr1")
    poll(lambda: known_to(far.machine, FOREIGN), 10, "announced")
    kernel = Log(node, "monitor", ["stdbuf", "-oL", "ip", "monitor", "route"])
    try:
        with healer(node) as log:
            node.pct("stop", 111)
            poll(lambda: not known_to(far.machine, DB), 10, "withdrawn")
            node.pct("start", 111)
            poll(lambda: known_to(far.machine, DB), 15, "announced")
            stays(lambda: not log.lines)
        assert not [line for line in kernel.lines if DB not in line and "dev vmbr1" in line]
    finally:
        kernel.close()
        node.ip(f"route del {FOREIGN}/32 dev vmbr1")
    assert not far.withdrawn(WEB)


def test_a_route_map_of_the_administrators_own_is_not_judged(node: Node, far: Far) -> None:
    """With a summary no host has an LSA, and that is as he wants it."""
    configure(node, "router ospf", "summary-address 198.51.100.0/24")
    try:
        poll(lambda: not known_to(far.machine, WEB), 15, "the summary is announced instead")
        with healer(node) as log:
            stays(lambda: not log.lines)
    finally:
        configure(node, "router ospf", "no summary-address 198.51.100.0/24")
        poll(lambda: known_to(far.machine, WEB), 15, "announced again")


def test_a_route_map_that_did_not_take(node: Node, far: Far, guests: Guests) -> None:
    """FRR 8.4 forgets an entry of the route-map for a whole prefix when one of two rules for that
    prefix is taken out of the entry's list."""
    guests.attached(node, 113, f"{OTHER_NET}/32")
    node.pct("start", 113)
    poll(lambda: known_to(far.machine, OTHER_NET), 10, "announced")
    rule = "ip prefix-list pve-ospf-allow-vmbr1 seq 3 permit 203.0.113.0/24 ge 31"
    configure(node, rule)
    configure(node, f"no {rule}")
    try:
        poll(lambda: not known_to(far.machine, OTHER_NET), 10, "forgotten")
        stays(lambda: not known_to(far.machine, OTHER_NET))
        with healer(node) as log:
            poll(lambda: known_to(far.machine, OTHER_NET), MENDED + 5, "announced")
            poll(lambda: "agrees again" in log.lines[-1], 5, "said so")
        assert "given to FRR: no route-map pve-ospf optimization" in log.lines
        assert not far.withdrawn(WEB)
        assert not far.withdrawn(DB)
    finally:
        (forgotten,) = (line for line in node.vtysh("show running-config ospfd").splitlines()
                        if "pve-ospf-allow-vmbr1" in line and " 203.0.113.0/24 " in line)
        configure(node, f"no {forgotten}", forgotten, "route-map pve-ospf optimization")
    poll(lambda: known_to(far.machine, OTHER_NET), 15, "without us, too")


def configure(node: Node, *words: str) -> None:
    node.vtysh("configure terminal", *words)


@pytest.mark.loses_adjacency
def test_zebra_restarted_alone(node: Node, far: Far, capsys: pytest.CaptureFixture[str]) -> None:
    """ospfd redistributes nothing from then on. Only its restart helps, and that costs."""
    node.pct("stop", 111)
    poll(lambda: not known_to(far.machine, DB), 10, "withdrawn")
    restart_zebra(node)
    poll(lambda: "Client: ospf" in node.vtysh("show zebra client"), 30, "ospfd is connected")
    node.pct("start", 111)
    stays(lambda: known_to(node, DB) and not known_to(far.machine, DB) and known_to(
        far.machine, WEB))
    with healer(node) as log:
        poll(lambda: any("ospfd ended" in line for line in log.lines), MENDED, "noticed")
        poll(lambda: known_to(far.machine, DB) and far.withdrawn(WEB)
             and known_to(far.machine, WEB), 60, "announced again")
        poll(partial(node.full, 1), 30, "adjacent")
        stays(lambda: sum("ospfd ended" in line for line in log.lines) == 1)
    with capsys.disabled():
        print(f"\nzebra restarted alone: {WEB} out for {far.out(WEB):.1f} s")
    report = json.loads(node.run(["pve-ospf", "check", "--json"], check=False).stdout)
    assert not (report["missing"] or report["extra"] or report["unknown"])


def restart_zebra(node: Node) -> None:
    node.run(["nice", "-n", "-10", "/usr/lib/frr/watchfrr.sh", "restart", "zebra"])


@pytest.mark.loses_adjacency
def test_zebra_killed(node: Node, far: Far, capsys: pytest.CaptureFixture[str]) -> None:
    """watchfrr sees to it: everything is restarted. A healer must not come in between."""
    with healer(node) as log:
        node.sh("kill -9 $(cat /run/frr/zebra.pid)")
        poll(lambda: far.withdrawn(WEB), 30, "watchfrr restarts ospfd too")
        poll(lambda: known_to(far.machine, WEB) and known_to(far.machine, DB), 60, "back")
        poll(partial(node.full, 1), 30, "adjacent")
        stays(lambda: not any("ended" in line or "mended" in line for line in log.lines))
    with capsys.disabled():
        print(f"\nzebra killed, watchfrr restarts all: {WEB} out for {far.out(WEB):.1f} s")


@pytest.mark.loses_adjacency
def test_nothing_is_done_while_frr_is_stopped(node: Node) -> None:
    node.frr_stop()
    try:
        with healer(node) as log:
            stays(lambda: not log.lines)
    finally:
        node.frr_start()
    poll(partial(node.full, 1), 60, "adjacent")
