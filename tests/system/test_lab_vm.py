"""The lab's virtual machines, and its qm: what the product's tests take for granted.

No package is needed. The order of things is qemu-server's own (QemuServer.pm, QemuMigrate.pm).
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.lab import topology
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.system.standing import VirtualMachines

pytestmark = pytest.mark.xdist_group("lab-vm")

ADDRESS, OTHER = "198.51.100.20", "198.51.100.21"
RECORDER = """#!/bin/sh
conf=$(echo /etc/pve/nodes/*/qemu-server/$1.conf)
owner=${conf%/qemu-server/*}
lock=$(sed -n 's/^lock: //p' $conf)
echo "$(hostname) $1 $2 from=$PVE_MIGRATED_FROM owner=${owner##*/} lock=$lock" >>/etc/pve/phases
[ ! -e /run/refuse ] || [ "$2" != pre-start ]
"""
RECORD = "local:snippets/record"


@pytest.fixture(scope="module")
def bare() -> Iterator[Lab]:
    """The demo topology; what the guests' addresses need on the nodes is put in by hand."""
    with topology.demo(hurry=True, vms=True) as lab:
        for node in lab.nodes:
            node.snippet("record", RECORDER)
            node.sh("sysctl -qw net.ipv4.ip_forward=1; ip addr add 169.254.1.1/32 dev vmbr1")
            node.ip(f"route add {ADDRESS} dev vmbr1")
        lab.router("r1").ip(f"route add {ADDRESS} via 10.0.1.11")
        lab.router("r2").ip(f"route add {ADDRESS} via 10.0.2.12")
        lead(lab, "pve1")
        yield lab


@pytest.fixture(scope="module")
def standing_vms(bare: Lab) -> Iterator[VirtualMachines]:
    guests = VirtualMachines(nodes=bare.nodes)
    guests.stopped(bare.node("pve1"), 201, f"{ADDRESS}/32", hookscript=RECORD)
    yield guests
    guests.destroy()


@pytest.fixture
def node(bare: Lab, standing_vms: VirtualMachines) -> Node:
    """pve1, on which VM 201 runs and answers; booted only when a test has left it otherwise."""
    one, two = bare.nodes
    if two.exists("/etc/pve/local/qemu-server/201.conf"):
        two.migrate_vm(201, one)
    if not one.vm_runs(201):
        one.qm("start", 201)
    lead(bare, "pve1")
    poll(lambda: boot_id(bare), 30, "the guest answers the client")
    phases(one)
    return one


@pytest.fixture
def spare(bare: Lab) -> Iterator[Node]:
    """pve1 with VM 202, stopped; nobody waits for it to boot."""
    node, guests = bare.node("pve1"), VirtualMachines(nodes=bare.nodes)
    phases(node)
    guests.stopped(node, 202, f"{OTHER}/32", hookscript=RECORD)
    yield node
    guests.destroy()


def lead(lab: Lab, name: str) -> None:
    """Have the client's way to the guest lead to a node."""
    via = {"pve1": "10.0.13.1", "pve2": "10.0.23.2"}[name]
    lab.router("r3").ip(f"route replace {ADDRESS} via {via}")


def boot_id(lab: Lab) -> str:
    return lab.client.sh(f"curl -s --max-time 3 http://{ADDRESS}/boot-id")


def phases(node: Node) -> list[str]:
    """What the recorders wrote since the last look."""
    return node.sh("cat /etc/pve/phases 2>/dev/null || :; rm -f /etc/pve/phases").splitlines()


def wait_for_phases(node: Node, count: int) -> list[str]:
    """As phases(), once there are `count`: some are run by nobody's command."""
    lines = "/etc/pve/phases"
    poll(lambda: int(node.sh(f"wc -l <{lines} || echo 0")) >= count, 20, f"{count} phases")
    return phases(node)


def config(node: Node, vmid: int = 201) -> str:
    return node.read(f"/etc/pve/local/qemu-server/{vmid}.conf")


def ended(process: subprocess.Popen[str]) -> str:
    """What `qm migrate` said, once it has ended."""
    said, _ = process.communicate(timeout=30)
    return said


@dataclass
class Connection:
    """A TCP connection from the client to the guest's echo service."""

    process: subprocess.Popen[str]

    def echoes(self, text: str) -> bool:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == f"{text}\n"


@contextmanager
def connected(lab: Lab) -> Iterator[Connection]:
    process = lab.client.popen(["busybox", "nc", ADDRESS, 7])
    try:
        yield Connection(process)
    finally:
        kill_group(process)


@dataclass
class Watch:
    """The states of a guest that were seen, in order: whose config, its lock, its QEMUs."""

    lab: Lab
    vmid: int
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[list[tuple[str, str, str]]]:
        over = threading.Event()
        thread = threading.Thread(target=self._look, args=(over,))
        thread.start()
        try:
            yield self.seen
        finally:
            over.set()
            thread.join()

    def _look(self, over: threading.Event) -> None:
        while not over.is_set():
            state = self._state()
            if state and state not in self.seen[-1:]:
                self.seen.append(state)
            time.sleep(0.001)

    def _state(self) -> tuple[str, str, str] | None:
        found = list(self.lab.cluster.path.glob(f"nodes/*/qemu-server/{self.vmid}.conf"))
        try:
            text = found[0].read_text() if found else ""
        except FileNotFoundError:  # it is on its way
            return None
        locks = [line[6:] for line in text.splitlines() if line.startswith("lock: ")]
        pid = f"run/qemu-server/{self.vmid}.pid"
        running = [n.name for n in self.lab.nodes if Path(f"/proc/{n.pid}/root", pid).exists()]
        owner = found[0].parts[-3] if found else ""
        return owner, "".join(locks), "+".join(running)


# -- starting and stopping -----------------------------------------------------------------


def test_a_vm_boots_and_serves(bare: Lab, node: Node) -> None:
    got = bare.client.get(ADDRESS)
    assert (got.ok, got.bytes) == (True, 256 * 2**20)
    with connected(bare) as connection:
        assert connection.echoes("hello")
    assert "tap201i0" in node.sh("ls /sys/class/net/vmbr1/brif")
    leader = node.sh("ps -o ppid=,tty= -p $(cat /run/qemu-server/201.pid)")
    assert leader.split() == ["1", "?"], "it outlives whoever started it"
    assert node.sh("ip -j route get 10.9.0.2 from 198.51.100.20 iif vmbr1")


def test_stop_and_a_crash(spare: Node) -> None:
    spare.qm("set", 202, "--net0", "virtio,bridge=vmbr1,firewall=1")
    spare.qm("start", 202)
    assert spare.exists("/sys/class/net/fwbr202i0")
    spare.qm("reset", 202)
    spare.qm("stop", 202)
    states = ("pre-start", "post-start", "pre-stop", "post-stop")
    assert phases(spare) == [f"pve1 202 {state} from= owner=pve1 lock=" for state in states]
    spare.qm("start", 202)
    phases(spare)
    spare.kill_vm(202)
    assert wait_for_phases(spare, 1) == ["pve1 202 post-stop from= owner=pve1 lock="]
    assert not spare.exists("/sys/class/net/fwbr202i0")
    assert "stopped" in spare.qm("status", 202).stdout


def test_pre_start_refuses(spare: Node) -> None:
    spare.sh("touch /run/refuse")
    refused = spare.qm("start", 202, check=False)
    spare.sh("rm /run/refuse")
    assert "hookscript error for 202 on pre-start" in refused.stderr
    assert "stopped" in spare.qm("status", 202).stdout


def test_a_new_address_stands_in_the_config_before_the_guest_has_it(spare: Node) -> None:
    """Cloud-init's options are taken at once, and reach the guest at its next start."""
    spare.qm("start", 202)
    spare.qm("set", 202, "--ipconfig0", "ip=198.51.100.22/32,gw=169.254.1.1")
    assert "ipconfig0: ip=198.51.100.22/32" in config(spare, 202)
    assert "[PENDING]" not in config(spare, 202)
    spare.qm("set", 202, "--memory", 96)
    assert "\n[PENDING]\nmemory: 96\n" in config(spare, 202)
    mac = config(spare, 202).partition("virtio=")[2][:17]
    spare.qm("set", 202, "--net0", f"virtio={mac},bridge=vmbr0")
    assert "tap202i0" in spare.sh("ls /sys/class/net/vmbr0/brif")


def test_a_reboot_is_a_stop_and_a_start(bare: Lab, node: Node) -> None:
    first = boot_id(bare)
    node.qm("reboot", 201)
    states = ("pre-stop", "post-stop", "pre-start", "post-start")
    assert wait_for_phases(node, 4) == [f"pve1 201 {state} from= owner=pve1 lock="
                                        for state in states]
    poll(lambda: boot_id(bare) not in ("", first), 30, "the guest has started anew")


def test_a_backup_of_a_stopped_vm_runs_hooks_while_it_is_paused(spare: Node) -> None:
    backup = spare.popen(["vzdump", 202, "--lab-seconds", 1])
    wait_for_state = partial(spare.qm, "lab-qmp", 202, "query-status", check=False)
    poll(lambda: "prelaunch" in wait_for_state().stdout, 20, "QEMU is there, the guest is not")
    assert "running" in spare.qm("status", 202).stdout, "so PVE calls it"
    ended(backup)
    assert phases(spare) == [
        f"pve1 202 {state} from= owner=pve1 lock=backup"
        for state in ("pre-start", "post-start", "pre-stop", "post-stop")
    ]
    assert "lock" not in config(spare, 202)


# -- migration -----------------------------------------------------------------------------

ARRIVES = [f"pve2 201 {state} from=pve1 owner=pve1 lock=migrate"
           for state in ("pre-start", "post-start")]
GOES_DOWN = ["pve2 201 post-stop from= owner=pve1 lock="]


def test_live_migration_and_straight_back(bare: Lab, node: Node) -> None:
    two, first = bare.node("pve2"), boot_id(bare)
    heard = two.popen(["tcpdump", "-n", "-l", "-c", "1", "-i", "vmbr1", "rarp"])
    assert heard.stdout
    poll(lambda: "tcpdump" in two.sh("ps ax"), 5, "tcpdump runs")
    with connected(bare) as connection:
        assert connection.echoes("before")
        with Watch(bare, 201).watching() as seen:
            node.migrate_vm(201, two)
        assert phases(node) == ARRIVES
        assert seen == [
            ("pve1", "", "pve1"),
            ("pve1", "migrate", "pve1"),
            ("pve1", "migrate", "pve1+pve2"),
            ("pve2", "migrate", "pve1+pve2"),
            ("pve2", "migrate", "pve2"),
            ("pve2", "", "pve2"),
        ]
        lead(bare, "pve2")
        assert connection.echoes("there")
        assert boot_id(bare) == first
        two.migrate_vm(201, node)
        lead(bare, "pve1")
        assert connection.echoes("and back")
    assert boot_id(bare) == first
    mac = config(node).partition("virtio=")[2][:17].lower()
    assert f"who-is {mac}" in heard.communicate(timeout=10)[0].lower(), "QEMU announces itself"
    assert not two.exists("/sys/class/net/tap201i0")


def test_the_source_lingers_and_the_lock_with_it(bare: Lab, node: Node) -> None:
    """A slow copy, then a slow end: the guest runs in one place at any time."""
    two = bare.node("pve2")
    moving = node.hold_migration(201, two, linger=1)
    assert phases(node) == ARRIVES, "both hooks, though nothing has arrived"
    assert (node.vm_runs(201), two.vm_runs(201)) == (True, False)
    assert "lock: migrate" in config(node)
    assert two.exists("/sys/class/net/tap201i0")
    node.release_migration(201)
    poll(lambda: two.vm_runs(201), 20, "the guest runs on pve2")
    assert "lock: migrate" in config(two)
    assert node.qmp(201, "query-status")["status"] == "postmigrate"
    assert "migration finished successfully" in ended(moving)
    assert "lock" not in config(two)


@pytest.mark.parametrize("how", ["target dies", "cancelled"])
def test_a_migration_that_fails_leaves_the_guest_where_it_is(
        bare: Lab, node: Node, how: str) -> None:
    two, first = bare.node("pve2"), boot_id(bare)
    with connected(bare) as connection:
        assert connection.echoes("before")
        moving = node.hold_migration(201, two)
        if how == "cancelled":
            node.cancel_migration(201)
        else:
            two.kill_vm(201)
        poll(lambda: "lock" not in config(node), 20, "it is over")
        ended(moving)
        assert wait_for_phases(node, 3) == ARRIVES + GOES_DOWN
        assert connection.echoes("after")
    assert boot_id(bare) == first
    poll(lambda: not two.exists("/sys/class/net/tap201i0"), 10, "pve2's tap is gone")


def test_to_another_cluster(bare: Lab, node: Node, standing_vms: VirtualMachines) -> None:
    """The config is there from the start, nothing says whence, and the old one stays."""
    two, first = bare.node("pve2"), boot_id(bare)
    standing_vms.made.append(301)
    arrives = [f"pve2 301 {state} from= owner=pve2 lock=migrate"
               for state in ("pre-start", "post-start")]
    moving = node.hold_migration(201, two, remote_vmid=301)
    two.kill_vm(301)
    assert "failed to handle" not in ended(moving)
    assert phases(node) == [*arrives, "pve2 301 post-stop from= owner=pve2 lock=migrate"]
    assert not two.exists("/etc/pve/local/qemu-server/301.conf")
    assert boot_id(bare) == first

    with Watch(bare, 301).watching() as seen:
        node.migrate_vm(201, two, remote_vmid=301)
    assert phases(node) == arrives
    assert seen[0] == ("", "", "")
    locks = [lock for owner, lock, _ in seen if owner]
    assert list(dict.fromkeys(locks)) == ["create", "", "migrate"], "a moment without any"
    assert seen[-2:] == [("pve2", "migrate", "pve2"), ("pve2", "", "pve2")]
    lead(bare, "pve2")
    assert boot_id(bare) == first
    assert "lock: migrate" in config(node)
    assert "stopped" in node.qm("status", 201).stdout
    two.qm("stop", 301)
    two.qm("destroy", 301)
    node.qm("unlock", 201)


def test_offline(bare: Lab, spare: Node) -> None:
    spare.qm("start", 202)
    refused = spare.qm("migrate", 202, "pve2", check=False)
    assert "can't migrate running VM without --online" in refused.stderr
    spare.qm("stop", 202)
    phases(spare)
    spare.qm("migrate", 202, "pve2")
    assert "lock" not in config(bare.node("pve2"), 202)
    assert phases(spare) == []


@pytest.mark.quiet
def test_debian_13_runs_vms_too() -> None:
    with topology.one_lan(2, suite="trixie", vms=True) as lab:
        node = lab.node("pve1")
        node.create_vm(201, f"{ADDRESS}/32")
        node.qm("start", 201)
        node.sh(f"ip addr add 169.254.1.1/32 dev vmbr1; ip route add {ADDRESS} dev vmbr1")
        poll(lambda: node.ping(ADDRESS), 30, "the guest answers")
