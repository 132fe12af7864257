"""A Proxmox node and an OSPF router on one LAN: set up, announced, and watched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pve_ospf import lsdb
from tests.lab.machine import Machine
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.package.system import ProxmoxSystem, SystemLab

ALLOW = "allow: [198.51.100.0/24]\n"
ADDRESS = "198.51.100.7"
PREFIX = f"{ADDRESS}/32"

# What an administrator has written before the package came; nothing of it may change.
OWN_LINES = """\
ip prefix-list MINE seq 5 permit 192.0.2.0/24
!
interface vmbr0
 description an administrator's uplink
!
"""


def compose(suite: str, layer: Path) -> SystemLab:
    """r1, an OSPF router, and pve1, a Proxmox node with the package, on one LAN. Not raised yet.

    Nothing is configured on the node but its network.
    """
    lab = SystemLab()
    lan = lab.add_lan("net1")
    router = lab.add_router("r1")
    router.plug("eth0", lan, "10.0.1.1/24")
    router.ospf("10.0.1.1", {"eth0": 10})
    node = lab.add_proxmox("pve1", "10.0.1.11", suite, layer)
    node.plug("eth0", lan)
    node.bridge("vmbr0", "10.0.1.11/24", ports=["eth0"])
    node.route("default", via="10.0.1.1")
    node.bridge("vmbr1")
    return lab


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


def known(network: SystemLab) -> bool:
    return bool(network.router("r1").routes("exact", PREFIX))


def own_lsa(node: ProxmoxSystem) -> bool:
    """Whether an external LSA of the node's own for the guest lives."""
    lsas = lsdb.externals(json.loads(node.vtysh(f"{lsdb.OWN_EXTERNALS} json")))
    return any(str(lsa.prefix) == PREFIX for lsa in lsas)


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
