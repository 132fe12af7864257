"""The two labs of the benchmark: the product's, and the article's recipe in the same network."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path

from tests.lab import service, topology
from tests.lab.frr import ospf_configuration
from tests.lab.lab import Lab, together
from tests.lab.node import Node
from tests.lab.poll import poll

from .resident import Resident

ALLOW = "allow: [198.51.100.0/24, 203.0.113.0/24, 10.77.0.0/16]\n"
OURS, RECIPE = "local:snippets/pve-ospf", "local:snippets/recipe"
HOOK, RECIPE_HOOK = "/var/lib/vz/snippets/pve-ospf", "/var/lib/vz/snippets/recipe"
AT = {"pve1": "10.0.13.1", "pve2": "10.0.23.2"}
"""r3's next hop to each node."""

RECIPE_TEXT = """\
#!/bin/sh
address=$(sed -n 's/.*ip=\\([0-9.]*\\)\\/32.*/\\1/p' /etc/pve/nodes/*/*/$1.conf)
case $2 in
post-start) ip route add $address/32 dev vmbr1 ;;
post-stop) ip route del $address/32 dev vmbr1 ;;
esac
"""


class Labs:
    """Each is raised when it is first asked for, and down at the end."""

    def __init__(self, deb: Path, stack: ExitStack) -> None:
        self._deb = deb
        self._stack = stack

    @cached_property
    def ours(self) -> Lab:
        """The product applied on both nodes, agents running; OSPF with 1 s/3 s timers."""
        lab = self._stack.enter_context(topology.demo(deb=self._deb, hurry=True, vms=True))
        lab.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
        together(lambda node: node.run(["pve-ospf", "apply"], timeout=120), lab.nodes)
        for node in lab.nodes:
            poll(partial(node.full, 1), 30, f"{node.name} is adjacent")
            node.write(RECIPE_HOOK, RECIPE_TEXT, 0o755)
        lab.settle()
        together(service.start, lab.nodes)
        return lab

    @cached_property
    def recipe(self) -> Lab:
        """FRR with default timers (10 s/40 s), `redistribute kernel`, and two lines of shell.

        What the recipe leaves to its reader, the guests' gateway and forwarding, is as good as
        the product's, so that only the routing differs.
        """
        lab = topology.demo(vms=True)
        for router in lab.routers:
            router.configuration = router.configuration.replace(
                "hello-interval 1\n", "hello-interval 10\n").replace(
                "dead-interval 3\n", "dead-interval 40\n")
        self._stack.enter_context(lab)
        together(_recipe_node, lab.nodes)
        for node in lab.nodes:
            poll(partial(node.full, 1), 90, f"{node.name} is adjacent")
            poll(lambda: lab.router("r3").ping(_address(node)), 90, f"r3 reaches {node.name}")  # noqa: B023
        return lab


def _address(node: Node) -> str:
    return {"pve1": "10.0.1.11", "pve2": "10.0.2.12"}[node.name]


def _recipe_node(node: Node) -> None:
    node.write(RECIPE_HOOK, RECIPE_TEXT, 0o755)
    # The tunnel's host routes would be redistributed, and lead in circles.
    node.sh("ip link del vxlan100; ip route flush root 10.0.0.0/16 proto boot;"
            "ip link set vmbr1 address 02:00:00:00:00:01; ip addr add 169.254.1.1/32 dev vmbr1;"
            "sysctl -qw net.ipv4.conf.vmbr0.forwarding=1 net.ipv4.conf.vmbr1.forwarding=1")
    node.write_frr(ospf_configuration(node.name, _address(node), {"vmbr0": 10}, hello=10, dead=40,
                                      extra="router ospf\n redistribute kernel\n"))
    node.frr_restart()


class Crowd:
    """Guests on a node that are nothing but a configuration and a socket: a thousand of them
    cost no memory, and all that the product reads of a container is there."""

    FIRST = 10000

    def __init__(self, lab: Lab, node: Node, count: int) -> None:
        self._node = node
        self._folder = lab.cluster.path / "nodes" / node.name / "lxc"
        self._sockets = Resident(node, "guests.py")
        self.vmids = range(self.FIRST, self.FIRST + count)
        for vmid in self.vmids:
            self._write(vmid)
        node.pve_refresh()

    def _write(self, vmid: int) -> None:
        number = vmid - self.FIRST
        mac = f"BC:24:11:00:{number >> 8:02X}:{number & 255:02X}"
        (self._folder / f"{vmid}.conf").write_text(
            f"arch: amd64\ncores: 1\nhookscript: {OURS}\nhostname: CT{vmid}\nmemory: 128\n"
            f"net0: name=eth0,bridge=vmbr1,gw=169.254.1.1,hwaddr={mac},"
            f"ip={self.address(vmid)}/32,type=veth\n"
            f"ostype: unmanaged\nrootfs: shared:{vmid}/vm-{vmid}-disk-0.raw,size=1G\nswap: 0\n")

    def address(self, vmid: int) -> str:
        number = vmid - self.FIRST + 1
        return f"10.77.{number >> 8}.{number & 255}"

    def start(self, *vmids: int) -> None:
        """They run now, and no hook has said so yet."""
        self._sockets.ask(start=vmids)

    def stop(self, *vmids: int) -> None:
        self._sockets.ask(stop=vmids)

    def routes(self) -> int:
        """How many of them the node's kernel has a route for."""
        return len(self._node.routes("proto", "205", "root", "10.77.0.0/16"))

    def settled(self, count: int, timeout: float = 30) -> None:
        poll(lambda: self.routes() == count, timeout, f"{count} guests have their routes")

    def close(self) -> None:
        """They are all gone, and their routes."""
        self._sockets.__exit__(None, None, None)
        for vmid in self.vmids:
            (self._folder / f"{vmid}.conf").unlink()
        self._node.pve_refresh()
        self.settled(0)


