"""pve-ospf.service as systemd runs it: the agent within its restrictions, and what ends it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.poll import poll
from tests.package.network import ADDRESS, ALLOW, known, own_lsa, watching
from tests.package.system import ProxmoxSystem, System, SystemLab

MENDED = 20
"""Seconds that systemd and the agent are given; each takes one or two."""
ON_LINK, OF_A_VM = "10.0.1.77", "198.51.100.9"
VM = """\
hookscript: local:snippets/pve-ospf
ipconfig0: ip=198.51.100.9/32,gw=169.254.1.1
name: vm
net0: virtio=02:00:00:00:02:00,bridge=vmbr1
"""


def main_pid(node: System) -> int:
    """0 while none runs."""
    return int(node.sh("systemctl show --value -p MainPID pve-ospf"))


def journal(node: System) -> list[str]:
    """What the unit has said since the boot, without time and name."""
    said = node.sh("journalctl -b -u pve-ospf -o cat --no-pager")
    return said.splitlines()


def says(node: System, text: str, since: int = 0) -> bool:
    return any(text in line for line in journal(node)[since:])


def active(node: System) -> bool:
    return node.run(["systemctl", "is-active", "pve-ospf"], check=False).stdout.strip() == "active"


@contextmanager
def nothing_withdrawn(node: ProxmoxSystem, network: SystemLab) -> Iterator[None]:
    """Guest 101 stays announced, in the node's kernel and in the router's."""
    with watching(node, network.router("r1")) as watched:
        yield
    assert not re.search(f"Deleted.*{ADDRESS}", "".join(watched.lines.values()))
    assert own_lsa(node)
    assert known(network)


def test_it_writes_the_guest_filter_within_its_restrictions(announced: ProxmoxSystem) -> None:
    before = announced.sh("nft list table netdev pve-ospf | grep -v counter")
    assert f". {ADDRESS}" in before
    announced.sh("nft delete table netdev pve-ospf")
    poll(lambda: announced.sh("nft list table netdev pve-ospf | grep -v counter") == before,
         MENDED, "there again")


def test_without_a_configuration_it_waits_for_one(pve: ProxmoxSystem) -> None:
    assert active(pve)
    waits = [line for line in journal(pve) if "nothing is announced" in line]
    assert len(waits) == 1, waits
    assert not pve.sh("ip -4 addr show dev vmbr1")
    pve.write("/etc/pve/pve-ospf.yaml", ALLOW)
    poll(lambda: "169.254.1.1" in pve.sh("ip -4 addr show dev vmbr1"), 10, "it has begun")
    assert says(pve, "works again")


def test_it_answers_hooks(announced: ProxmoxSystem) -> None:
    """A hook that does its own work tells the journal by itself, not as the unit."""
    seen = len(journal(announced))
    announced.create(102, "192.0.2.8/32", hookscript="local:snippets/pve-ospf")
    refused = announced.pct("start", 102, check=False)
    assert not refused.ok
    assert "192.0.2.8" in refused.output
    assert says(announced, "guest 102 refused", seen)
    announced.pct("destroy", 102)
    announced.create(102, "198.51.100.8/32", hookscript="local:snippets/pve-ospf")
    announced.pct("start", 102)
    assert announced.routes("198.51.100.8")
    announced.pct("stop", 102)
    poll(lambda: not announced.routes("198.51.100.8"), 5, "withdrawn when its LSA is old enough")
    announced.pct("destroy", 102)
    everything = announced.sh("journalctl -b -t pve-ospf -o cat --no-pager").splitlines()
    assert not [line for line in everything if " post-st" in line]


def test_its_restrictions_leave_it_what_it_needs(
    announced: ProxmoxSystem, network: SystemLab
) -> None:
    """vtysh and its sockets, packet sockets, forwarding, /run/qemu-server and /proc."""
    announced.sh("rm -f /var/lib/pve-ospf/routers; systemctl restart pve-ospf")  # it asks anew
    poll(lambda: announced.exists("/var/lib/pve-ospf/routers"), MENDED, "it has asked OSPF")
    announced.write("/etc/pve/pve-ospf.yaml", f"allow: [198.51.100.0/24, {ON_LINK}/32]\n")
    announced.create(103, f"{ON_LINK}/32", hookscript="local:snippets/pve-ospf")
    announced.pct("start", 103)
    poll(lambda: network.router("r1").ping(ON_LINK), MENDED, "answered for on the uplink")
    announced.sh("mkdir -p /run/qemu-server; setsid sleep 300 </dev/null >/dev/null 2>&1 & "
                 "echo $! >/run/qemu-server/200.pid")
    announced.write("/etc/pve/nodes/pve1/qemu-server/200.conf", VM)
    poll(lambda: bool(announced.routes(OF_A_VM)), MENDED, "a VM's process is seen")
    announced.sh("kill $(cat /run/qemu-server/200.pid); rm /run/qemu-server/200.pid")
    announced.sh("sysctl -q net.ipv4.conf.vmbr1.forwarding=0")
    path = "/proc/sys/net/ipv4/conf/vmbr1/forwarding"
    poll(lambda: announced.read(path).strip() == "1", MENDED, "forwarding is back")
    announced.pct("stop", 103)
    announced.pct("destroy", 103)
    announced.sh("rm /etc/pve/nodes/pve1/qemu-server/200.conf")
    announced.write("/etc/pve/pve-ospf.yaml", ALLOW)
    poll(lambda: not announced.routes(OF_A_VM), 2 * MENDED, "the VM is gone")
    refusal = re.compile("ermission denied|not permitted|not supported|ead-only|Traceback")
    assert not [line for line in journal(announced) if refusal.search(line)]


def test_it_runs_within_its_restrictions(announced: ProxmoxSystem) -> None:
    """The control of the one before: they are in force."""
    status = announced.read(f"/proc/{main_pid(announced)}/status")
    assert "CapEff:\t0000000000003022" in status, "DAC_OVERRIDE, KILL, NET_ADMIN, NET_RAW"
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    mounts = announced.read(f"/proc/{main_pid(announced)}/mountinfo").splitlines()
    (root,) = (line for line in mounts if line.split()[4] == "/")
    assert "ro" in root.split()[5].split(",")


def test_etc_pve_comes_and_goes(announced: ProxmoxSystem, network: SystemLab) -> None:
    """pmxcfs mounts it anew whenever it is restarted: the unit must see the new one."""
    seen = len(journal(announced))
    with nothing_withdrawn(announced, network):
        with announced.pve_gone():
            poll(lambda: says(announced, "/etc/pve is not mounted", seen), MENDED, "noticed")
        poll(lambda: says(announced, "works again", seen), MENDED, "noticed, too")


def test_killed_it_is_back(announced: ProxmoxSystem, network: SystemLab) -> None:
    before = main_pid(announced)
    with nothing_withdrawn(announced, network):
        announced.sh("systemctl kill -s KILL pve-ospf")
        poll(lambda: main_pid(announced) not in (0, before) and active(announced), MENDED, "back")


def test_frozen_it_is_replaced(announced: ProxmoxSystem, network: SystemLab) -> None:
    announced.sh("mkdir -p /run/systemd/system/pve-ospf.service.d; printf '[Service]\\n"
                 "WatchdogSec=2\\n' >/run/systemd/system/pve-ospf.service.d/test.conf;"
                 "systemctl daemon-reload; systemctl restart pve-ospf")
    before = main_pid(announced)
    with nothing_withdrawn(announced, network):
        announced.sh(f"kill -STOP {before}")
        poll(lambda: main_pid(announced) not in (0, before) and active(announced), MENDED, "back")
    announced.sh("rm -r /run/systemd/system/pve-ospf.service.d; systemctl daemon-reload;"
                 "systemctl restart pve-ospf")


@pytest.mark.loses_adjacency
def test_zebra_restarted_alone(announced: ProxmoxSystem, network: SystemLab) -> None:
    """ospfd redistributes nothing then; who starts it again is watchfrr."""
    before = announced.sh("pidof ospfd")
    announced.sh("/usr/lib/frr/watchfrr.sh restart zebra")
    poll(lambda: announced.sh("pidof ospfd", check=False) not in ("", before), 60,
         "ospfd was started again")
    poll(lambda: not known(network), 30, "the router has noticed")
    poll(lambda: known(network) and own_lsa(announced), 60, "announced again")
    assert "frr.service" in announced.sh("cat /proc/$(pidof ospfd)/cgroup")
    assert says(announced, "ospfd ended, for watchfrr to start it again")
