"""No packet of a user's on the cluster's tunnels, VXLAN and OpenVPN, whatever happens.

The tunnels are the shorter way to pve2's guest (topology.demo).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lab import openvpn, service, topology
from tests.lab.lab import Lab, together
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.system.flow import count, crossed, flowing
from tests.system.standing import ALLOW, known_to

pytestmark = pytest.mark.xdist_group("tunnels")
USER, THERE = "203.0.113.9", "10.0.23.2"
TUNNELS = ("vxlan100", "tun0")
LATER = ("vxlan200", "tun1")
HIGH = ALLOW + "tunnels: {policy: high-cost, cost: 60000}\n"
BY_HAND_UNDONE = tuple(f"no ip ospf {what}" for what in (
    "area", "cost", "network", "hello-interval", "dead-interval"))


@pytest.fixture(scope="module")
def lab(deb: Path) -> Iterator[Lab]:
    """Both nodes adjacent to their routers, guest 104 on pve2, both tunnels up, and counted."""
    with topology.demo(deb=deb, hurry=True) as lab:
        one, two = lab.nodes
        openvpn.connect("tun0", one, two, ("10.0.1.11", "10.0.2.12"),
                        ("10.254.0.1", "10.254.0.2"))
        one.write("/etc/pve/pve-ospf.yaml", ALLOW)
        together(lambda node: node.run(["pve-ospf", "apply"], timeout=120), lab.nodes)
        together(service.start, lab.nodes)
        count(lab, USER, (*TUNNELS, *LATER))
        for node in lab.nodes:
            poll(partial(node.full, 1), 30, f"{node.name} is adjacent")
        two.create(104, f"{USER}/32", hookscript="local:snippets/pve-ospf")
        two.pct("start", 104)
        poll(lambda: one.ping("10.254.0.2"), 60, "OpenVPN's tunnel carries traffic")
        poll(lambda: lab.client.ping(USER), 60, "the user reaches the guest")
        yield lab


def _steady(lab: Lab) -> None:
    assert all(lab.client.ping(USER) for _ in range(10))


def _start_up(lab: Lab) -> None:
    together(lambda node: node.frr_restart(), lab.nodes)
    poll(lambda: known_to(lab.router("r3"), USER) == THERE, 90, "announced again")


def _uplink_flap(lab: Lab) -> None:
    legs = [node.legs["eth0"] for node in lab.nodes]
    for leg in legs:
        leg.down()
    poll(lambda: not known_to(lab.router("r3"), USER), 60, "its node is gone")
    for leg in legs:
        leg.up()
    poll(lambda: known_to(lab.router("r3"), USER) == THERE, 90, "announced again")


def _apply(lab: Lab) -> None:
    """A change of the configuration, and back."""
    node = lab.node("pve1")
    before = node.read("/etc/pve/pve-ospf.yaml")
    for text in (before.replace("10.0.0.0/8", "10.77.0.0/16"), before):
        node.write("/etc/pve/pve-ospf.yaml", text)
        together(lambda each: each.run(["pve-ospf", "apply"], timeout=120), lab.nodes)


def _created_later(lab: Lab) -> None:
    one, two = lab.nodes
    one.vxlan("vxlan200", 200, "10.0.1.11", "10.0.2.12", "10.253.0.1/24")
    two.vxlan("vxlan200", 200, "10.0.2.12", "10.0.1.11", "10.253.0.2/24")
    openvpn.connect("tun1", one, two, ("10.0.1.11", "10.0.2.12"), ("10.252.0.1", "10.252.0.2"),
                    port=1195)
    for far in ("10.253.0.2", "10.252.0.2"):
        poll(partial(one.ping, far), 60, "the tunnel carries traffic")
    _steady(lab)
    for node in lab.nodes:
        node.sh("ip link del vxlan200; kill $(pgrep -f '[o]penvpn.*tun1')")
        poll(partial(_without, node, "tun1"), 20, "as before")


def _without(node: Node, name: str) -> bool:
    return not node.exists(f"/sys/class/net/{name}")


EVENTS: list[Callable[[Lab], None]] = [_steady, _start_up, _uplink_flap, _apply, _created_later]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.loses_adjacency
def test_passive(lab: Lab, event: Callable[[Lab], None]) -> None:
    before = crossed(lab)
    with flowing(lab, USER):
        event(lab)
    assert crossed(lab) == before
    assert "10.25" not in str(lab.router("r3").routes()), "nor does anyone know their networks"


@pytest.mark.parametrize("tunnel", TUNNELS)
@pytest.mark.loses_adjacency
def test_the_control_ospf_let_in_by_hand(lab: Lab, tunnel: str) -> None:
    before = crossed(lab)[tunnel]
    for node in lab.nodes:
        topology.let_ospf_into_tunnel(node, tunnel)
    try:
        with flowing(lab, USER):
            poll(lambda: crossed(lab)[tunnel] > before + 20, 60, "users' packets cross it")
    finally:
        for node in lab.nodes:
            node.vtysh("configure terminal", f"interface {tunnel}", *BY_HAND_UNDONE)
            node.run(["pve-ospf", "apply", "--force"], timeout=120)
    poll(lambda: known_to(lab.router("r3"), USER) == THERE, 30, "apply puts it right")


@pytest.fixture(scope="module")
def dear(lab: Lab) -> Iterator[Lab]:
    """The same with high-cost tunnels, both of them adjacencies."""
    lab.node("pve1").write("/etc/pve/pve-ospf.yaml", HIGH)
    before = crossed(lab)
    with flowing(lab, USER):
        together(lambda node: node.run(["pve-ospf", "apply"], timeout=120), lab.nodes)
        for node in lab.nodes:
            poll(partial(node.full, 3), 60, f"{node.name}: both tunnels are adjacencies")
    assert crossed(lab) == before, "nor while it was let in"
    yield lab


@pytest.mark.parametrize("event", [_steady, _apply, _created_later])
@pytest.mark.loses_adjacency
def test_high_cost(dear: Lab, event: Callable[[Lab], None]) -> None:
    poll(lambda: _flat(dear), 90, "the tunnels are left again after the test before")
    before = crossed(dear)
    with flowing(dear, USER):
        event(dear)
    assert crossed(dear) == before
    assert dear.nodes[0].sh("cat /proc/sys/net/ipv4/conf/tun0/forwarding") == "1"


@pytest.mark.parametrize("event", [_start_up, _uplink_flap])
@pytest.mark.loses_adjacency
def test_high_cost_is_left_again(dear: Lab, event: Callable[[Lab], None]) -> None:
    """OpenVPN's adjacency may be there before the uplink's: until then nothing else is left."""
    with flowing(dear, USER):
        event(dear)
        for node in dear.nodes:
            poll(partial(node.full, 3), 60, f"{node.name}: both tunnels are adjacencies")
        poll(lambda: _flat(dear), 90, "back on the better way")


def _flat(lab: Lab) -> bool:
    """Whether the user's packets pass, and none of them by a tunnel."""
    before = crossed(lab)
    return all(lab.client.ping(USER) for _ in range(10)) and crossed(lab) == before
