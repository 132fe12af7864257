"""What the system tests say about a standing lab, and the guests they put into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from tests.lab import service
from tests.lab.lab import Lab, together
from tests.lab.machine import Machine
from tests.lab.node import Node
from tests.lab.poll import poll

WEB, OTHER = "198.51.100.7", "198.51.100.8"
ALLOW = "allow: [198.51.100.0/24, 203.0.113.0/24, 10.0.0.0/8]\n"


def put_to_work(lab: Lab) -> None:
    """The product on every node of the demo's lab: applied, adjacent, its agent running."""
    lab.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
    together(lambda node: node.run(["pve-ospf", "apply"], timeout=120), lab.nodes)
    for node in lab.nodes:
        poll(partial(node.full, 1), 30, f"{node.name} is adjacent")
    lab.settle()
    together(service.start, lab.nodes)


def known_to(machine: Machine, address: str) -> str:
    """The next hop a machine's kernel has for exactly this host, "" when it has none."""
    host = address.partition("/")[0]
    found = machine.routes("exact", f"{host}/32")
    return str(found[0].get("gateway", found[0].get("dev"))) if found else ""


def out_of_ospf(node: Node, address: str, whose: str = "self-originate") -> bool:
    """Whether the node's database holds no external LSA for this host, of its own or of
    `whose` (as FRR writes it)."""
    said = node.vtysh(f"show ip ospf database external {whose}")
    return f"Link State ID: {address} " not in said and f"Link State ID: {address}\n" not in said


@dataclass
class VirtualMachines:
    """VMs of one test, destroyed at its end wherever they are then; `Guests` for `qm`."""

    made: list[int] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def stopped(self, node: Node, vmid: int, address: str, **options: str) -> None:
        """A VM that is not attached; `options` as `qm create` takes them."""
        self.made.append(vmid)
        node.create_vm(vmid, address, **options)

    def attached(self, node: Node, vmid: int, address: str, **options: str) -> None:
        """A stopped VM that is ours."""
        self.stopped(node, vmid, address, hookscript="local:snippets/pve-ospf", **options)

    def destroy(self) -> None:
        for node in self.nodes:
            for vmid in self.made:
                if node.exists(f"/etc/pve/nodes/{node.name}/qemu-server/{vmid}.conf"):
                    node.qm("unlock", vmid, check=False)
                    node.qm("stop", vmid, check=False)
                    node.qm("destroy", vmid, check=False)
                # One whose config is elsewhere: what a migration that was cut short left.
                script = "kill -9 $(cat /run/qemu-server/$1.pid); rm -f /run/qemu-server/$1.*"
                node.run(["sh", "-c", script, "sh", vmid], check=False)
            node.run(["pve-ospf", "sync"], check=False)


@dataclass
class Guests:
    """Containers of one test, destroyed at its end wherever they are then."""

    made: list[int] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)
    nodes: list[Node] = field(default_factory=list)

    def stopped(self, node: Node, vmid: int, address: str, **options: str) -> None:
        """A container that is not attached; `options` as `pct create` takes them."""
        self.made.append(vmid)
        self.addresses.add(address.partition("/")[0])
        node.create(vmid, address, **options)

    def attached(self, node: Node, vmid: int, address: str, **options: str) -> None:
        """A stopped container that is ours."""
        self.stopped(node, vmid, address, hookscript="local:snippets/pve-ospf", **options)

    def destroy(self) -> None:
        """From the other nodes' routes too: what one test left there on its way out was taken by
        the next for its own announcement."""
        for node in self.nodes:
            for vmid in self.made:
                if node.run(["test", "-e", f"/etc/pve/nodes/{node.name}/lxc/{vmid}.conf"],
                            check=False).ok:
                    node.pct("stop", vmid, check=False)
                    node.pct("destroy", vmid, check=False)
            # A test may have left guests half-started on purpose.
            node.run(["pve-ospf", "sync"], check=False)
        for node in self.nodes:
            poll(partial(self._forgotten_by, node), 30, f"{node.name} has no guest's route")

    def _forgotten_by(self, node: Node) -> bool:
        learnt = node.routes("proto", "ospf")
        return not self.addresses & {route["dst"] for route in learnt}
