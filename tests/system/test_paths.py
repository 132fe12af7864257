"""The path audit against what the routers' kernels really do, hop by hop; with the tunnel in
OSPF at the highest cost (which keeps it clear), with a link cut, and with the tunnel preferred."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab import topology
from tests.lab.frr import FrrMachine
from tests.lab.lab import Lab, together
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.topology import TUNNEL
from tests.system.standing import ALLOW, OTHER, WEB, Guests, known_to

pytestmark = pytest.mark.xdist_group("paths")

HIGH_COST = ALLOW + "uplinks: [vmbr0]\ntunnels: {policy: high-cost}\n"
FAR_LINK = "10.0.2.1 - 10.9.0.1 (10.0.23.2)"
"""r2's to r3: without it, only the tunnel leads to pve2."""
Pairs = set[tuple[str, str]]


@pytest.fixture(scope="module")
def lab(deb: Path) -> Iterator[Lab]:
    """The tunnel is adjacent, and dear; a guest runs on each node. FRR of three versions.

    It runs over a network of its own: over the routers, it would be cut together with them.
    """
    raised = topology.demo(deb=deb, ring="uplink", hurry=True,
                           suites={"pve2": "sid", "r3": "trixie"})
    storage = raised.add_lan("storage")
    for number, node in enumerate(raised.nodes, start=1):
        node.plug("eth1", storage, f"10.254.0.{number}/24")
    with raised as lab:
        lab.node("pve1").write("/etc/pve/pve-ospf.yaml", HIGH_COST)
        for node, here, there in zip(lab.nodes, (1, 2), (2, 1), strict=True):
            node.ip(f"link del {TUNNEL}")
            node.vxlan(TUNNEL, 100, f"10.254.0.{here}", f"10.254.0.{there}",
                       f"10.255.0.{here}/24")
        together(lambda node: node.run(["pve-ospf", "apply"], timeout=120), lab.nodes)
        guests = Guests(nodes=lab.nodes)
        for node, vmid, address in zip(lab.nodes, (101, 102), (WEB, OTHER), strict=True):
            poll(partial(node.full, 2), 60, f"{node.name} is adjacent, by the tunnel, too")
            guests.attached(node, vmid, f"{address}/32")
            node.pct("start", vmid)
        lab.settle()
        for address in (WEB, OTHER):
            poll(partial(known_to, lab.router("r3"), address), 30, f"{address} is known")
        yield lab


def paths(node: Node) -> dict[str, Any]:
    said = node.run(["pve-ospf", "check", "--what-if", "--json"], check=False)
    report = json.loads(said.stdout)
    assert not report["unread"], report["unread"]
    found: dict[str, Any] = report["paths"]
    codes = {f["code"] for f in report["findings"]}
    assert said.returncode == (1 if codes else 0)
    assert ("path-over-tunnel" in codes) == bool(found["across_tunnels"])
    assert ("path-if-link-fails" in codes) == bool(found["if_link_fails"])
    return found


def said_by_audit(lab: Lab, found: dict[str, Any]) -> Pairs:
    """(machine, address) of the paths across a tunnel: each announcer has one address here."""
    assert all(c["addresses"] == 1 for c in found["across_tunnels"])
    names = {"10.0.1.1": "r1", "10.0.2.1": "r2", "10.9.0.1": "r3"}
    return {(names.get(c["router"], c["router"]), c["example"]) for c in found["across_tunnels"]}


def done_by_kernels(lab: Lab) -> Pairs:
    """(machine, address) of the ways that lead over the tunnel, by each machine's own kernel."""
    machines = [*lab.nodes, *lab.routers]
    holders = {a["local"]: m for m in machines for i in m.json("ip", "-j", "-4", "addr")
               for a in i["addr_info"]}
    return {(m.name, address) for m in machines for address in (WEB, OTHER)
            if TUNNEL in _devices(m, address, holders)}


def _devices(machine: FrrMachine, address: str, holders: dict[str, FrrMachine]) -> list[str]:
    """The interfaces a packet leaves by; [] where a machine on the way knows none."""
    devices: list[str] = []
    while len(devices) < 20:
        said = machine.run(["ip", "-j", "route", "get", address], check=False)
        if not said.ok:
            return []
        (hop,) = json.loads(said.stdout)
        devices.append(hop["dev"])
        if "gateway" not in hop:
            return devices
        machine = holders[hop["gateway"]]
    return devices  # a loop, while routes change


def agree(lab: Lab, node: Node) -> bool:
    return said_by_audit(lab, paths(node)) == done_by_kernels(lab)


def test_the_dear_tunnel_is_on_nobodys_way(lab: Lab) -> None:
    for node in lab.nodes:
        found = paths(node)
        assert (found["routers"], found["addresses"], found["untold"]) == (5, 2, [])
        assert found["across_tunnels"] == []
    assert done_by_kernels(lab) == set()


def test_what_if_says_what_then_happens(lab: Lab) -> None:
    """A link is cut, and the kernels go the way that was said."""
    predicted = {c["link"]: c for c in paths(lab.node("pve2"))["if_link_fails"]}
    assert predicted == {c["link"]: c for c in paths(lab.node("pve1"))["if_link_fails"]}
    assert FAR_LINK in predicted
    assert predicted[FAR_LINK]["tunnels"] == [f"{TUNNEL} (pve1, pve2)"]
    lab.router("r3").legs["eth1"].down()
    lab.router("r2").legs["eth1"].down()
    try:
        count = predicted[FAR_LINK]["pairs"]
        poll(lambda: len(done_by_kernels(lab)) == count, 60, f"{count} ways over the tunnel")
        poll(lambda: agree(lab, lab.node("pve1")), 60, "the audit says the same")
        assert ("r3", OTHER) in done_by_kernels(lab)
        said = lab.node("pve1").run(["pve-ospf", "check"], check=False)
        assert said.returncode == 1
        assert f"! {TUNNEL} (pve1, pve2): is a tunnel and guests' traffic runs" in said.stdout
        assert all(len(line) <= 80 for line in said.stdout.splitlines())
    finally:
        lab.router("r2").legs["eth1"].up()
        lab.router("r3").legs["eth1"].up()
    poll(lambda: paths(lab.node("pve1"))["across_tunnels"] == [], 60, "clear again")
    poll(lambda: done_by_kernels(lab) == set(), 60, "the kernels, too")


def test_a_cheap_tunnel_is_in_the_way(lab: Lab) -> None:
    for node in lab.nodes:
        topology.let_ospf_into_tunnel(node)
    try:
        poll(lambda: ("r3", OTHER) in done_by_kernels(lab), 60, "the tunnel is preferred")
        for node in lab.nodes:
            poll(partial(agree, lab, node), 60, f"{node.name} says what the kernels do")
        (path,) = (c for c in paths(lab.node("pve1"))["across_tunnels"]
                   if (c["router"], c["example"]) == ("10.9.0.1", OTHER))
        assert path["path"] == f"10.9.0.1 - 10.0.1.1 - pve1 ={TUNNEL}= pve2"
    finally:
        for node in lab.nodes:
            node.run(["pve-ospf", "apply", "--force"], timeout=120)
    poll(lambda: done_by_kernels(lab) == set(), 60, "clear again")
    poll(lambda: paths(lab.node("pve2"))["across_tunnels"] == [], 60, "and said to be")


def test_a_node_that_has_not_told_its_tunnels_is_named(lab: Lab) -> None:
    node, other = lab.nodes
    file = f"/etc/pve/nodes/{other.name}/pve-ospf.tunnels"
    text = node.read(file)
    assert text.startswith("router 10.0.2.12\ntunnel vxlan100 index ")
    node.run(["rm", file])
    try:
        assert paths(node)["untold"] == paths(other)["untold"] == [other.name]
        other.run(["pve-ospf", "apply"], timeout=120)
        assert node.read(file) == text
    finally:
        node.write(file, text)
    assert paths(node)["untold"] == []
