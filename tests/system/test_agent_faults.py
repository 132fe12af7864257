"""The agent puts right what others break, and withdraws nothing because it cannot read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import service
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.system.crashing import Crashes
from tests.system.standing import ALLOW, OTHER, WEB, Guests, known_to
from tests.system.watching import changed_program, hook, monitored, right, said, would_do

CONFIG = "/etc/pve/pve-ospf.yaml"
KILLS = 8


@pytest.fixture(scope="module")
def served(standing: Lab) -> Iterator[Node]:
    """pve1 with 101, which is ours."""
    standing.node("pve1").write(CONFIG, ALLOW)
    guests, node = Guests(nodes=standing.nodes), standing.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    yield node
    guests.destroy()


@pytest.fixture
def node(lab: Lab, served: Node) -> Node:
    """pve1 with 101 running and announced, and nothing left to do."""
    if not served.running(101):
        served.pct("start", 101)
    poll(lambda: known_to(lab.router("r3"), WEB), 15, "announced")
    right(served)
    return served


def _announced(lab: Lab, deadline: float = 10) -> None:
    poll(lambda: known_to(lab.router("r3"), WEB), deadline, "announced")


def _lost(lab: Lab, deadline: float = 10) -> None:
    poll(lambda: not known_to(lab.router("r3"), WEB), deadline, "r3 sees it gone")


HARMS = {
    "routes flushed": "ip route flush proto pve-ospf",
    "bridge blinked": "printf 'link set vmbr1 down\\nlink set vmbr1 up\\n' | ip -batch -",
    "address and forwarding taken": "ip addr flush dev vmbr1;"
                                    "sysctl -q net.ipv4.conf.vmbr1.forwarding=0",
    "uplink's forwarding taken": "sysctl -q net.ipv4.conf.vmbr0.forwarding=0",
    "proxy_arp taken": "sysctl -q net.ipv4.conf.vmbr1.proxy_arp=0",
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_what_others_break_is_put_right_within_two_seconds(
        lab: Lab, node: Node, harm: str) -> None:
    node.sh(harm)
    right(node, 2)
    _announced(lab)
    poll(lambda: lab.client.ping(WEB), 5, "and reached")


def test_without_the_agent_nobody_does(lab: Lab, node: Node) -> None:
    with service.stopped(node):
        node.sh(HARMS["routes flushed"])
        _lost(lab)
    _announced(lab)


def test_a_bridge_that_is_down_for_a_while(lab: Lab, node: Node) -> None:
    node.sh("ip link set vmbr1 down")
    _lost(lab)
    node.sh("ip link set vmbr1 up")
    right(node, 2)
    _announced(lab)


@pytest.mark.loses_adjacency
def test_an_uplink_that_flaps(lab: Lab, node: Node) -> None:
    with monitored(node) as here:
        node.legs["eth0"].down()
        _lost(lab)
        node.legs["eth0"].up()
        _announced(lab, 30)
        assert here.events(WEB) == [], "the guest runs, and its route stays"


def test_an_administrators_route_in_its_place_is_left(lab: Lab, node: Node) -> None:
    foreign = f"{WEB}/32 via 10.0.1.1 dev vmbr0"
    try:
        with said(node, "not ours"):
            node.sh(f"ip route replace {foreign}")
        assert node.sh(f"ip route show {WEB}").split() == f"{WEB} via 10.0.1.1 dev vmbr0".split()
    finally:
        node.sh(f"ip route del {WEB}")
    poll(lambda: node.routes(WEB, "proto", "205"), 2, "ours again once it is free")
    _announced(lab)


def test_without_etc_pve_nothing_is_withdrawn(lab: Lab, node: Node, guests: Guests) -> None:
    guests.attached(node, 102, f"{OTHER}/32")
    with monitored(node) as here:
        with (said(node, "works again"), said(node, "/etc/pve is not mounted"),
              node.pve_gone()):
            with said(node, "guest 101 post-start"):
                assert hook(node, 101, "post-start").returncode == 0, "a guest may start"
            assert hook(node, 101, "pre-start").returncode == 0
        assert node.pct("start", 102).ok
        right(node)
        assert node.routes(OTHER, "proto", "205")
        assert here.events(WEB) == []


def test_nor_when_pmxcfs_has_crashed(lab: Lab, node: Node) -> None:
    with monitored(node) as here:
        with (said(node, "works again"), said(node, "Transport endpoint is not connected"),
              node.pve_dead()):
            for phase in ("pre-start", "post-start"):
                assert hook(node, 101, phase).returncode == 0, "a guest may start"
        right(node)
        assert here.events(WEB) == []


def test_an_etc_pve_that_lists_no_guest_withdraws_nothing(lab: Lab, node: Node) -> None:
    """Mounted, and empty but for the configuration: no guest that runs here is known."""
    node.sh(f"mkdir -p /run/empty/nodes/pve1/lxc; ln -sfn nodes/pve1 /run/empty/local;"
            f"cp {CONFIG} /run/empty/; mount --bind /run/empty /etc/pve")
    try:
        with monitored(node) as here:
            assert hook(node, 101, "post-start").returncode == 0
            assert "delete" not in would_do(node)
            node.sh(HARMS["proxy_arp taken"])
            right(node)  # the agent has looked, with no guest in sight
            assert here.events(WEB) == []
    finally:
        node.sh("umount /etc/pve")
    right(node)
    _announced(lab)


def test_what_zebra_lost_it_is_told_again(lab: Lab, node: Node) -> None:
    """The kernel has the route, and says nothing more: only who compares can know."""
    with monitored(lab.router("r3")) as far, said(node, "agrees again", 60):
        node.sh(f"ip route append {WEB} dev vmbr1 proto 205 scope link initcwnd 11;"
                f"ip route del {WEB} dev vmbr1 proto 205")
        poll(lambda: far.changes(WEB) == ["went", "came"], 60, "lost, and announced again")


def test_what_nobody_tells_of_is_found_by_the_timer(lab: Lab, node: Node) -> None:
    """Others' neighbour entries come and go by the thousand, so they are not listened to."""
    with changed_program(node, "agent", "TIMER = 60.0", "TIMER = 3.0"):
        right(node)
        node.sh(f"ip neigh del {WEB} dev vmbr1")
        poll(lambda: f"{WEB} " in node.sh("ip neigh show nud permanent"), 30, "there again")


def test_a_read_only_etc_pve_hinders_nothing(lab: Lab, node: Node) -> None:
    with node.pve_read_only():
        node.pct("stop", 101)
        assert not node.routes(WEB, "proto", "205")
        node.pct("start", 101)
        poll(lambda: known_to(lab.router("r3"), WEB), 5, "announced")
    right(node)


@pytest.mark.parametrize("harm", [f"echo 'alow: [' >{CONFIG}", f"rm {CONFIG}"])
def test_a_configuration_broken_or_gone_withdraws_nothing(
        lab: Lab, node: Node, guests: Guests, harm: str) -> None:
    guests.attached(node, 102, f"{OTHER}/32")
    with monitored(node) as here:
        with said(node, CONFIG):
            node.sh(harm)
        node.pct("start", 102)
        assert node.running(102)
        with said(node, "works again"):
            node.write(CONFIG, ALLOW)
        right(node)
        poll(lambda: known_to(lab.router("r3"), OTHER), 5, "what started meanwhile")
        assert here.events(WEB) == []


@pytest.mark.loses_adjacency
def test_frr_restarted(lab: Lab, node: Node) -> None:
    node.frr_restart()
    _announced(lab, 40)
    right(node)


@pytest.mark.loses_adjacency
def test_ospfd_killed(lab: Lab, node: Node) -> None:
    node.sh("kill -9 $(cat /run/frr/ospfd.pid)")
    _lost(lab, 15)
    _announced(lab, 40)


def _freeze(node: Node) -> None:
    """While it holds no lock, so that hooks can do its work."""
    node.sh("flock /run/pve-ospf/lock sh -c 'kill -STOP $(cat /run/agent.pid)'")


@pytest.mark.quiet
def test_hooks_do_the_work_of_an_agent_that_is_frozen(lab: Lab, node: Node) -> None:
    """And what they asked of it is not done late: the guest runs again by then."""
    with service.stopped(node):
        alone = hook(node, 101, "post-start").elapsed
    right(node)
    with monitored(node) as here:
        _freeze(node)
        try:
            assert hook(node, 101, "post-start").elapsed < 2 + alone
            node.pct("stop", 101)
            assert here.changes(WEB) == ["went"]
            node.pct("start", 101)
            poll(lambda: here.changes(WEB) == ["went", "came"], 5, "announced again")
        finally:
            service.send(node, "CONT")
        right(node)
        assert here.changes(WEB) == ["went", "came"]
    _announced(lab)


def test_an_agent_frozen_with_the_lock_keeps_no_guest_from_starting(
        lab: Lab, node: Node) -> None:
    node.pct("stop", 101)
    holder = node.popen(["flock", "/run/pve-ospf/lock", "sleep", "infinity"])
    try:
        _locked(node)
        with service.frozen(node):
            with said(node, "guest 101 post-start: given up after 2 s"):
                took = hook(node, 101, "post-start").elapsed
            assert took < 2.5
            node.pct("start", 101)
            assert node.running(101)
    finally:
        kill_group(holder)
    right(node)
    _announced(lab)


def _locked(node: Node) -> None:
    probe = ["flock", "-n", "/run/pve-ospf/lock", "true"]
    poll(lambda: not node.run(probe, check=False).ok, 5, "the lock is held")


def test_killed_at_random_moments_it_or_the_next_hook_is_right(
        lab: Lab, node: Node, guests: Guests) -> None:
    crashes = Crashes(lab, guests)
    crashes.prepare()
    try:
        for number in range(KILLS):
            crashes.kill(number)
    finally:
        crashes.end()
        if not service.running(node):
            service.start(node)


def test_a_second_agent_refuses_and_the_first_goes_on(lab: Lab, node: Node) -> None:
    done = node.run(["timeout", 10, "pve-ospf", "agent"], check=False)
    assert done.returncode not in (0, 124)
    assert "another agent runs already" in done.stderr
    assert service.answers(node)
    node.sh(HARMS["routes flushed"])
    right(node, 2)
    _announced(lab)
