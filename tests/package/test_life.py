"""From the first `apply` to the purge, under systemd, with a router watching."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.lab.machine import Machine
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.package.conftest import ALLOW, Installed, compose
from tests.package.system import ProxmoxSystem, SystemLab

ADDRESS = "198.51.100.7"
PREFIX = f"{ADDRESS}/32"
SELF = "show ip ospf database external self-originate json"

# What an administrator has written before the package came; nothing of it may change.
OWN_LINES = """\
ip prefix-list MINE seq 5 permit 192.0.2.0/24
!
interface vmbr0
 description an administrator's uplink
!
"""


def own_lines(network: SystemLab) -> ProxmoxSystem:
    """pve1, with an administrator's own lines put into FRR's files."""
    node = network.machines["pve1"]
    assert isinstance(node, ProxmoxSystem)
    node.sh(
        f"cat >>/etc/frr/frr.conf <<'EOT'\n{OWN_LINES}EOT\n"
        "echo '# an administrator was here' >>/etc/frr/daemons; systemctl restart frr"
    )
    return node


def announce(network: SystemLab, node: ProxmoxSystem) -> None:
    """Configure the package, as README says, and have guest 101 announced."""
    node.write("/etc/pve/pve-ospf.yaml", ALLOW)
    node.run(["pve-ospf", "apply"], timeout=120)
    node.create(101, PREFIX)
    node.run(["pve-ospf", "attach", 101])
    node.pct("start", 101)
    poll(lambda: known(network), 30, "r1 knows the guest's address")


@pytest.fixture(scope="session")
def standing() -> Iterator[dict[str, SystemLab]]:
    """Suite → a network with guest 101 announced; every test leaves it so."""
    labs: dict[str, SystemLab] = {}
    yield labs
    for lab in labs.values():
        lab.close()


@pytest.fixture
def network(installed: Installed, standing: dict[str, SystemLab]) -> SystemLab:
    """The standing one; a new one after a test that has not left it as it was."""
    old = standing.pop(installed.suite, None)
    if old is not None and not known(old):
        old.close()
        old = None
    if old is None:
        old = compose(installed)
        old.start()
        standing[installed.suite] = old
        announce(old, own_lines(old))
    standing[installed.suite] = old
    return old


@pytest.fixture
def announced(network: SystemLab) -> ProxmoxSystem:
    """pve1, where guest 101 runs and is announced."""
    node = network.machines["pve1"]
    assert isinstance(node, ProxmoxSystem)
    return node


def known(network: SystemLab) -> bool:
    return bool(network.router("r1").routes("exact", PREFIX))


def own_lsa(node: ProxmoxSystem) -> bool:
    """Whether an external LSA of the node's own for the guest lives."""
    said = node.vtysh(SELF)
    return ADDRESS in said and '"lsaAge":3600' not in said.replace(" ", "")


def frr_files(node: ProxmoxSystem) -> str:
    """Names, owners, modes and contents of everything in /etc/frr."""
    files = node.sh("cd /etc/frr; find . | sort | xargs stat -c '%A %U:%G %n'")
    return files + "\n" + node.sh("cd /etc/frr; md5sum $(find . -type f | sort)")


def pids(node: ProxmoxSystem) -> str:
    return node.sh("pidof watchfrr zebra ospfd | tr ' ' '\\n' | sort -n")


@dataclass
class Watched:
    """What was seen during a while; complete when the while is over."""

    lines: dict[str, str] = field(default_factory=dict)


def sees(machine: Machine) -> bool:
    """Whether the monitor tells of a route that comes and goes: it is there, and would tell."""
    machine.ip("route replace 192.0.2.99 dev lo", "route del 192.0.2.99 dev lo")
    return "Deleted 192.0.2.99" in machine.read("/tmp/monitor")


@contextmanager
def watching(*machines: Machine) -> Iterator[Watched]:
    """`ip monitor route` on each machine: every change, not only what a poll would see."""
    watched = Watched()
    monitors: list[tuple[Machine, subprocess.Popen[str]]] = []
    for machine in machines:
        monitor = machine.popen(["sh", "-c", "exec ip -o monitor route >/tmp/monitor"])
        monitors.append((machine, monitor))
        poll(partial(sees, machine), 5, f"the monitor on {machine.name} sees what happens")
    try:
        yield watched
    finally:
        for machine, monitor in monitors:
            watched.lines[machine.name] = machine.read("/tmp/monitor")
            kill_group(monitor)


def test_configured_and_announced(announced: ProxmoxSystem, network: SystemLab) -> None:
    assert own_lsa(announced)
    assert network.router("r1").ping(ADDRESS)
    assert announced.run(["pve-ospf", "check"], check=False).returncode == 0
    assert announced.run(["systemctl", "is-active", "frr"]).ok
    assert "description an administrator's uplink" in announced.vtysh("show running-config")


@pytest.mark.loses_adjacency
def test_after_a_reboot_the_guest_is_announced(
    announced: ProxmoxSystem, network: SystemLab
) -> None:
    announced.sh("echo 'onboot: 1' >>/etc/pve/lxc/101.conf")
    announced.poweroff()
    announced.sh("ip link del vmbr1 && ip link add vmbr1 type bridge && ip link set vmbr1 up")
    poll(lambda: not known(network), 30, "r1 has lost it")
    announced.boot()
    assert announced.run(["systemctl", "is-active", "pve-ospf"]).ok
    assert announced.running(101)
    poll(lambda: known(network), 30, "r1 knows it again")
    order = [when(announced, unit) for unit in ("pve-cluster", "pve-ospf", "pve-guests")]
    assert order == sorted(order), "sync comes after /etc/pve and before the guests"


def when(node: ProxmoxSystem, unit: str) -> int:
    """Microseconds after the boot at which a unit became active."""
    said = node.sh(f"systemctl show --value -p ActiveEnterTimestampMonotonic {unit}")
    return int(said)


def test_an_upgrade_withdraws_nothing(
    announced: ProxmoxSystem, network: SystemLab, newer: Path
) -> None:
    router = network.router("r1")
    package = announced.copy_in(newer)
    # Guests that start meanwhile: a hook at every moment of the upgrade, none of which may fail.
    hooks = announced.popen(
        ["sh", "-c", "while :; do /var/lib/vz/snippets/pve-ospf 102 pre-start || echo FAILED; done"]
    )
    before = pids(announced)
    with watching(announced, router) as watched:
        upgrade = announced.popen(
            ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", package]
        )
        looks = 0
        while upgrade.poll() is None:
            assert own_lsa(announced), "the node's own LSA"
            looks += 1
        said = upgrade.communicate()[0]
        assert upgrade.returncode == 0, said
    kill_group(hooks)
    assert looks > 3
    assert announced.run(["pve-ospf", "--version"]).stdout.split()[-1] == "999"
    assert "FAILED" not in hooks.communicate()[0]
    for name, seen in watched.lines.items():
        gone = [line for line in seen.splitlines() if "Deleted" in line and ADDRESS in line]
        assert not gone, f"{name}: {gone}"
    assert pids(announced) == before, "FRR was not restarted"
    assert own_lsa(announced)
    assert announced.run(["pve-ospf", "check"], check=False).returncode == 0


def test_the_service_stopped_or_restarted_withdraws_nothing(
    announced: ProxmoxSystem, network: SystemLab
) -> None:
    with watching(announced, network.router("r1")) as watched:
        announced.sh("for verb in restart stop start; do systemctl $verb pve-ospf; done")
    assert not re.search(f"Deleted.*{ADDRESS}", "".join(watched.lines.values()))


@pytest.mark.loses_adjacency
def test_removed_and_purged_nothing_of_it_is_left(installed: Installed) -> None:
    lab = compose(installed)
    with lab:
        node = own_lines(lab)
        files, running = frr_files(node), node.vtysh("show running-config")
        announce(lab, node)
        assert frr_files(node) != files, "the control: apply did change them"
        node.pct("set", 101, "--delete", "hookscript")

        said = node.apt("purge", "pve-ospf").output
        assert "Traceback" not in said and "not everything" not in said, said
        assert "/etc/pve/pve-ospf.yaml stays" in said
        assert node.exists("/etc/pve/pve-ospf.yaml")
        assert frr_files(node) == files, "byte for byte"
        poll(lambda: node.vtysh("show running-config") == running, 15, "FRR runs what it ran")
        assert not node.sh("pidof ospfd", check=False)
        nothing_of_ours(node)
        poll(lambda: not known(lab), 30, "r1 has lost it")
        assert node.running(101), "the guest itself is left alone"


def nothing_of_ours(node: ProxmoxSystem) -> None:
    """In the kernel and among the files, but /etc/pve/pve-ospf.yaml."""
    for what in ("route show proto 205", "route show 169.254.1.1", "addr show to 169.254.1.1"):
        assert not node.sh(f"ip {what}"), what
    for what in ("neigh show", "neigh show nud permanent", "neigh show proxy"):
        assert ADDRESS not in node.sh(f"ip {what}"), what
        assert not re.search(r"proto (205|pve-ospf)", node.sh(f"ip {what}")), what
    assert node.sh("cat /proc/sys/net/ipv4/conf/vmbr1/proxy_arp") == "0"
    left = "/var/lib/pve-ospf /run/pve-ospf /etc/pve-ospf /var/lib/vz/snippets/pve-ospf"
    left += " /usr/lib/python3/dist-packages/pve_ospf /etc/iproute2/rt_protos.d/pve-ospf.conf"
    assert [path for path in left.split() if node.exists(path)] == []


@pytest.mark.loses_adjacency
def test_removed_and_installed_again(
    announced: ProxmoxSystem, network: SystemLab, deb: Path
) -> None:
    announced.apt("remove", "pve-ospf")
    poll(lambda: not known(network), 30, "r1 has lost it")
    announced.install(deb)
    announced.run(["pve-ospf", "apply"], timeout=120)
    poll(lambda: known(network), 30, "r1 knows it again")
    assert announced.run(["pve-ospf", "check"], check=False).returncode == 0


@pytest.mark.loses_adjacency
def test_removed_while_frr_is_down(network: SystemLab, announced: ProxmoxSystem, deb: Path) -> None:
    announced.run(["systemctl", "stop", "frr"])
    said = announced.apt("remove", "pve-ospf").output
    assert "Traceback" not in said
    assert not announced.routes("proto", "205")
    assert "pve-ospf" not in announced.read("/etc/frr/frr.conf")
    assert announced.running(101)
    announced.install(deb)
    announced.run(["pve-ospf", "apply"], timeout=120)
    poll(lambda: known(network), 30, "r1 knows it again")
