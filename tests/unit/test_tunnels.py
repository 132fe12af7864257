"""What a node tells of its tunnels, written and read."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest

from pve_ospf.model import Interface
from pve_ospf.tunnels import Told, outdated, parse, to_text, told

ROUTER = IPv4Address("10.0.1.11")


def test_there_and_back() -> None:
    said = told(ROUTER, [
        Interface(7, "wg0", "wireguard"),
        Interface(5, "vxlan100", "vxlan", addresses=(IPv4Interface("10.255.0.1/24"),
                                                     IPv4Interface("10.254.0.1/32")))])
    assert to_text(said) == (
        "router 10.0.1.11\n"
        "tunnel vxlan100 index 5 10.254.0.1/32 10.255.0.1/24\n"
        "tunnel wg0 index 7\n")
    assert parse(to_text(said)) == said


def test_no_tunnels_is_something_else_than_nothing_told() -> None:
    assert parse(to_text(told(ROUTER, []))) == Told(ROUTER)


@pytest.mark.parametrize("text", [
    "", "\n", "router\n", "router pve1\n", "10.0.1.11\n", "routers 10.0.1.11\n",
    "router 10.0.1.11\ntunnel\n", "router 10.0.1.11\ntunnel wg0 index\n",
    "router 10.0.1.11\ntunnel wg0 index x\n", "router 10.0.1.11\ntunnel wg0 index 7 10.0.0.0/99\n",
    "router 10.0.1.11\nbridge wg0 index 7\n"])
def test_anything_else_has_told_nothing(text: str) -> None:
    assert parse(text) is None


def test_when_a_node_has_to_tell_again() -> None:
    """A VPN that has started again has another index: that only matters in OSPF."""
    def vpn(index: int, name: str = "tun0") -> Told:
        return told(ROUTER, [Interface(index, name, "tun")])
    for in_ospf in (False, True):
        assert outdated(None, vpn(7), in_ospf)
        assert outdated(vpn(7, "tun1"), vpn(7), in_ospf)
        assert outdated(Told(IPv4Address("10.0.1.12"), vpn(7).tunnels), vpn(7), in_ospf)
        assert not outdated(vpn(7), vpn(7), in_ospf)
    assert outdated(vpn(6), vpn(7), in_ospf=True)
    assert not outdated(vpn(6), vpn(7), in_ospf=False)
