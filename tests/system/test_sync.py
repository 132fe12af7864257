"""sync on a real kernel: idempotent, restartable, and careful with what is not ours."""

from __future__ import annotations

import os
import signal

import pytest

from tests.lab import service
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.system.standing import ALLOW, WEB, Guests, known_to


def _kernel(node: Node) -> str:
    """Everything of the kernel that pve-ospf may touch, ours or not; learned entries left out."""
    return node.sh("ip route show; ip neigh show nud permanent; ip neigh show proxy;"
                   "ip -o -4 addr show | sed 's/\\\\.*//';"
                   "cat /proc/sys/net/ipv4/neigh/*/proxy_delay "
                   " /proc/sys/net/ipv4/conf/*/proxy_arp /proc/sys/net/ipv4/conf/*/forwarding")


@pytest.fixture
def node(lab: Lab, serving: Node) -> Node:
    """pve1 with one announced guest, and as it should be."""
    serving.run(["pve-ospf", "sync"])
    return serving


def _sync(node: Node, code: int = 0) -> str:
    done = node.run(["pve-ospf", "sync"], check=False)
    assert done.returncode == code, done.output
    return done.output


def test_the_second_changes_nothing(node: Node) -> None:
    assert _sync(node) == ""


def test_a_dry_run_shows_and_changes_nothing(node: Node) -> None:
    node.run(["ip", "route", "del", WEB])
    assert node.run(["pve-ospf", "sync", "--dry-run"]).stdout == (
        f"would replace route {WEB}/32 dev vmbr1\n")
    assert not node.routes(WEB, "proto", "205")
    _sync(node)


@pytest.mark.parametrize("harm", [
    f"ip route del {WEB}",
    f"ip neigh del {WEB} dev vmbr1",
    f"ip neigh replace {WEB} dev vmbr1 lladdr 02:00:00:00:00:99 nud permanent protocol 205",
    "ip addr flush dev vmbr1",
    "sysctl -q net.ipv4.conf.vmbr1.forwarding=0",
    "sysctl -q net.ipv4.conf.vmbr1.proxy_arp=0",
    "sysctl -q net.ipv4.neigh.vmbr1.proxy_delay=80",
    "sysctl -q net.ipv4.conf.vmbr0.forwarding=0",
    "ip route add 198.51.100.99 dev vmbr1 proto 205; ip neigh add 198.51.100.99 dev vmbr1 "
    "lladdr 02:00:00:00:00:98 nud permanent protocol 205",
    "ip neigh add proxy 10.0.1.99 dev vmbr0 protocol 205",
    "ip link set vmbr1 down; ip link set vmbr1 up",
])
def test_what_something_took_away_or_left_behind_is_put_right(node: Node, harm: str) -> None:
    before = _kernel(node)
    node.sh(harm)
    assert _kernel(node) != before, "the harm is one"
    assert _sync(node)
    assert _kernel(node) == before
    assert _sync(node) == ""


def test_what_is_not_ours_stays_as_it_is(node: Node, guests: Guests) -> None:
    node.sh("ip route add 198.51.100.50/32 dev vmbr1; ip route add 192.0.2.0/24 via 10.0.1.1;"
            "ip neigh add 198.51.100.50 dev vmbr1 lladdr 02:00:00:00:00:50 nud permanent;"
            "ip neigh add proxy 10.0.1.50 dev vmbr0; ip addr add 10.0.1.60/24 dev vmbr0")
    try:
        before = _kernel(node)
        guests.attached(node, 150, "198.51.100.50/32")
        node.pct("start", 150)
        assert "not ours" in _sync(node, 1), "the other's route is named"
        node.pct("stop", 150)
        assert _kernel(node) == before
    finally:
        node.sh("ip route del 198.51.100.50; ip route del 192.0.2.0/24;"
                "ip neigh del 198.51.100.50 dev vmbr1; ip neigh del proxy 10.0.1.50 dev vmbr0;"
                "ip addr del 10.0.1.60/24 dev vmbr0")


def test_killed_at_any_moment_the_next_one_puts_it_right(node: Node, guests: Guests) -> None:
    for number in range(3):
        guests.attached(node, 120 + number, f"198.51.100.{120 + number}/32")
        node.pct("start", 120 + number)
    before = _kernel(node)
    for milliseconds in range(200, 500, 60):
        node.sh("ip route flush proto 205; ip addr flush dev vmbr1")
        process = node.popen(["timeout", "-s", "KILL", f"{milliseconds / 1000}",
                              "pve-ospf", "sync"])
        process.communicate(timeout=20)
        _sync(node)
        assert _kernel(node) == before


@pytest.mark.quiet
def test_a_hundred_hooks_at_once(node: Node, guests: Guests) -> None:
    """All phases of several guests, in no order, while links come and go, which interrupts
    every reading of the kernel: the outcome is that of the last state. Without the agent few
    of them get their turn in time; it does what is left."""
    hook = "/var/lib/vz/snippets/pve-ospf"
    guests.attached(node, 130, "198.51.100.130/32")
    guests.attached(node, 131, "198.51.100.131/32")
    node.pct("start", 130)
    before = _kernel(node)
    node.sh("ip route flush proto 205;"
            "for i in $(seq 40); do ip link add churn$i type veth peer name churned$i; done")
    churn = node.popen(["sh", "-c", "while :; do ip link add churn type veth peer name churned;"
                        "ip link del churn; done"])
    node.run(["sh", "-c", f"for i in $(seq 25); do {hook} 101 post-start & {hook} 131 post-stop & "
              f"{hook} 130 pre-stop & {hook} 130 post-start & done; wait"], timeout=180)
    kill_group(churn)
    node.sh("for i in $(seq 40); do ip link del churn$i; done; ip link del churn 2>/dev/null || :")
    service.start(node)
    poll(lambda: _kernel(node) == before, 20, "right again")
    service.stop(node)
    assert _sync(node) == ""


def test_it_waits_for_no_lock_for_ever(node: Node) -> None:
    holder = node.popen(["flock", "/run/pve-ospf/lock", "sleep", "infinity"])
    try:
        done = node.run(["sh", "-c", "LC_ALL=C timeout 60 pve-ospf sync"], check=False)
        assert done.returncode == 3
        assert "another sync has held it" in done.stderr
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()


def test_entries_outlive_the_coming_and_going_of_guests(node: Node, guests: Guests) -> None:
    """A bridge that takes its MAC from its ports drops them, permanent or not."""
    before, mac = _kernel(node), node.sh("cat /sys/class/net/vmbr1/address")
    node.ip("link add lowest type veth peer name lowestfar",
            "link set lowest address 00:00:00:00:00:01 master vmbr1", "link del lowest")
    guests.stopped(node, 140, "198.51.100.140/32")
    node.pct("start", 140)
    node.pct("stop", 140)
    assert node.sh("cat /sys/class/net/vmbr1/address") == mac
    assert _kernel(node) == before


def test_taken_out_of_allow_it_is_withdrawn(node: Node, lab: Lab) -> None:
    node.write("/etc/pve/pve-ospf.yaml", "allow: [203.0.113.0/24]\n")
    assert "no entry of 'allow'" in _sync(node, 1)
    poll(lambda: not known_to(lab.router("r3"), WEB), 10, "withdrawn")
    node.write("/etc/pve/pve-ospf.yaml", ALLOW)
    _sync(node)
    poll(lambda: known_to(lab.router("r3"), WEB), 10, "and announced again")
