"""The hookscript's four phases, as Proxmox calls them."""

from __future__ import annotations

import pytest

from tests.lab import service
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result
from tests.system.standing import Guests, known_to, out_of_ospf

HOOK = "/var/lib/vz/snippets/pve-ospf"
WEB = "198.51.100.7"


def _hook(node: Node, vmid: int, phase: str, **environment: str) -> Result:
    plain = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "LC_ALL": "C"}
    return node.run([HOOK, vmid, phase], check=False, env=plain | environment)


def test_it_is_where_proxmox_looks_and_executable(lab: Lab) -> None:
    assert lab.node("pve1").run(["test", "-f", HOOK, "-a", "-x", HOOK], check=False).ok


def test_every_phase_of_a_guest_that_is_fine_is_silent(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    for phase in ("pre-start", "post-start", "pre-stop", "post-stop", "unheard-of"):
        done = _hook(node, 101, phase)
        assert (done.returncode, done.output) == (0, "")


def test_pre_stop_withdraws_nothing(lab: Lab, guests: Guests) -> None:
    """It is no commitment: a shutdown can time out, and the guest runs on."""
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    node.pct("start", 101)
    _hook(node, 101, "pre-stop")
    assert node.routes(WEB, "proto", "205")


@pytest.mark.parametrize(("address", "words"), [
    ("192.0.2.1/32", "no entry of 'allow'"),
    ("10.0.1.11/32", "this node's own"),
    ("10.0.1.1/32", "may not have 10.0.1.1"),
    ("10.0.13.3/32", "an OSPF router"),
    ("10.255.0.2/32", "a corosync ring address"),
])
def test_pre_start_refuses_what_the_policy_forbids_in_one_line(
        lab: Lab, guests: Guests, address: str, words: str) -> None:
    node = lab.node("pve1")
    guests.attached(node, 101, address)
    done = node.pct("start", 101, check=False)
    assert done.returncode != 0
    assert words in done.output
    said = _hook(node, 101, "pre-start")
    assert said.returncode == 1
    assert said.stderr.count("\n") == 1
    assert not node.routes("proto", "205")
    assert not node.running(101)


def test_pre_start_refuses_what_another_guest_here_runs_with(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    guests.attached(node, 102, f"{WEB}/24")
    node.pct("start", 101)
    done = node.pct("start", 102, check=False)
    assert done.returncode != 0
    assert "guest 101 on pve1 holds" in done.output
    assert not node.running(102)


def test_or_on_another_node(lab: Lab, guests: Guests) -> None:
    one, two = lab.node("pve1"), lab.node("pve2")
    guests.attached(one, 101, f"{WEB}/32")
    one.pct("start", 101)
    poll(lambda: known_to(two, WEB), 10, "pve2 has the LSA")
    guests.attached(two, 102, f"{WEB}/32")
    done = two.pct("start", 102, check=False)
    assert done.returncode != 0
    assert "guest 101 on pve1 holds" in done.output
    one.pct("stop", 101)
    poll(lambda: not known_to(two, WEB), 10, "pve2 sees it withdrawn")
    two.pct("start", 102)


def test_a_guest_that_comes_over_is_not_refused_for_its_own_old_announcement(
        lab: Lab, guests: Guests) -> None:
    """The config has moved, and the old node's LSA is still about: not even a stopped clone on
    the old node makes that the clone's, where it is known whence the guest came."""
    one, two = lab.node("pve1"), lab.node("pve2")
    guests.attached(one, 101, f"{WEB}/32")
    one.pct("start", 101)
    poll(lambda: known_to(two, WEB), 10, "pve2 has the LSA")
    service.stop(one)  # it would withdraw at once
    one.run(["mv", "/etc/pve/nodes/pve1/lxc/101.conf", "/etc/pve/nodes/pve2/lxc/101.conf"])
    one.pve_refresh()
    try:
        assert _hook(two, 101, "pre-start").returncode == 0
        guests.stopped(one, 102, f"{WEB}/32")
        assert _hook(two, 101, "pre-start", PVE_MIGRATED_FROM="pve1").returncode == 0
        assert _hook(two, 101, "pre-start").returncode == 1, "the control"
        one.legs["eth0"].down()
        poll(lambda: not known_to(two, WEB), 15, "pve1 is dead to the network")
        assert not out_of_ospf(two, WEB, "adv-router 10.0.1.11"), "its LSA lives on"
        assert _hook(two, 101, "pre-start").returncode == 0
    finally:
        one.legs["eth0"].up()
        poll(lambda: known_to(two, WEB), 30, "pve1 is back")
        one.run(["mv", "/etc/pve/nodes/pve2/lxc/101.conf", "/etc/pve/nodes/pve1/lxc/101.conf"])
        one.pve_refresh()
        service.start(one)


def test_a_duplicate_that_only_stands_in_a_config_is_reported_not_refused(
        lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.stopped(node, 102, f"{WEB}/32")
    guests.attached(node, 101, f"{WEB}/32")
    node.pct("start", 101)
    assert "guest 102" in node.read("/var/log/syslog")


@pytest.mark.loses_adjacency
def test_ospf_that_is_unwell_keeps_no_guest_from_starting(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    node.frr_stop()
    try:
        node.pct("start", 101)
        assert node.running(101)
        poll(lambda: node.routes(WEB, "proto", "205"), 5, "ready for when FRR is back")
        guests.attached(node, 102, "10.0.13.3/32")
        assert node.pct("start", 102, check=False).returncode != 0, (
            "a router's address stays a router's while the routers cannot be seen")
    finally:
        node.frr_start()
    poll(lambda: known_to(lab.router("r3"), WEB), 30, "announced when FRR is back")


@pytest.mark.loses_adjacency
def test_a_hanging_ospfd_keeps_no_guest_from_starting(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    pid = node.read("/var/run/frr/ospfd.pid").strip()
    node.run(["kill", "-STOP", pid])
    try:
        done = node.pct("start", 101)
        assert done.elapsed < 30
        assert node.running(101)
    finally:
        node.run(["kill", "-CONT", pid])
    poll(lambda: node.full(1), 30, "adjacent again")


def test_a_broken_configuration_keeps_no_guest_from_starting(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    node.write("/etc/pve/pve-ospf.yaml", "alow: []\n")
    node.pct("start", 101)
    assert node.running(101)
    assert "unknown key" in node.read("/var/log/syslog")


def test_wrong_use_of_the_hook_is_said(lab: Lab) -> None:
    done = lab.node("pve1").run([HOOK], check=False)
    assert done.returncode == 2
    assert "VMID PHASE" in done.stderr
