"""The main job, end to end: reachable from everywhere, gone when stopped, follows a move."""

from __future__ import annotations

import pytest

from tests.lab import topology
from tests.lab.lab import Lab
from tests.lab.poll import poll
from tests.system.standing import Guests, known_to, out_of_ospf

WEB = "198.51.100.7"
HERE, THERE = "10.0.13.1", "10.0.23.2"
"""r3's next hops to pve1's network and to pve2's."""


def test_started_reachable_stopped_gone(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    assert not lab.client.ping(WEB), "the control: without the guest nothing answers"
    node.pct("start", 101)
    poll(lambda: lab.client.ping(WEB), 30, "the client reaches the container")
    assert lab.client.path(WEB)[-2:] == ["10.0.1.11", WEB], "by its own node"
    node.pct("stop", 101)
    poll(lambda: not known_to(lab.router("r3"), WEB), 10, "the address is gone two hops away")
    assert not node.run(["ip", "neigh", "show", WEB]).stdout, "and its neighbour entry with it"


def test_it_follows_a_move_to_another_network(lab: Lab, guests: Guests) -> None:
    one, two = lab.node("pve1"), lab.node("pve2")
    guests.attached(one, 101, f"{WEB}/32")
    one.pct("start", 101)
    poll(lambda: known_to(lab.router("r3"), WEB) == HERE, 10, "announced by pve1")
    lab.migrate(101, "pve1", "pve2", timeout=10)
    poll(lambda: known_to(lab.router("r3"), WEB) == THERE, 10, "announced by pve2")
    poll(lambda: lab.client.ping(WEB), 10, "the client reaches it there")
    assert not one.routes("proto", "205"), "nothing is left on the node it came from"
    assert two.routes("proto", "205")
    lab.migrate(101, "pve2", "pve1", timeout=10)
    poll(lambda: known_to(lab.router("r3"), WEB) == HERE, 10, "and straight back")


def test_without_the_hookscript_nothing_is_announced(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.stopped(node, 102, "198.51.100.8/32")
    node.pct("start", 102)
    node.run(["pve-ospf", "sync"])
    assert not node.routes("proto", "205")


def test_attach_announces_a_running_guest_and_detach_withdraws_it(
        lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.stopped(node, 102, "198.51.100.8/32")
    node.pct("start", 102)
    assert "attached" in node.run(["pve-ospf", "attach", 102]).stdout
    poll(lambda: known_to(lab.router("r3"), "198.51.100.8"), 10, "announced")
    assert "already" in node.run(["pve-ospf", "attach", 102]).stdout
    node.run(["pve-ospf", "detach", 102])
    poll(lambda: not known_to(lab.router("r3"), "198.51.100.8"), 10, "withdrawn")
    assert "hookscript" not in node.read("/etc/pve/lxc/102.conf")


def test_a_reboot_from_inside_keeps_the_address(lab: Lab, guests: Guests) -> None:
    """It fires no phase, and the veth is made anew: the route is to the bridge, so it stays."""
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    node.pct("start", 101)
    poll(lambda: lab.client.ping(WEB), 10, "reachable")
    before = node.sh("cat /sys/class/net/veth101i0/ifindex")
    node.pct("exec", 101, "--", "reboot")
    poll(lambda: node.sh("cat /sys/class/net/veth101i0/ifindex || :") not in ("", before), 20,
         "a new veth")
    poll(lambda: lab.client.ping(WEB), 10, "reachable after it")


def test_poweroff_from_inside_withdraws(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    node.pct("start", 101)
    poll(lambda: known_to(lab.router("r3"), WEB), 10, "announced")
    node.pct("exec", 101, "--", "poweroff", check=False)
    poll(lambda: not known_to(lab.router("r3"), WEB), 20, "withdrawn")


def test_an_on_link_address_is_reached_on_its_lan_and_not_announced(
        lab: Lab, guests: Guests) -> None:
    node, address = lab.node("pve1"), "10.0.1.77"
    guests.attached(node, 103, f"{address}/32")
    node.pct("start", 103)
    poll(lambda: lab.router("r1").ping(address), 10, "its LAN's router reaches it")
    poll(lambda: lab.client.ping(address), 10, "and so does the rest of the network")
    assert not known_to(lab.router("r3"), f"{address}/32"), "by the LAN's prefix alone"
    assert out_of_ospf(node, address)
    node.pct("stop", 103)
    assert not node.run(["ip", "neigh", "show", "proxy"]).stdout
    poll(lambda: not lab.router("r1").ping(address), 10, "gone with the guest")


def test_guests_reach_each_other_across_nodes(lab: Lab, guests: Guests) -> None:
    one, two = lab.node("pve1"), lab.node("pve2")
    guests.attached(one, 101, f"{WEB}/32")
    guests.attached(two, 104, "203.0.113.9/32")
    one.pct("start", 101)
    two.pct("start", 104)
    poll(lambda: one.pct("exec", 101, "--", "ping", "-c1", "-W1", "203.0.113.9",
                         check=False).ok, 15, "guest to guest")


@pytest.mark.parametrize(("address", "gateway"), [
    ("198.51.100.40/24", "198.51.100.1"), ("198.51.100.41/32", "10.99.99.99")])
def test_any_length_and_any_gateway_do(lab: Lab, guests: Guests, address: str,
                                       gateway: str) -> None:
    """The bridge answers ARP for whatever gateway the guest was given."""
    node = lab.node("pve1")
    guests.attached(node, 105, address,
                    net0=f"name=eth0,bridge=vmbr1,ip={address},gw={gateway}")
    node.pct("start", 105)
    poll(lambda: lab.client.ping(address.partition("/")[0]), 10, "reachable")


def test_the_tunnel_carries_no_user_traffic_and_would_without_protection(
        lab: Lab, guests: Guests) -> None:
    two, r3 = lab.node("pve2"), lab.router("r3")
    guests.attached(two, 104, "203.0.113.9/32")
    two.pct("start", 104)
    poll(lambda: known_to(r3, "203.0.113.9") == THERE, 10, "by its own router")
    before = two.counters(topology.TUNNEL)
    got = lab.client.get("203.0.113.9")
    crossed = two.counters(topology.TUNNEL) - before
    assert got.ok
    assert crossed.rx_bytes + crossed.tx_bytes < got.bytes / 1000
    assert "10.255.0" not in str(r3.routes()), "nor is the tunnel's prefix known to anyone"
    nodes = lab.nodes
    for node in nodes:
        topology.let_ospf_into_tunnel(node)
    try:
        poll(lambda: known_to(r3, "203.0.113.9") == HERE
             and topology.TUNNEL in two.sh("ip route get 10.9.0.2"), 30,
             "the control: into the tunnel, both ways")
        before = two.counters(topology.TUNNEL)
        got = lab.client.get("203.0.113.9")
        crossed = two.counters(topology.TUNNEL) - before
        assert crossed.rx_bytes + crossed.tx_bytes > got.bytes / 2
    finally:
        for node in nodes:
            node.run(["pve-ospf", "apply", "--force"], timeout=120)
    poll(lambda: known_to(r3, "203.0.113.9") == THERE, 30, "apply puts it right")
