"""The standing lab: one per test process, raised once, with the product applied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import service, topology
from tests.lab.lab import Lab, together
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.system.standing import ALLOW, OTHER, WEB, Guests, known_to, put_to_work

WATCHFRR = 'watchfrr_options="--min-restart-interval=3 --max-restart-interval=3"'


@pytest.fixture(scope="session")
def standing(deb: Path) -> Iterator[Lab]:
    """Two nodes in two networks, both adjacent, pve-ospf applied on both."""
    with topology.demo(deb=deb, hurry=True) as lab:
        for node in lab.nodes:
            # As installed, it leaves a daemon down for a minute that was started just before.
            node.sh(f"echo '{WATCHFRR}' >>/etc/frr/daemons")
        put_to_work(lab)
        yield lab


@pytest.fixture
def lab(standing: Lab) -> Lab:
    """The standing lab, with the configuration every test may count on."""
    standing.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
    return standing


@pytest.fixture(scope="module")
def serving(standing: Lab) -> Iterator[Node]:
    """pve1 with two running guests, for the tests of one module: WEB, which is announced, and
    OTHER, which is not attached. A test puts back what it changes of them.

    And without the agents: nothing is put right behind a test's back, hooks do their own work.
    """
    standing.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
    guests, node = Guests(nodes=standing.nodes), standing.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    guests.stopped(node, 102, f"{OTHER}/32")
    node.pct("start", 101)
    node.pct("start", 102)
    poll(lambda: known_to(standing.router("r3"), WEB), 10, "announced")
    together(service.stop, standing.nodes)
    yield node
    together(service.start, standing.nodes)
    guests.destroy()


@pytest.fixture
def guests(lab: Lab) -> Iterator[Guests]:
    """Containers that are gone after the test."""
    guests = Guests(nodes=lab.nodes)
    yield guests
    guests.destroy()
