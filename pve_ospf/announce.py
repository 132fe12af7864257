"""Pure: which addresses belong on this node now, and why the others do not.

An address belongs here exactly when this node owns the guest's config, the guest runs here,
it is attached, and the address passes the policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from .config import Config
from .interfaces import Roles
from .model import Announcement, Finding, Guest, GuestNet, Interface
from .repeated import repeated

_NEVER_NETWORKS = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local, and the guests' gateway is in it",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}


@dataclass(frozen=True, slots=True)
class Never:
    """Addresses that are never ours whatever `allow` says, each with what it is.

    `known` is False when OSPF could not be asked for routers: those that are known count, and
    nothing more is claimed.
    """

    addresses: Mapping[IPv4Address, str] = field(default_factory=dict)
    known: bool = True

    def reason(self, address: IPv4Address) -> str | None:
        """What makes this address untouchable, or None."""
        for network, what in _NEVER_NETWORKS.items():
            if address in network:
                return f"{what} ({network})"
        return self.addresses.get(address)


@dataclass(frozen=True, slots=True)
class Claim:
    """A guest's wish for an address on one of its interfaces."""

    guest: Guest
    net: GuestNet
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Desired:
    """What belongs on this node.

    `claimed` holds every address that a readable config of the cluster claims, with the MAC.
    `unknown` is True when a guest that runs here could not be read, or has no config at all:
    an installed address that nobody claims with its MAC may then be its, and is kept.
    """

    announcements: tuple[Announcement, ...] = ()
    findings: tuple[Finding, ...] = ()
    claimed: frozenset[tuple[IPv4Address, str | None]] = frozenset()
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """This node as far as the policy needs it.

    `running` are the guests that run here, less the VMs that wait for a migration to arrive;
    `interfaces` may leave out those made to plug guests in. `incumbents` says which MAC an
    address is installed for, so that a duplicate does not take over what serves.
    """

    name: str
    roles: Roles
    interfaces: Collection[Interface] = ()
    running: frozenset[int] = frozenset()
    never: Never = field(default_factory=Never)
    incumbents: Mapping[IPv4Address, str] = field(default_factory=dict)


def claims(guest: Guest) -> Iterable[Claim]:
    """Every address a guest's config claims on an interface that is plugged in."""
    for net in guest.nets:
        if net.address is not None and net.bridge and not net.link_down:
            yield Claim(guest, net, net.address)


def never_ours(interfaces: Iterable[Interface], next_hops: Iterable[IPv4Address],
               routers: Iterable[IPv4Address], rings: Iterable[IPv4Address],
               known: bool = True) -> Never:
    """The never-list of a node from what was read; `routers` are OSPF's router ids and
    neighbours, `rings` every corosync ring address of the cluster."""
    addresses: dict[IPv4Address, str] = {}
    addresses.update(dict.fromkeys(routers, "an OSPF router"))
    addresses.update(dict.fromkeys(rings, "a corosync ring address"))
    addresses.update(dict.fromkeys(next_hops, "a next hop of this node"))
    for interface in interfaces:
        for own in interface.addresses:
            if own.network.prefixlen < 31:
                addresses[own.network.network_address] = f"the network address of {own.network}"
                addresses[own.network.broadcast_address] = f"the broadcast of {own.network}"
            addresses[own.ip] = f"this node's own, on {interface.name}"
    return Never(addresses, known)


def forbidden(config: Config, node: Node, claim: Claim) -> Finding | None:
    """Why the policy forbids this claim, whoever else holds the address; None when it does not."""
    what = node.never.reason(claim.address)
    if what:
        return _finding("never-ours", claim, f"may not have {claim.address}: it is {what}",
                        "give the guest another address")
    device = device_of(claim.net, node.interfaces)
    if not any(claim.address in entry.prefix
               and (not entry.guests or claim.guest.vmid in entry.guests)
               and entry.open_to(device) for entry in config.allow):
        return _finding("not-allowed", claim, f"may not have {claim.address}: no entry of "
                        "'allow' in pve-ospf.yaml permits it",
                        f"add {claim.address}/32 to 'allow', or give the guest another address")
    return _own_network(node, claim)


def _own_network(node: Node, claim: Claim) -> Finding | None:
    """Inside a network of this node that is no uplink's (a tunnel's, a storage network's).

    The route-map denies the node's own networks: a route would draw traffic to nowhere.
    """
    if node.roles.uplink_holding(claim.address):
        return None
    for interface in node.interfaces:
        for own in interface.addresses:
            # The subnet of an address on a guest bridge is the guests', but for that address.
            if claim.address in own.network and not node.roles.is_guest_bridge(interface.name):
                return _finding(
                    "own-network", claim, f"may not have {claim.address}: it is inside "
                    f"{own.network}, this node's own network on {interface.name}",
                    "give the guest an address outside this node's own networks")
    return None


@repeated
def desired(config: Config, guests: Collection[Guest], node: Node) -> Desired:
    """What belongs on `node`, from the guests of the whole cluster."""
    findings: list[Finding] = []
    wanted: dict[IPv4Address, list[Announcement]] = defaultdict(list)
    here = [g for g in guests if g.node == node.name and g.vmid in node.running]
    for guest in here:
        for claim in claims(guest) if guest.attached else ():
            announcement = _place(config, node, claim)
            if isinstance(announcement, Finding):
                findings.append(announcement)
            else:
                wanted[claim.address].append(announcement)
    chosen = [_holder(rivals, node, findings) for rivals in wanted.values()]
    return Desired(
        announcements=tuple(sorted(chosen)),
        findings=tuple(sorted(findings)),
        claimed=frozenset((c.address, c.net.mac) for g in guests if not g.incomplete
                          for c in claims(g)),
        unknown=any(g.incomplete for g in here)
        or not node.running <= {g.vmid for g in guests})


def device_of(net: GuestNet, interfaces: Collection[Interface]) -> str:
    """The L3 device the guest's address is reached through (facts: guest configuration).

    With `tag=` that is the VLAN interface of a VLAN-aware bridge, which the administrator
    makes, or Proxmox's own `<bridge>v<tag>` otherwise.
    """
    if net.tag is None:
        return net.bridge
    aware = any(i.name == net.bridge and i.vlan_filtering for i in interfaces)
    return f"{net.bridge}.{net.tag}" if aware else f"{net.bridge}v{net.tag}"


def _place(config: Config, node: Node, claim: Claim) -> Announcement | Finding:
    refused = forbidden(config, node, claim)
    if refused:
        return refused
    device = device_of(claim.net, node.interfaces)
    if not claim.net.mac:
        return _finding("no-mac", claim, "has no hwaddr, so its neighbour entry cannot be made",
                        "set hwaddr= in the guest's configuration")
    if not any(i.name == device for i in node.interfaces):
        return _finding("no-bridge", claim, f"is on {device}, which does not exist on this node",
                        f"create {device}, or move the guest to another bridge")
    if not node.roles.is_guest_bridge(device):
        return _not_a_guest_bridge(config, node, claim, device)
    uplink = node.roles.uplink_holding(claim.address)
    return Announcement(claim.address, device, claim.net.mac, claim.guest.vmid,
                        uplink.name if uplink else None)


def _not_a_guest_bridge(config: Config, node: Node, claim: Claim, device: str) -> Finding:
    now = config.guest_bridges
    names = ", ".join((*(("auto",) if now.auto else ()), *now.names, device))
    kind = "an uplink" if node.roles.is_uplink(device) else "not a guest bridge"
    return _finding(
        "uplink-bridge" if node.roles.is_uplink(device) else "not-a-guest-bridge", claim,
        f"is on {device}, which is {kind}: not announced",
        "move it to a bridge without address and ports (such as vmbr1), or write "
        f"'guest-bridges: [{names}]' into pve-ospf.yaml: its gateway is then this node's own "
        f"address on {device}")


def _holder(rivals: list[Announcement], node: Node, findings: list[Finding]) -> Announcement:
    """Of several guests here with one address: who has it keeps it, else the lowest VMID."""
    first, *rest = sorted(rivals, key=lambda a: (node.incumbents.get(a.address) != a.mac, a.vmid))
    findings.extend(Finding("duplicate", f"guest {other.vmid}",
                            f"has {other.address}, which guest {first.vmid} already holds here",
                            "give one of the two another address") for other in rest)
    return first


def _finding(code: str, claim: Claim, message: str, fix: str) -> Finding:
    return Finding(code, f"guest {claim.guest.vmid}", f"net{claim.net.index} {message}", fix)
