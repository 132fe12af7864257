"""apply and removal on a LAN with four routers, where a node is DR, Backup or DROther."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import topology
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll

ALLOW = "allow: [198.51.100.0/24]\n"
CONFIG = "/etc/pve/pve-ospf.yaml"
CONF = "/etc/frr/frr.conf"
ROUTERS = ("r1", "r2", "r3", "r4")

pytestmark = [pytest.mark.xdist_group("apply-lan"), pytest.mark.loses_adjacency]


@pytest.fixture(scope="module")
def lab(deb: Path) -> Iterator[Lab]:
    with topology.one_lan(4, deb=deb, hurry=True) as lab:
        lab.node("pve1").write(CONFIG, ALLOW)
        lab.node("pve1").run(["pve-ospf", "apply"], timeout=120)
        yield lab


def _role(node: Node) -> str:
    return str(node.vtysh_json("show ip ospf interface json")["interfaces"]["vmbr0"]["state"])


def test_the_router_id_of_a_dr_is_changed_by_force(lab: Lab) -> None:
    """It comes back as a DROther, and is 2-Way for good with those it was Full with."""
    node = lab.node("pve1")
    for name in ROUTERS:
        lab.router(name).frr_stop()
    poll(lambda: _role(node) == "DR", 30, "the node is alone and DR")
    for name in ROUTERS:
        lab.router(name).frr_start()
    poll(lambda: node.full(4), 60, "the node is Full with all")
    node.write(CONFIG, ALLOW + "router-id: 10.0.0.99\n")
    done = node.run(["pve-ospf", "apply", "--force"], check=False, timeout=120)
    assert done.returncode == 0, done.output
    assert node.vtysh_json("show ip ospf json")["routerId"] == "10.0.0.99"


def test_removal_beside_an_ospfd_that_hangs(lab: Lab) -> None:
    """Last. The files are without us whatever runs, and in good time."""
    node = lab.node("pve1")
    node.sh("kill -STOP $(cat /run/frr/ospfd.pid)")
    began = time.monotonic()
    done = node.run(["pve-ospf", "cleanup"], check=False, timeout=150)
    took = time.monotonic() - began
    assert "pve-ospf" not in node.read(CONF), done.output
    assert "Traceback" not in done.output
    assert took < 100, f"prerm gives it 120 s; it took {took:.0f} s"
    poll(lambda: not {"10.0.0.99", "10.0.1.11"} & set(lab.router("r1").neighbours()), 60,
         "the router has lost the node")
