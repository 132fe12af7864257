"""Labs that are used more than once, composed from the primitives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.node import Node

GATEWAY = "169.254.1.1"
TUNNEL = "vxlan100"


def demo(
    *,
    deb: Path | None = None,
    suite: str = "bookworm",
    suites: Mapping[str, str] | None = None,
    ring: str = "tunnel",
    hurry: bool = False,
    vms: bool = False,
) -> Lab:
    """Two nodes in two IP networks, a client elsewhere, and a tunnel between the nodes.

                           ┌─ net13 (cost 10)  ── r1 ── net1 ── pve1 10.0.1.11 ─┐
        client ── net9 ── r3                                                      vxlan100
        10.9.0.2           └─ net23 (cost 100) ── r2 ── net2 ── pve2 10.0.2.12 ─┘

    The way over net23 is dear: from r3 to pve2, OSPF would rather go by r1, pve1 and the
    tunnel, were it let in.

    `suites` names machines that run another suite than `suite`; `ring` is where corosync
    runs: "tunnel" or "uplink"; `hurry` and `vms` are Lab's. Not raised yet.
    """
    lab = Lab(deb=deb, suite=suite, hurry=hurry, vms=vms)
    suites = suites or {}
    net1, net2, net13, net23, net9 = map(lab.add_lan, ("net1", "net2", "net13", "net23", "net9"))

    r1 = lab.add_router("r1", suites.get("r1"))
    r1.plug("eth0", net1, "10.0.1.1/24")
    r1.plug("eth1", net13, "10.0.13.1/24")
    r1.ospf("10.0.1.1", {"eth0": 10, "eth1": 10}, point_to_point=["eth1"])

    r2 = lab.add_router("r2", suites.get("r2"))
    r2.plug("eth0", net2, "10.0.2.1/24")
    r2.plug("eth1", net23, "10.0.23.2/24")
    r2.ospf("10.0.2.1", {"eth0": 10, "eth1": 100}, point_to_point=["eth1"])

    r3 = lab.add_router("r3", suites.get("r3"))
    r3.plug("eth0", net13, "10.0.13.3/24")
    r3.plug("eth1", net23, "10.0.23.3/24")
    r3.plug("eth2", net9, "10.9.0.1/24")
    r3.ospf("10.9.0.1", {"eth0": 10, "eth1": 100, "eth2": 10}, point_to_point=["eth0", "eth1"])

    client = lab.add_client("client", suites.get("client"))
    client.plug("eth0", net9, "10.9.0.2/24")
    client.route("default", via="10.9.0.1")

    rings = {"tunnel": ("10.255.0.1", "10.255.0.2"), "uplink": ("10.0.1.11", "10.0.2.12")}[ring]
    pve1 = lab.add_node("pve1", rings[0], suites.get("pve1"))
    pve2 = lab.add_node("pve2", rings[1], suites.get("pve2"))
    pve1.plug("eth0", net1)
    pve2.plug("eth0", net2)
    set_up_node(pve1, "10.0.1.11/24", router="10.0.1.1")
    set_up_node(pve2, "10.0.2.12/24", router="10.0.2.1")
    # The tunnel's ends by routes of their own, on the routers too: were OSPF let into the
    # tunnel, the way to its far end would lead through the tunnel itself, and the tunnel
    # (and with it every route) would come and go every few seconds.
    pve1.route("10.0.2.12", via="10.0.1.1")
    r1.route("10.0.2.12", via="10.0.13.3")
    r3.route("10.0.2.12", via="10.0.23.2")
    pve2.route("10.0.1.11", via="10.0.2.1")
    r2.route("10.0.1.11", via="10.0.23.3")
    r3.route("10.0.1.11", via="10.0.13.1")
    pve1.vxlan(TUNNEL, 100, "10.0.1.11", "10.0.2.12", "10.255.0.1/24")
    pve2.vxlan(TUNNEL, 100, "10.0.2.12", "10.0.1.11", "10.255.0.2/24")
    return lab


def let_ospf_into_tunnel(node: Node, tunnel: str = TUNNEL) -> None:
    """Take the protection away, as a control: OSPF speaks on the tunnel, and prefers it.

    Point-to-point, because FRR 8.4 leaves a broadcast interface that was passive in state
    Waiting for good. And forwarding on, as on a node whose administrator set ip_forward: what
    pve-ospf sets on uplinks and guest bridges alone would let nothing through.
    """
    node.sh(f"sysctl -q net.ipv4.conf.{tunnel}.forwarding=1")
    node.vtysh(
        "configure terminal", f"interface {tunnel}", "no ip ospf passive",
        "ip ospf network point-to-point", "ip ospf area 0", "ip ospf hello-interval 1",
        "ip ospf dead-interval 3", "ip ospf cost 1",
    )  # fmt: skip


def set_up_node(node: Node, address: str, *, router: str) -> None:
    """The network of a usual node: vmbr0 over eth0 with the address, vmbr1 for guests."""
    node.bridge("vmbr0", address, ports=["eth0"])
    node.route("default", via=router)
    node.bridge("vmbr1")


def one_lan(
    routers: int,
    *,
    deb: Path | None = None,
    suite: str = "bookworm",
    router_suite: str | None = None,
    hurry: bool = False,
    vms: bool = False,
) -> Lab:
    """One node, pve1 (10.0.1.11), and `routers` routers r1… (10.0.1.1…) on one LAN.

    With four of them some are DROther, which are 2-Way with each other for good. A
    client (10.9.0.2) is behind r1; `hurry` and `vms` are Lab's. Not raised yet.
    """
    lab = Lab(deb=deb, suite=suite, hurry=hurry, vms=vms)
    net1, net9 = lab.add_lan("net1"), lab.add_lan("net9")
    for number in range(1, routers + 1):
        router = lab.add_router(f"r{number}", router_suite)
        router.plug("eth0", net1, f"10.0.1.{number}/24")
        costs = {"eth0": 10}
        if number == 1:
            router.plug("eth1", net9, "10.9.0.1/24")
            costs["eth1"] = 10
        router.ospf(f"10.0.1.{number}", costs)
    client = lab.add_client("client")
    client.plug("eth0", net9, "10.9.0.2/24")
    client.route("default", via="10.9.0.1")
    pve1 = lab.add_node("pve1", "10.0.1.11")
    pve1.plug("eth0", net1)
    set_up_node(pve1, "10.0.1.11/24", router="10.0.1.1")
    return lab
