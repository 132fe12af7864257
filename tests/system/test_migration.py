"""VMs that live-migrate between two IP networks: announced where they run, at every moment.

Real QEMU, real FRR; the order of things is qemu-server's (tests/lab/standin/qm.py).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import service, topology
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.system.standing import VirtualMachines, known_to, put_to_work

pytestmark = pytest.mark.xdist_group("migration")

ADDRESS, OTHER, ON_LINK = "198.51.100.20", "198.51.100.21", "10.0.1.77"
OURS = "local:snippets/pve-ospf"
AT_ONE, AT_TWO = "10.0.13.1", "10.0.23.2"


@pytest.fixture(scope="module")
def vms(deb: Path) -> Iterator[Lab]:
    """The demo's two networks with the product on both nodes."""
    with topology.demo(deb=deb, hurry=True, vms=True) as lab:
        put_to_work(lab)
        yield lab


@pytest.fixture(scope="module")
def machines(vms: Lab) -> Iterator[VirtualMachines]:
    found = VirtualMachines(nodes=vms.nodes)
    found.stopped(vms.node("pve1"), 201, f"{ADDRESS}/32", hookscript=OURS)
    yield found
    found.destroy()


@pytest.fixture
def node(vms: Lab, machines: VirtualMachines) -> Node:
    """pve1, on which VM 201 runs, announced and reached."""
    one, two = vms.nodes
    if two.exists("/etc/pve/local/qemu-server/201.conf"):
        two.migrate_vm(201, one)
    if not one.vm_runs(201):
        one.qm("start", 201)
    poll(lambda: known_to(vms.router("r3"), ADDRESS) == AT_ONE, 20, "announced by pve1")
    poll(lambda: boot_id(vms), 90, "the guest answers the client")
    return one


def boot_id(lab: Lab) -> str:
    return lab.client.sh(f"curl -s --max-time 3 http://{ADDRESS}/boot-id || :")


def announced(node: Node, address: str = ADDRESS) -> bool:
    """Whether the node's kernel has our route."""
    return bool(node.routes(f"{address}/32", "proto", "205"))


@contextmanager
def watched(machine: Machine, address: str = ADDRESS) -> Iterator[list[str]]:
    """What happens to a host route in a machine's kernel, line by line of `ip monitor`."""
    machine.sh("rm -f /run/monitor")
    process = machine.popen(["sh", "-c", "stdbuf -oL ip monitor route >/run/monitor"])
    poll(lambda: machine.exists("/run/monitor"), 5, "the monitor writes")
    lines: list[str] = []
    try:
        yield lines
    finally:
        lines += [line for line in machine.read("/run/monitor").splitlines()
                  if re.match(rf"(Deleted )?{re.escape(address)} ", line)]
        kill_group(process)


@contextmanager
def connected(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """A TCP connection from the client to the guest's echo service."""
    process = lab.client.popen(["busybox", "nc", ADDRESS, 7])
    try:
        yield process
    finally:
        kill_group(process)


def echoes(connection: subprocess.Popen[str], text: str) -> bool:
    assert connection.stdin
    assert connection.stdout
    connection.stdin.write(f"{text}\n")
    connection.stdin.flush()
    return connection.stdout.readline() == f"{text}\n"


def test_live_migration_keeps_the_connection_there_and_back_twice(vms: Lab, node: Node) -> None:
    two, first = vms.node("pve2"), boot_id(vms)
    with connected(vms) as connection:
        assert echoes(connection, "before")
        for turn in range(2):
            node.migrate_vm(201, two)
            poll(lambda: known_to(vms.router("r3"), ADDRESS) == AT_TWO, 5, "announced by pve2")
            assert echoes(connection, f"there {turn}")
            two.migrate_vm(201, node)
            poll(lambda: known_to(vms.router("r3"), ADDRESS) == AT_ONE, 5, "and by pve1 again")
            assert echoes(connection, f"back {turn}")
    assert boot_id(vms) == first
    poll(lambda: not announced(two), 5, "pve2 announces nothing")


def test_nothing_is_announced_before_the_switchover_however_long_it_takes(
        vms: Lab, node: Node) -> None:
    two = vms.node("pve2")
    with watched(two) as there:
        moving = node.hold_migration(201, two)
        two.run(["pve-ospf", "sync"])
        service.stop(two, "KILL")
        service.start(two)
        assert not announced(two)
        assert announced(node)
        before = known_to(vms.router("r3"), ADDRESS)
    assert before == AT_ONE
    assert not [line for line in there if "pve-ospf" in line]
    node.release_migration(201)
    poll(lambda: known_to(vms.router("r3"), ADDRESS) == AT_TWO, 20, "announced by pve2")
    moving.communicate(timeout=30)
    assert not announced(node)


@pytest.mark.parametrize("how", ["target dies", "cancelled"])
def test_a_migration_that_fails_leaves_the_source_announced_throughout(
        vms: Lab, node: Node, how: str) -> None:
    two = vms.node("pve2")
    with watched(vms.router("r3")) as seen:
        moving = node.hold_migration(201, two)
        if how == "cancelled":
            node.cancel_migration(201)
        else:
            two.kill_vm(201)
        poll(lambda: "lock" not in node.read("/etc/pve/local/qemu-server/201.conf"), 20, "over")
        moving.communicate(timeout=30)
        poll(lambda: not two.exists("/run/pve-ospf/incoming/201"), 10, "no longer expected")
    assert seen == []
    assert announced(node)
    assert not announced(two)


def test_from_another_cluster_it_is_announced_when_it_has_arrived(
        vms: Lab, node: Node, machines: VirtualMachines) -> None:
    """No hook says that it comes, and its configuration is here long before it runs."""
    two, conf = vms.node("pve2"), "/etc/pve/nodes/pve2/qemu-server/301.conf"
    machines.made.append(301)
    node.qm("set", 201, "--delete", "ipconfig0")  # in truth it is not of this cluster
    poll(lambda: not announced(node), 10, "withdrawn, for nobody here claims it")
    with watched(two) as seen:
        moving = node.hold_migration(201, two, remote_vmid=301)
        two.write(conf, f"ipconfig0: ip={ADDRESS}/32,gw=169.254.1.1\n" + two.read(conf))
        two.run(["pve-ospf", "sync"], check=False)
        assert not announced(two)
    assert seen == []
    node.release_migration(201)
    poll(lambda: announced(two), 30, "announced by pve2")
    assert two.vm_runs(301)
    moving.communicate(timeout=30)
    poll(lambda: known_to(vms.router("r3"), ADDRESS) == AT_TWO, 10, "known to the network")
    two.qm("stop", 301)
    two.qm("destroy", 301)
    node.qm("unlock", 201)
    node.qm("set", 201, "--ipconfig0", f"ip={ADDRESS}/32,gw=169.254.1.1")


def test_at_the_switchover_nobody_is_asked_and_a_held_lock_is_only_waited_for(
        vms: Lab, machines: VirtualMachines) -> None:
    """A VM whose address is of pve1's own network comes home. It has held the address all the
    time: to ask the LAN first would keep it out for 0.3 s."""
    one, two = vms.nodes
    machines.attached(two, 204, f"{ON_LINK}/32")
    two.qm("start", 204)
    poll(lambda: announced(two, ON_LINK), 20, "announced by pve2")
    moving = two.hold_migration(204, one)
    poll(lambda: one.exists("/run/pve-ospf/incoming/204"), 10, "expected by pve1")
    one.sh("rm -f /run/pve-ospf/asked")  # by its pre-start
    holder = one.popen(["flock", "/run/pve-ospf/lock", "sleep", "infinity"])
    try:
        two.release_migration(204)
        poll(lambda: one.exists("/etc/pve/local/qemu-server/204.conf"), 30, "it has moved")
        assert not announced(one, ON_LINK)
    finally:
        kill_group(holder)
    poll(lambda: announced(one, ON_LINK), 10, "taken when the lock is free")
    assert ON_LINK in one.sh("ip neigh show proxy")
    assert not one.exists("/run/pve-ospf/asked"), "it was asked for"
    assert service.running(one), "the agent lives"
    moving.communicate(timeout=60)
    poll(lambda: not one.exists("/run/pve-ospf/incoming/204"), 10, "no longer expected")
    poll(lambda: not announced(two, ON_LINK), 10, "withdrawn by pve2")
    one.qm("stop", 204)


def test_a_backup_of_a_stopped_vm_announces_nothing(
        vms: Lab, machines: VirtualMachines) -> None:
    node = vms.node("pve1")
    machines.stopped(node, 202, f"{OTHER}/32", hookscript=OURS)
    with watched(node, OTHER) as seen:
        node.run(["vzdump", "202", "--lab-seconds", "1"], timeout=60)
    assert seen == []


def test_recovered_after_its_node_died_it_is_announced_beside_the_old_lsa(
        vms: Lab, node: Node) -> None:
    two = vms.node("pve2")
    node.legs["eth0"].down()
    try:
        poll(lambda: not known_to(two, ADDRESS), 15, "pve1 is dead to the network")
        assert f"Link State ID: {ADDRESS} " in two.vtysh(
            "show ip ospf database external adv-router 10.0.1.11"), "its LSA lives on"
        service.stop(node)  # fenced: its watchdog has taken it
        node.kill_vm(201)
        node.sh("mv /etc/pve/nodes/pve1/qemu-server/201.conf /etc/pve/nodes/pve2/qemu-server/")
        node.pve_refresh()
        two.qm("start", 201)
        poll(lambda: known_to(vms.router("r3"), ADDRESS) == AT_TWO, 10, "announced by pve2")
    finally:
        node.legs["eth0"].up()
        service.start(node)
    poll(lambda: node.full(1), 30, "pve1 is back")
    poll(lambda: not announced(node), 10, "and announces nothing of it")


def test_without_the_agent_the_source_goes_on_announcing(vms: Lab, node: Node) -> None:
    """The control: Proxmox fires no hook on the source."""
    two = vms.node("pve2")
    with service.stopped(node), service.stopped(two):
        node.migrate_vm(201, two)
        assert announced(node), "a stale address, which draws the traffic"
    poll(lambda: not announced(node), 10, "until the agent is back")
    poll(lambda: announced(two), 10, "on both")
