"""apply that is ended half-way, and apply and removal where FRR routes for somebody else."""

from __future__ import annotations

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
BGP = "router bgp 65001\n bgp router-id 10.0.1.11\n no bgp ebgp-requires-policy\nexit\n!\n"
IN_VAIN = ALLOW + "router-id: 10.0.1.1\n"
"""The router's own id: no adjacency comes, and apply waits for it."""

pytestmark = [pytest.mark.xdist_group("apply-interrupted"), pytest.mark.loses_adjacency]


@pytest.fixture(scope="module", params=[
    "bookworm", pytest.param("trixie", marks=pytest.mark.soak)])
def node(request: pytest.FixtureRequest, deb: Path) -> Iterator[Node]:
    """A node whose administrator routes with BGP; ospfd is off."""
    lab: Lab = topology.one_lan(1, deb=deb, suite=request.param, router_suite="bookworm")
    with lab:
        node = lab.node("pve1")
        node.write(CONFIG, ALLOW)
        node.write(CONF, node.read(CONF) + BGP, 0o640)
        node.sh("chown frr:frr /etc/frr/frr.conf; sed -i s/^bgpd=no/bgpd=yes/ /etc/frr/daemons")
        node.frr_restart()
        yield node


def _pids(node: Node) -> list[str]:
    return [node.read(f"/run/frr/{daemon}.pid") for daemon in ("zebra", "bgpd")]


def _state(node: Node) -> tuple[str, str, list[str], list[str]]:
    return (node.read(CONF), node.read("/etc/frr/daemons"), _pids(node),
            node.vtysh("show running-config").splitlines())


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_another_daemon_is_not_cut_unasked(node: Node, words: tuple[str, ...]) -> None:
    before = _state(node)
    done = node.run(["pve-ospf", "apply", *words], check=False, timeout=120)
    assert done.returncode == 1 and "cuts bgpd" in done.stderr, done.output
    assert "--force" in done.stderr and "systemctl reload frr" in done.stderr
    assert _state(node) == before


@pytest.fixture(scope="module")
def applied(node: Node) -> Node:
    done = node.run(["pve-ospf", "apply", "--force"], timeout=120)
    assert "bgpd will be restarted, too" in done.stdout
    return node


@pytest.mark.parametrize("end", ["HUP", "TERM", "no reader"])
def test_whatever_ends_it_half_way_all_is_as_before(applied: Node, end: str) -> None:
    poll(lambda: applied.full(1), 40, "the neighbour is Full")
    before = _state(applied)
    applied.write(CONFIG, IN_VAIN)
    # The reader goes at the line that says what is waited for: the files are changed by then.
    reader = "while read -r line; do case $line in Waiting*) break; esac; done"
    rest = "" if end == "no reader" else "; cat >/dev/null"
    script = ("{ pve-ospf apply --force 2>/tmp/said & echo $! >/tmp/apply.pid; wait $!;"
              f" echo $? >/tmp/code; }} | {{ {reader}; touch /tmp/waits{rest}; }}")
    applied.sh("rm -f /tmp/waits /tmp/code")
    running = applied.popen(["bash", "-c", script])
    poll(lambda: applied.exists("/tmp/waits"), 60, "apply waits for the neighbour")
    assert applied.read(CONF) != before[0]
    if end != "no reader":
        applied.sh(f"kill -{end} $(cat /tmp/apply.pid)")
    running.wait(120)
    applied.write(CONFIG, ALLOW)
    assert _state(applied) == before, applied.read("/tmp/said")
    assert applied.read("/tmp/code").strip() == "1"
    assert "as it was before" in applied.read("/tmp/said")


def test_when_going_back_fails_it_says_what_is_back_and_why_it_went(applied: Node) -> None:
    """The way back needs frr-reload, which is gone meanwhile."""
    poll(lambda: applied.full(1), 40, "the neighbour is Full")
    before = applied.read(CONF)
    applied.write(CONFIG, IN_VAIN)
    applied.sh("rm -f /tmp/out")
    running = applied.popen(["bash", "-c", "pve-ospf apply --force >/tmp/out 2>/tmp/said"])
    poll(lambda: applied.exists("/tmp/out") and "Waiting" in applied.read("/tmp/out"), 60,
         "apply waits for the neighbour")
    applied.sh("mv /usr/lib/frr/frr-reload.py /usr/lib/frr/away")
    try:
        code = running.wait(120)
    finally:
        applied.sh("mv /usr/lib/frr/away /usr/lib/frr/frr-reload.py")
        applied.write(CONFIG, ALLOW)
    said = applied.read("/tmp/said")
    assert code == 1 and "did not come back" in said and "frr-reload.py" in said, said
    assert f"{CONF} as before, but the running FRR is not" in said
    assert "systemctl restart frr" in said
    assert applied.read(CONF) == before
    applied.run(["pve-ospf", "apply", "--force"], timeout=120)
    assert applied.vtysh_json("show ip ospf json")["routerId"] == "10.0.1.11"


def test_removal_leaves_the_other_daemon_alone(applied: Node) -> None:
    """Last. Even where it was our apply that had FRR started at boot."""
    memory = applied.read("/var/lib/pve-ospf/frr.json")
    assert '"service": false' in memory
    applied.write("/var/lib/pve-ospf/frr.json", memory.replace('"service": false',
                                                               '"service": true'))
    before = _pids(applied)
    done = applied.run(["pve-ospf", "cleanup"], timeout=120)
    assert "which would cut bgpd" in done.stdout, done.output
    assert _pids(applied) == before
    running = applied.vtysh("show running-config")
    assert "router bgp 65001" in running and "router ospf" not in running
    assert "ospfd=no" in applied.read("/etc/frr/daemons")
