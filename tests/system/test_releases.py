"""The whole, with the nodes on FRR 10.3 and 10.7.1: start, move, tunnel, check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import topology
from tests.lab.lab import Lab
from tests.lab.poll import poll
from tests.system.flow import count, crossed, flowing
from tests.system.standing import WEB, known_to, put_to_work

HERE, THERE = "10.0.13.1", "10.0.23.2"


@pytest.fixture(scope="module", params=[
    pytest.param("trixie", marks=pytest.mark.xdist_group("release-trixie")),
    pytest.param("sid", marks=pytest.mark.xdist_group("release-sid"))])
def lab(deb: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Nodes of that release, applied, among routers with FRR 8.4."""
    suites = dict.fromkeys(("pve1", "pve2"), request.param)
    with topology.demo(deb=deb, suites=suites, hurry=True) as lab:
        put_to_work(lab)
        count(lab, WEB, [topology.TUNNEL])
        yield lab


@pytest.mark.loses_adjacency
def test_start_move_tunnel_check(lab: Lab) -> None:
    one, two = lab.nodes
    r3 = lab.router("r3")
    one.create(101, f"{WEB}/32", hookscript="local:snippets/pve-ospf")
    one.pct("start", 101)
    poll(lambda: known_to(r3, WEB) == HERE, 30, "announced by pve1")
    poll(lambda: lab.client.ping(WEB), 30, "reached")
    lab.migrate(101, "pve1", "pve2", timeout=10)
    poll(lambda: known_to(r3, WEB) == THERE, 30, "announced by pve2")
    poll(lambda: lab.client.ping(WEB), 30, "reached there")
    for node in lab.nodes:
        said = node.run(["pve-ospf", "check"], check=False)
        assert said.returncode == 0, said.output
    with flowing(lab, WEB):
        assert all(lab.client.ping(WEB) for _ in range(10))
    assert not crossed(lab)[topology.TUNNEL]
    for node in lab.nodes:
        topology.let_ospf_into_tunnel(node)
    with flowing(lab, WEB):
        poll(lambda: crossed(lab)[topology.TUNNEL] > 20, 60, "the control: users' packets on it")
    assert two.run(["pve-ospf", "check"], check=False).returncode == 1
    for node in lab.nodes:
        node.run(["pve-ospf", "apply", "--force"], timeout=120)
    two.pct("stop", 101)
    poll(lambda: not known_to(r3, WEB), 30, "gone with its guest")
