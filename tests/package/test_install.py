"""`apt-get install ./pve-ospf_*.deb` on a plain Debian 12 and 13."""

from __future__ import annotations

from pathlib import Path

from tests.package.conftest import Installed
from tests.package.system import ProxmoxSystem, System

LINK = "/var/lib/vz/snippets/pve-ospf"


def test_apt_installs_it_with_what_it_needs(installed: Installed, deb: Path) -> None:
    version = deb.name.split("_")[1]
    assert f"Setting up pve-ospf ({version})" in installed.apt.stdout
    assert "Setting up frr " in installed.apt.stdout, "FRR came with it"
    said = [line for line in installed.apt.output.splitlines() if "pve-ospf" in line]
    assert not [line for line in said if "rror" in line or "fail" in line], said


def test_it_is_enabled_and_waits_for_its_configuration(installed: Installed) -> None:
    assert "pve-ospf is-enabled: enabled" in installed.states
    assert "pve-ospf is-active: active" in installed.states
    assert "pve-ospf is-failed: active" in installed.states
    assert "frr is-active: active" in installed.states


def test_the_command_works_after_a_reboot(plain: System, deb: Path) -> None:
    version = deb.name.split("_")[1]
    assert plain.run(["pve-ospf", "--version"]).stdout.split()[-1] == version
    assert plain.sh("systemctl is-active pve-ospf") == "active"
    assert plain.exists("/usr/share/man/man8/pve-ospf.8.gz")


def test_installing_changes_nothing_of_frr(plain: System) -> None:
    assert not plain.run(["dpkg", "--verify", "frr"]).stdout
    assert "ospfd=no" in plain.read("/etc/frr/daemons")


def test_the_hookscript_is_where_proxmox_looks_for_it(plain: System) -> None:
    plain.sh(f"test -f {LINK} && test -x {LINK}")
    assert plain.sh(f"readlink {LINK}") == "/usr/libexec/pve-ospf/hookscript"


def test_ip_shows_our_protocol_by_name(plain: System) -> None:
    plain.ip("link add br9 type bridge", "link set br9 up", "route add 192.0.2.1 dev br9 proto 205")
    assert "proto pve-ospf" in plain.sh("ip route show 192.0.2.1")
    assert "192.0.2.1" in plain.sh("ip route show proto pve-ospf")


def test_no_configuration_is_said_plainly_and_changes_nothing(pve: ProxmoxSystem) -> None:
    done = pve.run(["pve-ospf", "sync"], check=False)
    assert done.returncode == 2
    assert "allow" in done.stderr
    assert "Traceback" not in done.output
    assert not pve.routes("proto", "205")


def test_remove_from_a_machine_without_proxmox_leaves_nothing(plain: System) -> None:
    said = plain.apt("purge", "pve-ospf")
    assert "not ours" not in said.output
    left = "/var/lib/pve-ospf /run/pve-ospf /usr/lib/python3/dist-packages/pve_ospf"
    for path in (LINK, "/etc/iproute2/rt_protos.d/pve-ospf.conf", *left.split()):
        assert not plain.run(["test", "-L", path], check=False).ok
        assert not plain.exists(path), path
    assert not plain.run(["dpkg", "--verify", "frr"]).stdout
