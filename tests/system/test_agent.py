"""The agent follows what no hook tells of: reboots, crashes, hot-plugs, moves by hand."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab import service
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.system.standing import ALLOW, OTHER, WEB, Guests, known_to
from tests.system.watching import (
    HOOK,
    hook,
    lsas,
    monitored,
    not_importable,
    right,
    said,
    syslog,
    would_do,
)

CONFIG = "/etc/pve/lxc/101.conf"
OURS = "local:snippets/pve-ospf"


@pytest.fixture(scope="module")
def served(standing: Lab) -> Iterator[Node]:
    """pve1 with 101, which is ours."""
    standing.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
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


def _init(node: Node) -> str:
    """The PID of 101's init, "" while it has none."""
    said = node.run(["lxc-info", "-P", "/var/lib/lxc", "-n", 101, "-p", "-H"], check=False).stdout
    return said.strip() if said.strip() != "-1" else ""


def _monitor(node: Node) -> str:
    """The PID of 101's lxc-start."""
    return node.sh("pgrep -f '^/?.*lxc.*(monitor|start).* 101' | head -1")


def _killed_monitor(node: Node) -> None:
    """SIGKILL for 101's lxc-start: LXC runs no hook then."""
    node.run(["kill", "-9", _monitor(node)])
    poll(lambda: not node.running(101), 5, "Proxmox sees it stopped")


def _cleared(lab: Lab, node: Node) -> None:
    """What systemd removes after a unit that was killed: the next start needs its place."""
    if node.up:
        node.sh("ip link del veth101i0 2>/dev/null || :")
    for kind in ("lxc.monitor", "lxc"):
        for directory, _, _ in os.walk(lab.cgroup / node.name / kind / "101", topdown=False):
            poll(partial(_removed, Path(directory)), 5, f"{directory} is empty")


def _removed(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        directory.rmdir()
    return not directory.exists()


def _net(node: Node, **changes: str) -> str:
    """101's net0 with some of its values changed."""
    (line,) = [x for x in node.read(CONFIG).splitlines() if x.startswith("net0: ")]
    pairs = dict(pair.split("=", 1) for pair in line.removeprefix("net0: ").split(","))
    return ",".join(f"{key}={value}" for key, value in (pairs | changes).items())


def _gone(lab: Lab, address: str = WEB, deadline: float = 5) -> None:
    poll(lambda: not known_to(lab.router("r3"), address), deadline, f"r3 has no {address}")
    node = lab.node("pve1")
    assert not node.routes(address, "proto", "205")
    assert f"{address} " not in node.sh("ip neigh show nud permanent")


def test_a_reboot_from_inside_comes_back_at_the_pace(lab: Lab, node: Node) -> None:
    """No hook phase fires; the veth goes and comes."""
    before = _init(node)
    with lsas(lab, "net1", "10.0.1.11") as sent, monitored(lab.router("r3")) as seen:
        node.pct("exec", 101, "--", "reboot")
        poll(lambda: _init(node) not in ("", before), 15, "it is back")
        right(node)
        poll(lambda: known_to(lab.router("r3"), WEB), 10, "announced")
        times = sent.times(WEB)
        assert all(later - earlier >= 1.0 for earlier, later in pairwise(times)), times
        assert sum(seen.outages(WEB)) < 4
    assert lab.client.ping(WEB, timeout=5)


def test_an_init_that_crashes_is_withdrawn(lab: Lab, node: Node) -> None:
    node.run(["kill", "-9", _init(node)])
    _gone(lab)


def test_lxc_stop_without_proxmox_is_withdrawn(lab: Lab, node: Node) -> None:
    node.run(["lxc-stop", "-k", "-P", "/var/lib/lxc", "-n", 101])
    _gone(lab)


def test_a_container_whose_monitor_is_killed_is_withdrawn(lab: Lab, node: Node) -> None:
    """Then no hook fires, and nobody but the agent can know."""
    _killed_monitor(node)
    _gone(lab)
    _cleared(lab, node)


def test_or_not_by_anybody_the_control(lab: Lab, node: Node) -> None:
    with service.stopped(node):
        _killed_monitor(node)
        assert would_do(node).startswith(f"would delete route {WEB}/32")
        assert known_to(lab.router("r3"), WEB), "stale"
    _gone(lab)
    _cleared(lab, node)


def test_a_new_address_by_hot_plug_replaces_the_old_one_once(lab: Lab, node: Node) -> None:
    with monitored(node) as here:
        node.pct("set", 101, "--net0", _net(node, ip=f"{OTHER}/32"))
        poll(lambda: known_to(lab.router("r3"), OTHER), 5, "the new one is announced")
        _gone(lab)
        assert (here.changes(WEB), here.changes(OTHER)) == (["went"], ["came"])
        # Another MAC: Proxmox takes the interface away and plugs a new one, and the file
        # stands without it, then without an address, for a moment.
        node.pct("set", 101, "--net0", _net(node, hwaddr="BC:24:11:00:01:01", ip=f"{WEB}/32"))
        poll(lambda: known_to(lab.router("r3"), WEB), 5, "back to the first")
        right(node)
        assert (here.changes(WEB), here.changes(OTHER)) == (["went", "came"], ["came", "went"])
    assert "bc:24:11:00:01:01" in node.sh(f"ip neigh show {WEB}")


def test_a_hot_plug_that_keeps_the_address_withdraws_nothing(lab: Lab, node: Node) -> None:
    with monitored(node) as here:
        node.pct("set", 101, "--net0", _net(node, rate="50"))
        node.pct("set", 101, "--net0", _net(node, firewall="1"))
        node.pct("set", 101, "--net0", _net(node, firewall="0", hwaddr="BC:24:11:00:01:02"))
        poll(lambda: "bc:24:11:00:01:02" in node.sh(f"ip neigh show {WEB}"), 5, "the new MAC")
        right(node)
        assert here.events(WEB) == []


def test_a_file_without_the_address_for_a_moment_withdraws_nothing(lab: Lab, node: Node) -> None:
    """The intermediate state of a hot-plug, held for longer than Proxmox does."""
    whole = node.read(CONFIG)
    with monitored(node) as here:
        node.write(CONFIG, whole.replace(f"ip={WEB}/32,", ""), 0o640)
        time.sleep(0.6)  # what is tested is that this much does nothing
        node.write(CONFIG, whole, 0o640)
        right(node)
        assert here.events(WEB) == []
        node.write(CONFIG, whole.replace(f"ip={WEB}/32,", ""), 0o640)
        _gone(lab)  # the control: one that stays so is believed
        node.write(CONFIG, whole, 0o640)
        poll(lambda: known_to(lab.router("r3"), WEB), 5, "announced again")


@pytest.mark.parametrize(("torn", "says"), [
    (lambda whole: "", "holds no configuration"),
    (lambda whole: whole[:whole.index("hookscript") + 4], "in the middle of a line"),
    (lambda whole: whole[:whole.index(WEB) + 4], "in the middle of a line"),
], ids=["empty", "before the hookscript", "in the address"])
def test_a_file_that_is_torn_withdraws_nothing(
        node: Node, torn: Callable[[str], str], says: str) -> None:
    """However long it takes until it is whole: but for a stop, which is positive."""
    whole = node.read(CONFIG)
    try:
        with monitored(node) as here:
            with said(node, says):
                node.write(CONFIG, torn(whole), 0o640)
            time.sleep(1.5)  # what is tested is that nothing follows when it has settled
            hook(node, 101, "post-start")
            assert "delete" not in would_do(node)
            assert here.events(WEB) == []
            node.write(CONFIG, whole, 0o640)
            right(node)
            assert here.events(WEB) == []
            node.write(CONFIG, torn(whole), 0o640)
            hook(node, 101, "post-stop")
            poll(lambda: not node.routes(WEB, "proto", "205"), 5, "a stopped one is withdrawn")
    finally:
        node.write(CONFIG, whole, 0o640)
        hook(node, 101, "pre-start")
        hook(node, 101, "post-start")
    right(node)


def test_the_first_guest_of_a_vlan_has_its_route_when_its_start_has_ended(
        node: Node, guests: Guests) -> None:
    """Proxmox makes the bridge vmbr1v7 with it, and takes it away after the last."""
    net = f"name=eth0,bridge=vmbr1,tag=7,ip={OTHER}/32,gw=169.254.1.1"
    guests.attached(node, 105, f"{OTHER}/32", net0=net)
    for _ in range(2):
        node.pct("start", 105)
        (route,) = node.routes(OTHER, "proto", "205")
        assert route["dev"] == "vmbr1v7"
        assert "169.254.1.1" in node.sh("ip -4 addr show dev vmbr1v7")
        node.pct("stop", 105)
        node.sh("ip link del vmbr1v7 2>/dev/null || :")
        right(node)


def test_detached_and_attached_while_it_runs(lab: Lab, node: Node) -> None:
    node.pct("set", 101, "--delete", "hookscript")
    _gone(lab)
    node.pct("set", 101, "--hookscript", OURS)
    poll(lambda: known_to(lab.router("r3"), WEB), 5, "announced")


def test_a_clone_may_not_start_beside_the_original(lab: Lab, node: Node, guests: Guests) -> None:
    guests.made.append(103)
    node.pct("clone", 101, 103)
    done = node.pct("start", 103, check=False)
    assert done.returncode != 0
    assert f"{WEB}, which guest 101 on pve1 holds" in done.output
    assert not node.running(103)
    assert known_to(lab.router("r3"), WEB)
    node.pct("stop", 101)
    node.pct("start", 103)
    poll(lambda: known_to(lab.router("r3"), WEB), 5, "then the address is the clone's")
    node.pct("stop", 103)


def test_a_config_that_is_moved_by_hand_takes_the_address_along(lab: Lab, node: Node) -> None:
    """The guest goes on running where it was: one that this node does not own."""
    there = CONFIG.replace("/etc/pve/", "/etc/pve/nodes/pve2/")
    node.run(["mv", CONFIG, there])
    node.pve_refresh()
    try:
        _gone(lab)
        assert not lab.node("pve2").routes(WEB, "proto", "205"), "it does not run there"
    finally:
        node.run(["mv", there, CONFIG])
        node.pve_refresh()
    poll(lambda: known_to(lab.router("r3"), WEB), 5, "announced again")


def test_a_shutdown_that_times_out_withdraws_nothing(
        lab: Lab, node: Node, guests: Guests) -> None:
    guests.attached(node, 104, f"{OTHER}/32")
    path = "/etc/pve/lxc/104.conf"
    node.write(path, node.read(path) + "lxc.signal.halt: SIGWINCH\n", 0o640)
    node.pct("start", 104)
    poll(lambda: known_to(lab.router("r3"), OTHER), 5, "announced")
    with monitored(node) as here:
        assert node.pct("shutdown", 104, "--timeout", 1, check=False).returncode != 0
        assert node.running(104)
        assert here.events(OTHER) == []
    right(node)
    assert known_to(lab.router("r3"), OTHER)


def test_a_post_stop_that_never_came_is_made_up_for(lab: Lab, node: Node) -> None:
    target = node.sh(f"readlink {HOOK}")
    node.sh(f"rm {HOOK}; printf '#!/bin/sh\\nexit 0\\n' >{HOOK}; chmod 755 {HOOK}")
    try:
        node.pct("stop", 101)
        _gone(lab)
        node.pct("start", 101)
        poll(lambda: known_to(lab.router("r3"), WEB), 5, "and for a post-start")
        with service.stopped(node):
            node.pct("stop", 101)
            assert known_to(lab.router("r3"), WEB), "the control: stale"
        _gone(lab)
    finally:
        node.sh(f"ln -sfn {target} {HOOK}")


@pytest.mark.parametrize("count", [32, pytest.param(200, marks=pytest.mark.quiet)])
def test_many_hooks_at_once_leave_it_right(
        lab: Lab, node: Node, guests: Guests, count: int) -> None:
    guests.attached(node, 131, "198.51.100.131/32")
    guests.attached(node, 130, "198.51.100.130/32")
    node.pct("start", 130)
    node.sh("ip route add 198.51.100.99/32 dev vmbr1; ip route add 198.51.100.98/32 via 10.0.1.1")
    right(node)
    state = "ip route show | grep -v 'proto ospf'; ip neigh show nud permanent"
    before = node.sh(state)
    storm = (f"for i in $(seq {count // 4}); do for h in '101 post-start' '131 post-stop' "
             f"'130 post-start' '131 pre-start'; do ({HOOK} $h || echo failed) & done; done; wait")
    try:
        with monitored(node) as here:
            assert node.run(["sh", "-c", storm], timeout=120).output == ""
            right(node)
            assert here.events(WEB) == [], "not one of them withdrew what runs"
        assert node.sh(state) == before
    finally:
        node.sh("ip route del 198.51.100.99; ip route del 198.51.100.98")


@pytest.mark.quiet
def test_a_hook_that_the_agent_answers_imports_nothing(node: Node) -> None:
    """So it works in the middle of an upgrade, too, and takes no time."""
    log = syslog(node).count("not usable")
    with not_importable(node):
        node.pct("stop", 101)
        assert not node.routes(WEB, "proto", "205")
        node.pct("start", 101)
        poll(lambda: node.routes(WEB, "proto", "205"), 2, "announced, at the pace")
        assert syslog(node).count("not usable") == log
        service.stop(node)
        with said(node, "not usable just now"):  # the control
            assert hook(node, 101, "post-start").returncode == 0
    service.start(node)


@pytest.mark.loses_adjacency
def test_after_a_power_cut_the_guests_that_start_are_announced(lab: Lab, node: Node) -> None:
    r3 = lab.router("r3")
    node.stop()
    poll(lambda: not known_to(r3, WEB), 15, "the network sees the node dead")
    upper = lab.directory / node.name / "upper"
    shutil.rmtree(upper / "usr/share/pve-standin")  # start() brings them again
    shutil.rmtree(upper / "var/lib/vz/snippets")
    _cleared(lab, node)
    node.start()
    service.start(node)
    poll(lambda: node.full(1), 30, "adjacent again")
    poll(lambda: not known_to(r3, WEB), 15, "the LSA it left behind is taken back")
    right(node)
    node.pct("start", 101)
    poll(lambda: known_to(r3, WEB), 15, "announced")
    assert lab.client.ping(WEB, timeout=5)
