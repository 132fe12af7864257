"""Pure: addresses of an uplink's own subnet, at home and away: who is answered for, by whom.

At home is a guest that runs on this node: a proxy entry answers for it. Away is one that runs
in another network: its home subnet looks for it by ARP all the same, and one node answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address

from . import lsdb, routes
from .announce import Node, claims, forbidden
from .config import Config
from .model import Announcement, Guest, Interface

PerUplink = Mapping[str, frozenset[IPv4Address]]
"""Name of an uplink → addresses of its own subnet."""

ALIVE = ("Full", "2-Way")
"""States of a neighbour that hears us. Two DROthers are 2-Way for good (facts)."""


def away(config: Config, guests: Iterable[Guest], node: Node,
         table: Collection[routes.Route]) -> PerUplink:
    """The addresses to answer for because their guests run in another network.

    That is where an attached guest of another node may have the address, and where OSPF says
    that somebody announces it: a host route of `table` that goes by a gateway and is not ours.
    A guest on another node of this same network has none, its address being denied to OSPF;
    its own node answers. Whose address nobody announces gets no answer from anyone.
    """
    ours = {r.destination.network_address for r in table if routes.is_ours(r)}
    elsewhere = {r.destination.network_address for r in table
                 if r.destination.prefixlen == 32 and r.gateway and not r.kind} - ours
    return _per_uplink(
        (uplink.name, claim.address)
        for guest in guests if guest.attached and guest.node != node.name
        for claim in claims(guest) if claim.address in elsewhere
        if (uplink := node.roles.uplink_holding(claim.address))
        and forbidden(config, node, claim) is None)


def absent(guests: Iterable[Guest], node: Node) -> frozenset[IPv4Address]:
    """Addresses of the uplinks' own subnets that guests of other nodes claim: away, as soon as
    somebody announces them."""
    return frozenset(c.address for g in guests if g.attached and g.node != node.name
                     for c in claims(g) if node.roles.uplink_holding(c.address))


def defended(announcements: Iterable[Announcement]) -> PerUplink:
    """The addresses at home that a proxy entry answers for, but never to a probe: a host that
    probes before it takes an address would find it free. A guest on the uplink's own bridge
    answers for itself."""
    return _per_uplink((a.uplink, a.address) for a in announcements
                       if a.uplink and a.uplink != a.device)


def arriving(announcements: Iterable[Announcement],
             proxies: Collection[routes.Neighbour]) -> PerUplink:
    """The addresses about to be taken at home: probed before, announced by ARP after. `proxies`
    are the kernel's proxy entries."""
    there = {(p.device, p.address) for p in proxies}
    return {uplink: fresh for uplink, addresses in defended(announcements).items()
            if (fresh := frozenset(a for a in addresses if (uplink, a) not in there))}


def answers(own_router_id: IPv4Address, uplink: str, neighbours: Iterable[lsdb.Neighbour],
            node_addresses: Mapping[str, Collection[IPv4Address]]) -> bool:
    """Whether this node is the one that answers on `uplink` for addresses that are away: the
    lowest router id of the cluster's nodes that OSPF hears there. Each node finds the same
    without talk, and when one falls silent, the next does (after the dead interval)."""
    return all(own_router_id < peer.router_id for peer in _peers(uplink, neighbours, node_addresses)
               if peer.state in ALIVE and peer.router_id != own_router_id)


def answered_for(addresses: PerUplink, own_router_id: IPv4Address,
                 neighbours: Collection[lsdb.Neighbour],
                 node_addresses: Mapping[str, Collection[IPv4Address]]) -> PerUplink:
    """Those of `away` this node answers for."""
    return {uplink: wanted for uplink, wanted in addresses.items()
            if answers(own_router_id, uplink, neighbours, node_addresses)}


def nodes_on(uplink: Interface, neighbours: Iterable[lsdb.Neighbour],
             node_addresses: Mapping[str, Collection[IPv4Address]]) -> frozenset[IPv4Address]:
    """Addresses of the cluster's other nodes inside the uplink's own subnet."""
    found = {peer.address for peer in _peers(uplink.name, neighbours, node_addresses)}
    found |= {a for several in node_addresses.values() for a in several}
    return frozenset(a for a in found if any(a in own.network for own in uplink.addresses)
                     and a not in {own.ip for own in uplink.addresses})


def macs_of(nodes: Collection[IPv4Address], uplink: str,
            entries: Iterable[routes.Neighbour]) -> frozenset[str]:
    """What the kernel's neighbour entries know of them. Of a node OSPF is only 2-Way with there
    may be none: probe() asks the nodes too."""
    return frozenset(e.mac for e in entries
                     if e.device == uplink and e.address in nodes and not e.proxy)


def conflicts(heard: Mapping[IPv4Address, Collection[str]], addresses: Iterable[IPv4Address],
              nodes: Iterable[IPv4Address], macs: Collection[str]) -> dict[IPv4Address, str]:
    """Of the addresses that somebody said to have: address → MAC of a stranger.

    `heard` are MACs by the address they were said with. A node of the cluster is no stranger:
    it may answer for a guest that is away, or hold its proxy entry still. A node is known by
    its MAC: one of `macs`, or one that was heard with one of the addresses `nodes`.
    """
    known = {mac for node in nodes for mac in heard.get(node, ())} | set(macs)
    found = {a: sorted(set(heard.get(a, ())) - known) for a in addresses}
    return {address: strangers[0] for address, strangers in found.items() if strangers}


def _peers(uplink: str, neighbours: Iterable[lsdb.Neighbour],
           node_addresses: Mapping[str, Collection[IPv4Address]]) -> list[lsdb.Neighbour]:
    nodes = {a for several in node_addresses.values() for a in several}
    return [n for n in neighbours
            if n.interface == uplink and (n.router_id in nodes or n.address in nodes)]


def _per_uplink(found: Iterable[tuple[str, IPv4Address]]) -> PerUplink:
    several: dict[str, set[IPv4Address]] = defaultdict(set)
    for uplink, address in found:
        several[uplink].add(address)
    return {uplink: frozenset(several[uplink]) for uplink in sorted(several)}
