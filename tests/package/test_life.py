"""From the first `apply` to the purge, under systemd, with a router watching."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.package.conftest import Installed
from tests.package.network import (
    ADDRESS,
    ALLOW,
    announce,
    compose,
    known,
    own_lines,
    own_lsa,
    pids,
    watching,
)
from tests.package.system import ProxmoxSystem, SystemLab


def frr_files(node: ProxmoxSystem) -> str:
    """Names, owners, modes and contents of everything in /etc/frr."""
    files = node.sh("cd /etc/frr; find . | sort | xargs stat -c '%A %U:%G %n'")
    return files + "\n" + node.sh("cd /etc/frr; md5sum $(find . -type f | sort)")


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
    assert order == sorted(order), "the first sync comes after /etc/pve and before the guests"


def when(node: ProxmoxSystem, unit: str) -> int:
    """Microseconds after the boot at which a unit became active."""
    said = node.sh(f"systemctl show --value -p ActiveEnterTimestampMonotonic {unit}")
    return int(said)


def unconfirmed(node: ProxmoxSystem, seconds: int) -> str:
    """A change that waits for its confirmation; FRR's file from before."""
    before = node.read("/etc/frr/frr.conf")
    node.write("/etc/pve/pve-ospf.yaml", ALLOW.replace("]", ", 203.0.113.0/24]"))
    node.sh(f"rm -f /run/said; setsid pve-ospf apply --confirm {seconds} </dev/null >/run/said 2>&1"
            " & echo $! >/run/apply.pid")
    poll(lambda: "pve-ospf confirm" in node.sh("cat /run/said", check=False), 90,
         "apply waits for its confirmation")
    assert node.read("/etc/frr/frr.conf") != before
    node.write("/etc/pve/pve-ospf.yaml", ALLOW)
    return before


def gone_back(node: ProxmoxSystem, before: str) -> None:
    poll(lambda: not node.exists("/var/lib/pve-ospf/apply/record.json"), 120, "it is taken back")
    assert node.read("/etc/frr/frr.conf") == before
    poll(lambda: "203.0.113.0/24" not in node.vtysh("show running-config"), 30, "and so is FRR")


def test_a_change_whose_session_is_cut_is_taken_back(
    announced: ProxmoxSystem, network: SystemLab
) -> None:
    before = unconfirmed(announced, 10)
    units = announced.sh("systemctl list-units --plain --no-legend 'pve-ospf-guard-*'")
    assert "pve-ospf-guard-" in units, "in no cgroup that a session's end takes along"
    announced.sh("kill -KILL $(cat /run/apply.pid)")
    gone_back(announced, before)
    assert own_lsa(announced)


@pytest.mark.loses_adjacency
def test_a_change_nobody_confirmed_before_a_reboot_is_taken_back(
    announced: ProxmoxSystem, network: SystemLab
) -> None:
    announced.sh("cd /etc/pve/lxc; grep -q ^onboot 101.conf || echo 'onboot: 1' >>101.conf")
    before = unconfirmed(announced, 3600)
    announced.poweroff()
    announced.sh("ip link del vmbr1 && ip link add vmbr1 type bridge && ip link set vmbr1 up")
    announced.boot()
    gone_back(announced, before)
    poll(lambda: known(network), 60, "r1 knows the guest again")


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


def test_an_upgrade_from_the_unit_that_had_no_agent(
    announced: ProxmoxSystem, network: SystemLab, older: Path, deb: Path
) -> None:
    announced.install(older)
    assert announced.sh("systemctl show --value -p Type,SubState pve-ospf") == "oneshot\nexited"
    assert codes(announced) == ["agent"], "the control: nothing answers"
    with watching(announced, network.router("r1")) as watched:
        announced.install(deb)
    assert announced.sh("systemctl show --value -p Type,SubState pve-ospf") == "notify\nrunning"
    assert not re.search(f"Deleted.*{ADDRESS}", "".join(watched.lines.values()))
    assert codes(announced) == []


def codes(node: ProxmoxSystem) -> list[str]:
    """What check finds."""
    said = json.loads(node.run(["pve-ospf", "check", "--json"], check=False).stdout)
    return [finding["code"] for finding in said["findings"]]


def test_the_service_stopped_or_restarted_withdraws_nothing(
    announced: ProxmoxSystem, network: SystemLab
) -> None:
    with watching(announced, network.router("r1")) as watched:
        announced.sh("for verb in restart stop start; do systemctl $verb pve-ospf; done")
    assert not re.search(f"Deleted.*{ADDRESS}", "".join(watched.lines.values()))


@pytest.mark.loses_adjacency
def test_removed_and_purged_nothing_of_it_is_left(installed: Installed) -> None:
    lab = compose(installed.suite, installed.layer)
    with lab:
        node = own_lines(lab)
        files, running = frr_files(node), node.vtysh("show running-config")
        announce(lab, node)
        assert frr_files(node) != files, "the control: apply did change them"
        assert node.sh("nft list tables") == "table netdev pve-ospf"
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
    assert not node.sh("nft list tables")
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
