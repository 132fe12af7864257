"""Pure: everything one sync knows, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address

from . import home, lsdb
from .announce import Desired, Node, claims
from .config import Config
from .interfaces import Roles
from .model import Finding, Guest
from .routes import KernelState


@dataclass(frozen=True)
class Cluster:
    """Every guest of the cluster, and what of its files could not be understood."""

    guests: tuple[Guest, ...] = ()
    findings: tuple[Finding, ...] = ()

    def guest(self, vmid: int) -> Guest | None:
        """The guest, on whichever node."""
        return self._by_vmid.get(vmid)

    @cached_property
    def _by_vmid(self) -> dict[int, Guest]:
        return {guest.vmid: guest for guest in self.guests}


@dataclass(frozen=True, slots=True)
class Routers:
    """`addresses` are router ids and interface addresses; `known`: OSPF could be asked, and
    is not alone. `neighbours` are this node's own."""

    addresses: frozenset[IPv4Address] = frozenset()
    known: bool = False
    neighbours: tuple[lsdb.Neighbour, ...] = ()


@dataclass(frozen=True)
class Picture:
    """Everything one sync knows: what was read, and what follows from it.

    `runs` says of every guest that lives here which run it is, also of VMs that wait; `away`
    are addresses of the uplinks' own subnets that are announced from elsewhere (home.py).
    """

    config: Config
    cluster: Cluster
    node: Node
    state: KernelState
    desired: Desired
    runs: Mapping[int, str] = field(default_factory=dict)
    routers: Routers = field(default_factory=Routers)
    away: home.PerUplink = field(default_factory=dict)

    @property
    def roles(self) -> Roles:
        return self.node.roles

    def own_guests(self) -> tuple[Guest, ...]:
        """The guests whose configuration this node owns."""
        return tuple(g for g in self.cluster.guests if g.node == self.node.name)

    @cached_property
    def claimants(self) -> Mapping[IPv4Address, tuple[Guest, ...]]:
        """Address → the guests whose configuration claims it."""
        found: dict[IPv4Address, tuple[Guest, ...]] = {}
        for guest in self.cluster.guests:
            for claim in claims(guest):
                found[claim.address] = (*found.get(claim.address, ()), guest)
        return found
