"""The hookscript stays callable whatever happens to the package: a guest needs it to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.process import Result
from tests.package.system import ProxmoxSystem
from tests.package.tree import SUITES

LINK = "/var/lib/vz/snippets/pve-ospf"
VOLUME = "local:snippets/pve-ospf"
STAYS = f"pve-ospf: a script that does nothing stays as {LINK}: "

# What one release has shown of a shell script need not be shown of the other.
ONE = SUITES[-1]
anywhere = pytest.mark.parametrize(
    "installed", [pytest.param(ONE, marks=pytest.mark.xdist_group(ONE))], indirect=True
)


def remove(node: ProxmoxSystem, how: str = "--remove") -> str:
    """What dpkg says; faster than apt, which does no more here."""
    done: Result = node.run(["dpkg", how, "pve-ospf"], timeout=120)
    return done.output


def is_placeholder(node: ProxmoxSystem) -> bool:
    """A plain script that says where it comes from and exits 0, executable, no link."""
    if not node.exists(LINK):
        return False
    node.sh(f"test ! -L {LINK} && test -x {LINK} && {LINK} 101 pre-start")
    first, why, last = node.read(LINK).splitlines()
    return first == "#!/bin/sh" and why.startswith("# Left by the removal of") and last == "exit 0"


def is_link(node: ProxmoxSystem) -> bool:
    return node.sh(f"readlink {LINK}", check=False) == "/usr/libexec/pve-ospf/hookscript"


def gone(node: ProxmoxSystem) -> bool:
    return not node.exists(LINK) and not node.run(["test", "-L", LINK], check=False).ok


def test_removed_while_guests_name_it(pve: ProxmoxSystem) -> None:
    pve.create(101, "198.51.100.7/32", hookscript=VOLUME)
    pve.create(102, "198.51.100.8/32")
    pve.create(104, "198.51.100.9/32", hookscript=VOLUME)
    said = pve.apt("remove", "pve-ospf").output
    assert f"{STAYS}these guests still name it as their hookscript: 101, 104." in said
    assert is_placeholder(pve)
    pve.pct("start", 101)
    assert pve.running(101)

    said = pve.apt("purge", "pve-ospf").output
    assert "101, 104" in said, "a purge changes nothing about it"
    assert is_placeholder(pve)

    pve.pct("set", 101, "--delete", "hookscript")
    pve.pct("set", 104, "--delete", "hookscript")
    pve.run(["dpkg", "--purge", "pve-ospf"], check=False)
    assert is_placeholder(pve), "dpkg knows no such package any more and does nothing"


def test_installed_again_after_that(pve: ProxmoxSystem, deb: Path) -> None:
    pve.create(101, "198.51.100.7/32", hookscript=VOLUME)
    pve.apt("remove", "pve-ospf")
    assert is_placeholder(pve)
    pve.install(deb)
    assert is_link(pve)
    pve.pct("set", 101, "--delete", "hookscript")
    assert STAYS not in pve.apt("purge", "pve-ospf").output
    assert gone(pve)


@anywhere
def test_a_placeholder_goes_with_the_purge_once_no_guest_names_it(pve: ProxmoxSystem) -> None:
    pve.create(101, "198.51.100.7/32", hookscript=VOLUME)
    remove(pve)
    pve.pct("set", 101, "--delete", "hookscript")
    assert STAYS not in remove(pve, "--purge")
    assert gone(pve)


@anywhere
def test_a_guest_of_another_node_counts(pve: ProxmoxSystem) -> None:
    config = f"hostname: far\nhookscript: {VOLUME}\nnet0: virtio=02:00:00:00:00:01,bridge=vmbr1\n"
    pve.write("/etc/pve/nodes/pve2/qemu-server/200.conf", config)
    assert "hookscript: 200." in remove(pve)
    assert is_placeholder(pve)


@anywhere
def test_only_what_a_guest_says_itself_counts(pve: ProxmoxSystem) -> None:
    pve.write("/etc/pve/nodes/pve1/lxc/101.conf", f"#hookscript: {VOLUME}\nhostname: a\n")
    pve.write("/etc/pve/nodes/pve1/lxc/102.conf", "hookscript: local:snippets/pve-ospf-not\n")
    pve.write("/etc/pve/nodes/pve1/lxc/103.conf.tmp", f"hookscript: {VOLUME}\n")
    assert STAYS not in remove(pve)
    assert gone(pve)


@anywhere
def test_a_snapshot_counts_for_a_rollback_needs_it(pve: ProxmoxSystem) -> None:
    pve.write("/etc/pve/nodes/pve1/lxc/101.conf", f"hostname: a\n\n[old]\nhookscript: {VOLUME}\n")
    assert "hookscript: 101 (in a snapshot or pending)." in remove(pve)
    assert is_placeholder(pve)


@anywhere
def test_who_names_it_cannot_be_told(pve: ProxmoxSystem) -> None:
    with pve.pve_gone():
        said = remove(pve)
    assert f"{STAYS}/etc/pve cannot be read" in said
    assert is_placeholder(pve)


@anywhere
@pytest.mark.parametrize("kind", ["file", "link"])
def test_an_administrators_own_is_left_alone(pve: ProxmoxSystem, kind: str) -> None:
    remove(pve)
    assert gone(pve)
    own = "#!/bin/sh\nlogger mine\n"
    if kind == "file":
        pve.write(LINK, own, 0o755)
    else:
        pve.write("/root/mine", own, 0o755)
        pve.sh(f"ln -s /root/mine {LINK}")
    pve.create(101, "198.51.100.7/32", hookscript=VOLUME)
    said = pve.run(["sh", "-c", "dpkg --install /root/pve-ospf_*.deb"]).output
    assert f"{LINK} is not ours and is left as it is" in said
    assert pve.read(LINK) == own
    assert STAYS not in remove(pve, "--purge")
    assert pve.read(LINK) == own


BROKEN = {
    "a module is missing": "rm sync.py",
    "a module is of another version": "echo 'from .model import Nonsense' >>sync.py",
    "a name is not there yet": "echo 'NONSENSE.value' >>sync.py",
    "a file is cut short": "echo 'def (' >>sync.py",
}


@pytest.mark.parametrize("how", BROKEN)
def test_half_unpacked_it_keeps_no_guest_from_starting(pve: ProxmoxSystem, how: str) -> None:
    pve.create(101, "198.51.100.7/32", hookscript=VOLUME)
    pve.sh(f"cd /usr/lib/python3/dist-packages/pve_ospf; {BROKEN[how]}")
    pve.pct("start", 101)
    assert pve.running(101)


@anywhere
def test_an_interrupted_removal_gives_it_back(pve: ProxmoxSystem) -> None:
    """dpkg calls postinst with abort-remove when prerm or a conflict breaks the removal off."""
    pve.create(101, "198.51.100.7/32", hookscript=VOLUME)
    pve.sh("/var/lib/dpkg/info/pve-ospf.prerm remove", check=False)
    assert is_placeholder(pve)
    pve.sh("/var/lib/dpkg/info/pve-ospf.postinst abort-remove")
    assert is_link(pve)
