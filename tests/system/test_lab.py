"""The lab itself: what the other system tests take for granted. No package is needed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.lab import openvpn, topology
from tests.lab.frr import Router
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import NotInTime, poll
from tests.lab.process import CommandFailed, run

ROOT = Path(__file__).parents[2]
ADDRESS = "198.51.100.7"
RECORDER = """#!/bin/sh
echo "$(hostname) $*" >>/etc/pve/phases
env >/tmp/environment.$2
readlink /proc/self/fd/0 >/tmp/stdin.$2
"""
OSPF = """interface vmbr0
 ip ospf area 0
 ip ospf hello-interval 1
 ip ospf dead-interval 3
router ospf
 redistribute kernel route-map guests
ip prefix-list guests seq 10 permit 198.51.100.0/24 ge 32
ip prefix-list guests seq 20 permit 203.0.113.0/24 ge 32
route-map guests permit 10
 match ip address prefix-list guests
"""
"""Without the route-map each node would announce its route to the tunnel's far end, and so
draw the other node's own traffic to itself."""


@pytest.fixture(scope="module")
def bare() -> Iterator[Lab]:
    """The demo topology without the package, OSPF on the nodes by hand."""
    with topology.demo(hurry=True) as lab:
        for node in lab.nodes:
            node.write_frr(OSPF)
            node.frr_restart()
            node.sh("sysctl -qw net.ipv4.ip_forward=1; ip addr add 169.254.1.1/32 dev vmbr1")
        lab.node("pve1").ip("route add blackhole 203.0.113.1")
        lab.node("pve2").ip("route add blackhole 203.0.113.2")
        first = {"203.0.113.1", "203.0.113.2"}
        poll(lambda: lab.router("r3").knows(first), 40, "r3 knows what the nodes announce")
        lab.settle()
        yield lab


@pytest.fixture
def node(bare: Lab) -> Iterator[Node]:
    """pve1 with container 101, stopped, whose phases are recorded on both nodes."""
    node = bare.node("pve1")
    for each in bare.nodes:
        each.snippet("record", RECORDER)
    node.create(101, f"{ADDRESS}/32", hookscript="local:snippets/record")
    yield node
    for each in bare.nodes:
        if each.exists("/etc/pve/local/lxc/101.conf"):
            each.pct("stop", 101, check=False)
            each.pct("destroy", 101)
    node.sh("rm -f /etc/pve/phases")


def phases(node: Node) -> list[str]:
    """What the recorder wrote since the last look."""
    return node.sh("cat /etc/pve/phases 2>/dev/null || :; rm -f /etc/pve/phases").splitlines()


def stopped(node: Node) -> bool:
    return not node.running(101)


# -- machines and the network --------------------------------------------------------------


def test_the_client_reaches_both_nodes_by_the_routers(bare: Lab) -> None:
    assert bare.client.path("10.0.1.11") == ["10.9.0.1", "10.0.13.1", "10.0.1.11"]
    assert bare.client.path("10.0.2.12") == ["10.9.0.1", "10.0.23.2", "10.0.2.12"]
    assert bare.node("pve1").ping("10.255.0.2"), "the tunnel"


def test_the_tunnel_is_counted(bare: Lab) -> None:
    node = bare.node("pve1")
    before = node.counters(topology.TUNNEL)
    assert node.ping("10.255.0.2")
    assert (node.counters(topology.TUNNEL) - before).tx_packets >= 1


def test_an_openvpn_tunnel(bare: Lab) -> None:
    one, two = bare.nodes
    inner = ("10.254.0.1", "10.254.0.2")
    openvpn.connect("tun0", one, two, ("10.0.1.11", "10.0.2.12"), inner)
    poll(lambda: one.ping(inner[1]), 30, "the tunnel carries traffic")
    link = two.json("ip", "-j", "-d", "link", "show", "dev", "tun0")[0]
    assert link["linkinfo"]["info_kind"] == "tun"


def test_entering_a_machine_takes_20_ms_at_most(bare: Lab) -> None:
    times = sorted(bare.client.run(["true"]).elapsed for _ in range(9))
    assert times[0] <= 0.02, "on an idle machine it is 4 ms"


def test_a_program_that_does_not_end_is_killed_with_its_children(bare: Lab) -> None:
    with pytest.raises(CommandFailed, match=r"still running after 0\.2 s"):
        bare.client.run(["sh", "-c", "sleep 5678 & sleep 5679"], timeout=0.2)
    poll(lambda: "567" not in bare.client.sh("ps ax"), 2, "both are gone")


def test_a_pulled_cable_and_a_lossy_one(bare: Lab) -> None:
    leg = bare.client.legs["eth0"]
    leg.down()
    assert not bare.client.ping("10.9.0.1", timeout=0.3)
    leg.up()
    poll(lambda: bare.client.ping("10.9.0.1"), 20, "the cable is back")


def test_a_capture_shows_ospf_hellos(bare: Lab) -> None:
    assert "OSPFv2, Hello" in bare.lans["net1"].capture(1, "proto 89", timeout=20)


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "sid"])
def test_every_suite_runs_frr_and_containers(suite: str) -> None:
    with topology.one_lan(2, suite=suite) as lab:
        node = lab.node("pve1")
        node.create(101, f"{ADDRESS}/32")
        node.pct("start", 101)
        node.sh(f"ip addr add 169.254.1.1/32 dev vmbr1; ip route add {ADDRESS} dev vmbr1")
        poll(lambda: node.ping(ADDRESS), 20, "the container answers")
        assert lab.router("r1").neighbours() == {"10.0.1.2": ["Full/DR"]} or lab.router(
            "r1"
        ).neighbours() == {"10.0.1.2": ["Full/Backup"]}


def test_four_routers_on_one_lan_are_two_way_where_both_are_drother() -> None:
    with topology.one_lan(4) as lab:
        states = [state for router in lab.routers for state in _states(router)]
    assert states.count("2-Way/DROther") == 2
    assert sum(state.startswith("Full") for state in states) == 10


def _states(router: Router) -> list[str]:
    return [state for states in router.neighbours().values() for state in states]


# -- containers, as Proxmox runs them ------------------------------------------------------


def test_a_container_is_reached_on_its_bridge_and_from_the_client(bare: Lab, node: Node) -> None:
    node.pct("start", 101)
    node.sh(f"ip route replace {ADDRESS} dev vmbr1")
    poll(lambda: node.ping(ADDRESS), 20, "reached from its node")
    poll(lambda: bare.client.ping(ADDRESS), 30, "reached from the client")
    got = bare.client.get(ADDRESS)
    assert got.ok
    assert got.bytes > 10**7


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stop"], ["pre-stop", "post-stop"]),
        (["shutdown", "--timeout", "20"], ["pre-stop", "post-stop"]),
        (["exec", "101", "--", "poweroff"], ["post-stop"]),
        (["reboot", "--timeout", "20"], ["pre-stop", "post-stop", "pre-start", "post-start"]),
    ],
    ids=["stop", "shutdown", "poweroff-inside", "pct-reboot"],
)
def test_phases(node: Node, words: list[str], expected: list[str]) -> None:
    node.pct("start", 101)
    assert phases(node) == ["pve1 101 pre-start", "pve1 101 post-start"]
    command, *rest = words
    node.pct(*(words if command == "exec" else [command, "101", *rest]))
    seen: list[str] = []

    def complete() -> bool:
        seen.extend(phases(node))
        return len(seen) >= len(expected)

    poll(complete, 30, f"{words} ends")
    assert seen == [f"pve1 101 {phase}" for phase in expected]
    poll(lambda: stopped(node) == (command != "reboot"), 20, "as it is to be")


def test_reboot_from_inside_fires_nothing_and_makes_the_veth_anew(node: Node) -> None:
    node.pct("start", 101)
    phases(node)
    before = node.sh("cat /sys/class/net/veth101i0/ifindex")
    node.pct("exec", 101, "--", "reboot")
    poll(
        lambda: node.sh("cat /sys/class/net/veth101i0/ifindex || :") not in ("", before),
        30,
        "a new veth",
    )
    poll(lambda: node.ping(ADDRESS) or node.running(101), 20, "it runs again")
    assert phases(node) == []


def test_migration_in_restart_mode(bare: Lab, node: Node) -> None:
    node.pct("start", 101)
    phases(node)
    bare.migrate(101, "pve1", "pve2", timeout=20)
    assert phases(node) == [
        "pve1 101 pre-stop",
        "pve1 101 post-stop",
        "pve2 101 pre-start",
        "pve2 101 post-start",
    ]
    assert bare.cluster.placement()["101"] == "pve2"
    assert not node.exists("/etc/pve/local/lxc/101.conf")
    assert "lock" not in bare.node("pve2").pct("config", 101).stdout


def test_the_hookscript_gets_what_proxmox_gives_it(node: Node) -> None:
    node.pct("start", 101)
    node.pct("stop", 101)
    for phase in ("pre-start", "post-start", "pre-stop", "post-stop"):
        environment = node.read(f"/tmp/environment.{phase}").splitlines()  # noqa: S108
        assert "LC_ALL=C" in environment
        assert "PATH=/sbin:/bin:/usr/sbin:/usr/bin" in environment
        assert node.read(f"/tmp/stdin.{phase}") == "/dev/null\n"  # noqa: S108


@pytest.mark.parametrize("phase", ["pre-start", "post-start", "pre-stop"])
def test_the_guests_lock_is_held_in_a_phase(node: Node, phase: str) -> None:
    node.snippet(
        "record",
        f"#!/bin/sh\n[ $2 = {phase} ] || exit 0\n"
        "flock -n /run/lock/lxc/pve-config-$1.lock true && echo free >/run/lock.seen || "
        "echo held >/run/lock.seen\n",
    )
    node.pct("start", 101)
    node.pct("stop", 101)
    assert node.read("/run/lock.seen") == "held\n"


def test_only_pre_start_can_refuse(node: Node) -> None:
    node.snippet("record", "#!/bin/sh\n[ $2 = pre-start ] || { echo broken; exit 7; }\n")
    done = node.pct("start", 101)
    assert "hookscript error for 101 on post-start" in done.stderr
    assert node.running(101)
    node.pct("stop", 101)
    node.snippet("record", "#!/bin/sh\necho no such luck; exit 1\n")
    refused = node.pct("start", 101, check=False)
    assert not refused.ok
    assert "no such luck" in refused.stdout
    assert not node.running(101)


@pytest.mark.parametrize("breakage", ["rm", "chmod 644"])
def test_a_missing_hookscript_keeps_the_container_down(node: Node, breakage: str) -> None:
    node.sh(f"{breakage} /var/lib/vz/snippets/record")
    done = node.pct("start", 101, check=False)
    assert not done.ok
    assert "hookscript error for 101 on pre-start: script 'local:snippets/record'" in done.stderr
    assert not node.running(101)


def test_a_hook_that_keeps_its_output_open_hangs_the_task(node: Node) -> None:
    node.snippet("record", "#!/bin/sh\n[ $2 = post-start ] && sleep 1.5 &\n")
    assert node.pct("start", 101).elapsed > 1.4


def test_a_shutdown_that_is_ignored_times_out_and_the_guest_runs_on(node: Node) -> None:
    node.sh("echo 'lxc.signal.halt: SIGCONT' >>/etc/pve/local/lxc/101.conf")
    node.pct("start", 101)
    phases(node)
    done = node.pct("shutdown", 101, "--timeout", 1, check=False)
    assert not done.ok
    assert "container did not stop" in done.stderr
    assert node.running(101)
    assert phases(node) == ["pve1 101 pre-stop"]


def test_a_config_that_has_left_the_node_fires_no_post_stop(node: Node) -> None:
    node.pct("start", 101)
    phases(node)
    node.sh("mv /etc/pve/local/lxc/101.conf /etc/pve/nodes/pve2/lxc/")
    node.run(["lxc-stop", "-n", 101, "--kill"])
    poll(lambda: "veth101i0" not in node.sh("ip -br link"), 20, "stopped")
    assert phases(node) == []
    node.sh("mv /etc/pve/nodes/pve2/lxc/101.conf /etc/pve/local/lxc/")


# -- configuration and interfaces ----------------------------------------------------------


def vmlist(node: Node) -> tuple[int, dict[str, object]]:
    text = json.loads(node.read("/etc/pve/.vmlist"))
    return text["version"], text["ids"]


def test_vmlist_follows_every_write(node: Node) -> None:
    before, ids = vmlist(node)
    assert ids["101"] == {"node": "pve1", "type": "lxc", "version": before}
    node.pct("set", 101, "--tags", "one two")
    after, _ = vmlist(node)
    assert after > before
    assert "tags: one;two\n" in node.read("/etc/pve/lxc/101.conf")
    node.write("/etc/pve/lxc/101.conf", node.read("/etc/pve/lxc/101.conf"))
    assert vmlist(node)[0] > after


def test_a_clone_keeps_the_address_and_the_hookscript(node: Node) -> None:
    node.pct("clone", 101, 102)
    text = node.read("/etc/pve/lxc/102.conf")
    node.pct("destroy", 102)
    assert "hookscript: local:snippets/record\n" in text
    assert f"ip={ADDRESS}/32" in text


def test_hotplug_writes_the_config_in_steps_and_fires_nothing(node: Node) -> None:
    """A new address is seen only after a moment without any."""
    node.pct("start", 101)
    phases(node)
    before = node.sh("cat /sys/class/net/veth101i0/ifindex")
    version = vmlist(node)[0]
    node.pct("set", 101, "--net0", "name=eth1,bridge=vmbr1,ip=198.51.100.9/32,gw=169.254.1.1")
    assert vmlist(node)[0] - version >= 4
    assert node.sh("cat /sys/class/net/veth101i0/ifindex") != before
    ask = ["arping", "-c1", "-I", "vmbr1", "198.51.100.9"]
    poll(lambda: node.run(ask, check=False).ok, 20, "the new address answers")
    node.pct("set", 101, "--delete", "net0")
    assert "veth101i0" not in node.sh("ip -br link")
    assert phases(node) == []


def test_the_firewalls_own_bridge_a_vlan_and_a_link_that_is_down(node: Node) -> None:
    net = "name=eth%d,bridge=vmbr1"
    node.pct("set", 101, "--net0", f"{net % 0},ip={ADDRESS}/32,gw=169.254.1.1,firewall=1")
    node.pct("set", 101, "--net1", f"{net % 1},tag=7", "--net2", f"{net % 2},link_down=1")
    node.pct("start", 101)
    masters = {link["ifname"]: link.get("master") for link in node.json("ip", "-j", "link", "show")}
    assert masters["veth101i0"] == "fwbr101i0"
    assert masters["fwln101i0"] == "fwbr101i0"
    assert masters["fwpr101p0"] == "vmbr1"
    assert masters["veth101i1"] == "vmbr1v7"
    assert masters["veth101i2"] is None
    node.sh(f"ip route replace {ADDRESS} dev vmbr1")
    poll(lambda: node.ping(ADDRESS), 20, "reached through the firewall's bridge")
    node.pct("stop", 101)
    assert "101" not in node.sh("ip -br link")


def test_pct_refuses_a_hookscript_that_is_not_there(node: Node) -> None:
    done = node.pct("set", 101, "--hookscript", "local:snippets/nothing", check=False)
    assert not done.ok
    assert "script 'local:snippets/nothing' does not exist" in done.stderr


def test_the_api(bare: Lab, node: Node) -> None:
    path = "/nodes/pve1/lxc/101/config"
    config = node.json("pvesh", "get", path, "--output-format", "json")
    assert config["hookscript"] == "local:snippets/record"
    assert config["cores"] == 1
    node.run(["pvesh", "set", path, "--delete", "hookscript"])
    assert "hookscript" not in node.read("/etc/pve/lxc/101.conf")
    other = bare.node("pve2")
    other.sh("rm /var/lib/vz/snippets/record")
    other.run(["pvesh", "set", path, "--hookscript", "local:snippets/record"])
    assert "hookscript" in node.read("/etc/pve/lxc/101.conf"), "checked on the guest's own node"
    resources = other.json("pvesh", "get", "/cluster/resources", "--output-format", "json")
    assert {"lxc/101", "node/pve1", "node/pve2"} <= {entry["id"] for entry in resources}
    wrong = node.run(["pvesh", "get", "/no/such"], check=False)
    assert wrong.returncode == 1
    assert "No 'get' handler defined for '/no/such'" in wrong.stderr


def test_etc_pve_gone_and_read_only(node: Node) -> None:
    with node.pve_gone():
        assert node.sh("ls -A /etc/pve") == ""
        assert not node.pct("start", 101, check=False).ok
    with node.pve_read_only():
        assert node.read("/etc/pve/lxc/101.conf")
        assert not node.run(["touch", "/etc/pve/x"], check=False).ok
        assert not node.pct("set", 101, "--tags", "x", check=False).ok
    node.run(["touch", "/etc/pve/x"])


# -- nothing is left -----------------------------------------------------------------------

RAISE = """
import os
from tests.lab import openvpn, topology
with topology.one_lan(1) as lab:
    node = lab.node("pve1")
    node.create(101, "198.51.100.7/32")
    node.pct("start", 101)
    print(os.environ["PVE_OSPF_LAB_CGROUP"], flush=True)
    input()
"""


def _spaces(processes: Iterable[str]) -> set[str]:
    """Every network namespace that one of these processes (by pid) is in."""
    found = set()
    for pid in processes:
        try:
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
        except OSError:
            continue
    return found


def _within(cgroup: Path) -> list[str]:
    return [pid for procs in cgroup.rglob("cgroup.procs") for pid in procs.read_text().split()]


def _in_sight() -> list[str]:
    return [entry.name for entry in Path("/proc").glob("[0-9]*")]


def test_a_killed_runner_leaves_nothing() -> None:
    """kill -9 of whoever runs the lab: no process, no namespace, no mount, no cgroup."""
    enter = ROOT / "tests/lab/enter"
    mounts = Path("/proc/self/mounts").read_text()
    with subprocess.Popen(
        [enter, sys.executable, "-c", RAISE],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as runner:
        assert runner.stdout
        cgroup = Path(runner.stdout.readline().strip())
        assert "populated 1" in (cgroup / "cgroup.events").read_text()
        spaces = _spaces(_within(cgroup)) - _spaces(["self"])
        assert len(spaces) >= 4, "the control: there is something to leave behind"
        runner.send_signal(signal.SIGKILL)
    poll(lambda: spaces.isdisjoint(_spaces(_in_sight())), 20, "the namespaces are gone")
    poll(lambda: _empty(cgroup), 20, "the processes are gone")
    assert Path("/proc/self/mounts").read_text() == mounts
    run([enter, "true"])
    assert not cgroup.exists(), "the next start removes the cgroup of a killed one"


def _empty(cgroup: Path) -> bool:
    """Whether no process is in it or below; another start may have removed it already."""
    events = cgroup / "cgroup.events"
    return not events.exists() or "populated 0" in events.read_text()


def test_two_labs_at_once() -> None:
    """The same names and addresses twice, and neither notices the other."""
    with topology.one_lan(1) as one, topology.one_lan(1) as two:
        for lab in (one, two):
            lab.node("pve1").create(101, f"{ADDRESS}/32")
            lab.node("pve1").pct("start", 101)
        one.node("pve1").pct("stop", 101)
        assert two.node("pve1").running(101)
        assert not one.node("pve1").running(101)
        directory, cgroup = one.directory, one.cgroup
        one.close()
        assert not directory.exists()
        assert not cgroup.exists()
        assert two.client.ping("10.0.1.11")


def test_polling_fails_with_its_message() -> None:
    started = time.monotonic()
    with pytest.raises(NotInTime, match=r"pigs fly: not after 0\.2 s; last seen: 0"):
        poll(lambda: 0, 0.2, "pigs fly")
    assert time.monotonic() - started < 1
