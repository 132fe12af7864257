"""The way back: apply killed, not confirmed, its session cut, the node restarted meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import service, topology
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.system.killing import CONF, CONFIG, RECORD, Kills, applied, ospf_losses

ALLOW = "allow: [198.51.100.0/24]\n"
OTHER = "allow: [198.51.100.0/24, 203.0.113.0/24]\n"
IN_VAIN = ALLOW + "router-id: 10.0.1.1\n"
"""The router's own id: no adjacency comes, and apply waits for it."""

pytestmark = pytest.mark.xdist_group("apply-wayback")


@pytest.fixture(scope="module", params=[
    "bookworm", pytest.param("trixie", marks=pytest.mark.soak)])
def lab(request: pytest.FixtureRequest, deb: Path) -> Iterator[Lab]:
    with topology.one_lan(1, deb=deb, suite=request.param, router_suite="bookworm",
                          hurry=True) as lab:
        yield lab


@pytest.fixture
def node(lab: Lab) -> Node:
    node = lab.node("pve1")
    node.write(CONFIG, ALLOW)
    node.sh(f"rm -f {RECORD}")
    applied(node, "--force")
    poll(lambda: node.full(1), 60, "the neighbour is Full")
    return node


def _running(node: Node) -> list[str]:
    return sorted(node.vtysh("show running-config").splitlines())


def _state(node: Node) -> tuple[str, list[str], str]:
    """FRR's file, what runs, and what we remember of the change."""
    return node.read(CONF), _running(node), node.read("/var/lib/pve-ospf/frr.json")


def _trying(node: Node, seconds: int, yaml: str = OTHER) -> subprocess.Popen[str]:
    """`apply --confirm`, when its change is made and it waits."""
    node.write(CONFIG, yaml)
    script = f"echo $$ >/run/lab-apply; exec pve-ospf apply --confirm {seconds} >/run/lab-said 2>&1"
    node.sh("rm -f /run/lab-said")
    running = node.popen(["sh", "-c", script])
    poll(lambda: node.exists("/run/lab-said") and "pve-ospf confirm" in node.read("/run/lab-said"),
         90, "apply waits for its confirmation")
    return running


def _taken_back(node: Node, within: float = 120) -> None:
    poll(lambda: not node.exists(RECORD), within, "it is taken back")


def test_confirmed_it_stays(node: Node) -> None:
    before = _state(node)
    running = _trying(node, 600)
    during = node.read(CONF)
    assert "203.0.113.0/24" in during and node.full(1)
    again = node.run(["pve-ospf", "apply"], check=False)
    assert again.returncode == 1 and "pve-ospf confirm" in again.stderr
    assert "stays" in node.run(["pve-ospf", "confirm"]).stdout
    assert running.wait(30) == 0, node.read("/run/lab-said")
    assert node.read(CONF) == during != before[0]
    assert "Nothing to change" in applied(node)
    assert node.run(["pve-ospf", "confirm"], check=False).returncode == 1
    assert node.sh("stat -c %a /var/lib/pve-ospf/frr.json") == "600"


def test_not_confirmed_it_goes_back(node: Node) -> None:
    before = _state(node)
    running = _trying(node, 5)
    assert running.wait(120) == 1
    assert "nobody confirmed it in time; everything is as it was before" in node.read(
        "/run/lab-said")
    assert _state(node) == before
    assert node.full(1)


def test_the_session_cut_it_goes_back_all_the_same(node: Node) -> None:
    before = _state(node)
    running = _trying(node, 8)
    node.sh("kill -KILL $(cat /run/lab-apply)")
    kill_group(running)
    assert node.read(CONF) != before[0]
    _taken_back(node)
    assert _state(node) == before


def test_a_hangup_can_still_be_confirmed_from_another_session(node: Node) -> None:
    running = _trying(node, 600)
    node.sh("kill -HUP $(cat /run/lab-apply)")
    running.wait(30)
    node.run(["pve-ospf", "confirm"])
    assert "203.0.113.0/24" in node.read(CONF)
    assert "Nothing to change" in applied(node)


def test_what_is_written_in_between_is_kept(node: Node) -> None:
    """`write memory` drops the markers, and an administrator adds lines of his own."""
    running = _trying(node, 20)
    node.vtysh("configure terminal", "interface vmbr0", "description his")
    node.vtysh("write memory")
    assert "pve-ospf begin" not in node.read(CONF)
    assert running.wait(120) == 1
    text = node.read(CONF)
    assert "203.0.113.0/24" not in text and "description his" in text
    assert text.count("redistribute kernel") == 1 and text.count("router ospf") == 1
    assert "no ip forwarding" not in text, "each start of FRR would cut the guests off"
    assert "description his" in node.vtysh("show running-config")
    assert "203.0.113.0/24" not in node.vtysh("show running-config")
    node.write(CONFIG, ALLOW)
    applied(node)
    assert "Nothing to change" in applied(node)
    node.vtysh("configure terminal", "interface vmbr0", "no description")
    node.vtysh("write memory")


def test_after_a_reboot_the_agent_goes_back(node: Node) -> None:
    """The record is of another boot, the guard is gone, FRR has started with the new file."""
    before = _state(node)
    running = _trying(node, 600)
    node.sh("kill -KILL $(cat /run/lab-apply); kill -KILL $(pgrep -f '[p]ve-ospf guard')")
    kill_group(running)
    node.sh(f"sed -i 's/\"boot\": \"[^\"]*\"/\"boot\": \"another\"/' {RECORD}")
    service.start(node)
    try:
        _taken_back(node)
    finally:
        service.stop(node)
    assert _state(node) == before


@pytest.mark.loses_adjacency
def test_killed_while_neighbours_are_away_the_guard_goes_back(node: Node) -> None:
    before = _state(node)
    node.write(CONFIG, IN_VAIN)
    node.sh("rm -f /run/lab-said")
    running = node.popen(["sh", "-c", "echo $$ >/run/lab-apply;"
                          "exec pve-ospf apply --force >/run/lab-said 2>&1"])
    poll(lambda: node.exists("/run/lab-said") and "Waiting" in node.read("/run/lab-said"), 90,
         "apply waits for the neighbour")
    assert node.read(CONF) != before[0]
    node.sh("kill -KILL $(cat /run/lab-apply)")
    kill_group(running)
    _taken_back(node)
    assert _state(node) == before
    assert node.vtysh_json("show ip ospf json")["routerId"] == "10.0.1.11"
    poll(lambda: node.full(1), 60, "the neighbour is Full again")


def test_without_a_guard_the_next_apply_goes_back_first(node: Node) -> None:
    running = _trying(node, 600)
    node.sh("kill -KILL $(cat /run/lab-apply); kill -KILL $(pgrep -f '[p]ve-ospf guard')")
    kill_group(running)
    node.sh(f"sed -i 's/\"until\": [0-9.]*/\"until\": null/' {RECORD}")
    assert "did not come to its end" in applied(node)
    assert not node.exists(RECORD)
    assert "Nothing to change" in applied(node)


def test_killed_at_random_moments(lab: Lab, node: Node) -> None:
    kills = Kills(lab)
    kills.prepare()
    lost = ospf_losses(lab)
    for number in range(4):
        kills.kill(number)
    assert ospf_losses(lab) == lost, "the neighbour never went"
    assert node.full(1)
