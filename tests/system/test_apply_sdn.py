"""apply where Proxmox SDN writes FRR's configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import topology
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result

ALLOW = "allow: [198.51.100.0/24]\n"
OPTED_IN = ALLOW + "sdn: frr.conf.local\n"
CONFIG = "/etc/pve/pve-ospf.yaml"
CONF, LOCAL = "/etc/frr/frr.conf", "/etc/frr/frr.conf.local"
CONTROLLERS, FABRICS = "/etc/pve/sdn/controllers.cfg", "/etc/pve/sdn/fabrics.cfg"
HIS = "ip prefix-list his seq 5 permit 10.0.0.0/8\n"

pytestmark = [pytest.mark.xdist_group("apply-sdn"), pytest.mark.loses_adjacency]


@pytest.fixture(scope="module")
def node(deb: Path) -> Iterator[Node]:
    """A node with an EVPN controller, whose SDN has been applied."""
    with topology.one_lan(1, deb=deb, hurry=True) as lab:
        node = lab.node("pve1")
        node.write(CONTROLLERS, "evpn: main\n\tasn 65000\n")
        node.run(["pvesh", "set", "/cluster/sdn"])
        yield node


def _refused(node: Node, *words: str) -> Result:
    before = node.sh("cd /; sha256sum etc/frr/* etc/default/*")
    done = node.run(["pve-ospf", "apply", *words], check=False, timeout=120)
    assert done.returncode == 1, done.output
    assert node.sh("cd /; sha256sum etc/frr/* etc/default/*") == before
    return done


def test_not_opted_in_it_is_explained_and_refused(node: Node) -> None:
    node.write(CONFIG, ALLOW)
    said = _refused(node, "--force").stderr
    assert f"{CONTROLLERS}: evpn: main" in said and "sdn: frr.conf.local" in said


def test_opted_in_the_file_is_never_created(node: Node) -> None:
    node.write(CONFIG, OPTED_IN)
    assert f"touch {LOCAL}" in _refused(node, "--force").stderr
    assert not node.exists(LOCAL)


def test_beside_an_ospf_fabric_the_fabric_is_to_announce(node: Node) -> None:
    node.write(CONFIG, OPTED_IN)
    node.write(FABRICS, "ospf_fabric: backbone\n\tarea 0\n")
    try:
        said = _refused(node, "--force").stderr
    finally:
        node.run(["rm", FABRICS])
    assert "fabric backbone" in said and "redistribute" in said


def test_opted_in_sdn_merges_it_and_keeps_it(node: Node) -> None:
    node.write(CONFIG, OPTED_IN)
    node.write(LOCAL, HIS)
    node.run(["pvesh", "set", "/cluster/sdn"])
    assert "cuts bgpd" in _refused(node).stderr
    node.run(["pve-ospf", "apply", "--force"], timeout=180)
    poll(lambda: node.full(1), 120, "the neighbour is Full")
    daemons = node.read("/etc/frr/daemons")
    assert "ospfd=no" in daemons and "ospfd=yes" in node.read("/etc/default/frr")
    assert node.read(LOCAL).startswith(HIS)
    again = node.run(["pve-ospf", "apply"], timeout=120).stdout
    assert "Nothing to change" in again

    node.run(["pvesh", "set", "/cluster/sdn"])
    poll(lambda: node.full(1), 120, "the neighbour is Full after SDN has written it all anew")
    text = node.read(CONF)
    assert "pve-ospf begin" not in text and "router bgp 65000" in text
    assert node.vtysh_json("show ip ospf json")["routerId"] == "10.0.1.11"
    again = node.run(["pve-ospf", "apply"], timeout=120).stdout
    assert "Nothing to change" in again, again


def test_removal_leaves_what_was_his_and_sdns(node: Node) -> None:
    """Last."""
    node.run(["pve-ospf", "cleanup"], timeout=150)
    assert node.read(LOCAL) == HIS
    assert not node.exists("/etc/default/frr")
    text = node.read(CONF)
    assert "pve-ospf" not in text and "router bgp 65000" in text and "router ospf" not in text
