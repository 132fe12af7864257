"""The standing lab: one per test process, raised once, with the product applied."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lab import topology
from tests.lab.lab import Lab, together
from tests.lab.poll import poll
from tests.system.standing import ALLOW, Guests


@pytest.fixture(scope="session")
def standing(deb: Path) -> Iterator[Lab]:
    """Two nodes in two networks, both adjacent, pve-ospf applied on both."""
    with topology.demo(deb=deb) as lab:
        lab.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
        together(lambda node: node.run(["pve-ospf", "apply"], timeout=120), lab.nodes)
        for node in lab.nodes:
            poll(partial(node.full, 1), 30, f"{node.name} is adjacent")
        yield lab


@pytest.fixture
def lab(standing: Lab) -> Lab:
    """The standing lab, with the configuration every test may count on."""
    standing.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
    return standing


@pytest.fixture
def guests(lab: Lab) -> Iterator[Guests]:
    """Containers that are gone after the test."""
    guests = Guests(nodes=lab.nodes)
    yield guests
    guests.destroy()
