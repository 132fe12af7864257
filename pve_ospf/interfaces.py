"""Pure: which of the node's interfaces are uplinks, guest bridges and tunnels.

The three exclude each other when found by `auto`, and none of them depends on which guests
run: a guest that stops must never turn its bridge into something else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from .config import Config
from .model import GATEWAY, Interface

TUNNEL_KINDS = frozenset({
    "vxlan", "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan", "ipip", "sit",
    "ip6tnl", "vti", "vti6", "xfrm", "geneve", "wireguard", "tun", "ppp", "l2tpeth", "ovpn",
    "ovpn-dco", "bareudp", "gtp", "amt", "fou", "pptp",
})
"""IFLA_INFO_KIND of the kernel's tunnel drivers; "tun" is also what OpenVPN, tailscale and
ZeroTier use, and QEMU for a guest's tap, which `is_guest_port` takes out first."""

STACKED = frozenset({"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"})
"""Kinds that are the interface below them under another name. A tunnel's `lower` is its underlay,
a veth's its other end."""

_GUEST_PORT = re.compile(r"veth\d+i\d+|tap\d+i\d+|fwpr\d+p\d+")
_NFT_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""What nft can name a chain. Proxmox allows less, and `apply` refuses what is not in it."""
_FIREWALL_BRIDGE = re.compile(r"fwbr\d+i\d+|fwln\d+i\d+")


@dataclass(frozen=True, slots=True)
class Roles:
    """The interfaces that matter, each in the order of their names.

    `shared` are guest bridges that have more than guests on them: see `closed_bridges`.
    `filtered` are those on which nobody but guests speaks, unless `guest-filter` is off.
    `dear` are tunnels into which OSPF is let at a high cost.
    """

    uplinks: tuple[Interface, ...] = ()
    guest_bridges: tuple[Interface, ...] = ()
    tunnels: tuple[Interface, ...] = ()
    shared: frozenset[str] = frozenset()
    filtered: frozenset[str] = frozenset()
    dear: frozenset[str] = frozenset()

    @property
    def closed_bridges(self) -> tuple[Interface, ...]:
        """The guest bridges that are the guests' alone, whose gateway we may be.

        On any other, all nodes of one LAN would own 169.254.1.1 and the same MAC, and proxy_arp
        would answer for the whole LAN.
        """
        return tuple(bridge for bridge in self.guest_bridges
                     if bridge.name not in self.shared and not self.is_uplink(bridge.name))

    def uplink_holding(self, address: IPv4Address) -> Interface | None:
        """The uplink in whose own subnet `address` lies, or None."""
        for uplink in self.uplinks:
            if any(address in own.network for own in uplink.addresses):
                return uplink
        return None

    def is_guest_bridge(self, name: str) -> bool:
        return any(bridge.name == name for bridge in self.guest_bridges)

    def is_uplink(self, name: str) -> bool:
        return any(uplink.name == name for uplink in self.uplinks)


def is_guest_port(name: str) -> bool:
    """Whether Proxmox named this interface for a guest (facts: host-side names)."""
    return bool(_GUEST_PORT.fullmatch(name))


def carries_no_address(name: str) -> bool:
    """Whether Proxmox made this interface to plug a guest in: there may be thousands, and no
    address is ever on one or reached by its name."""
    return is_guest_port(name) or bool(_FIREWALL_BRIDGE.fullmatch(name))


def faces_guests(name: str, interfaces: Collection[Interface]) -> str:
    """What makes this interface the guests' side, where OSPF must never speak; "" for none."""
    found = {i.name: i for i in interfaces}
    if carries_no_address(name):
        return "is a guest's own"
    interface = found.get(name)
    if interface is None:
        return ""
    bridge = found.get(interface.master or "")
    if bridge and bridge.kind == "bridge":
        return f"is a port of {bridge.name}"
    return "has no port but guests'" if _leads_nowhere(interface, interfaces) else ""


def classify(config: Config, interfaces: Collection[Interface],
             cluster: Collection[IPv4Network] = ()) -> Roles:
    """Uplinks, guest bridges and tunnels of a node; `cluster` is where corosync and migrations
    run, and a tunnel with an address in there is kept out even where the configuration names
    others only.

    What the administrator names wins over what is found. A bridge may be uplink *and* guest
    bridge only if it was named as a guest bridge: that is how Proxmox's default vmbr0 is
    opened to guests on purpose.
    """
    tunnels = _tunnels(config, interfaces, cluster)
    guest = [i for i in interfaces if _is_guest_bridge(config, i, interfaces, tunnels)]
    # A guest bridge with a NIC in it is one only because the administrator said so: it leads
    # to the network all the same, so `auto` still finds it as an uplink.
    closed = {i.name for i in guest if not has_foreign_port(i, interfaces)}
    uplinks = [i for i in interfaces if _is_uplink(config, i, closed | tunnels, interfaces)]
    # An uplink's VLAN carries no address of the bridge itself, but leads out of it.
    leading = {name for i in uplinks for name in (i.name, i.lower)}
    inward = [i for i in guest if not {i.name, i.kind == "vlan" and i.lower} & leading]
    return Roles(_sorted(uplinks), _sorted(guest),
                 _sorted(i for i in interfaces if i.name in tunnels),
                 dear=frozenset(name for name in tunnels if config.tunnels.cost_of(name)),
                 shared=frozenset(i.name for i in guest
                                  if i not in inward or not _serves_only_guests(i, interfaces)),
                 filtered=frozenset(i.name for i in inward if config.guest_filter
                                    and _leads_nowhere(i, interfaces)
                                    and _NFT_NAME.fullmatch(i.name)))


def own_addresses(interface: Interface) -> list[IPv4Address]:
    """The node's own addresses on it: neither the guests' gateway nor link-local ones."""
    return [a.ip for a in interface.addresses
            if not a.ip.is_link_local and not a.ip.is_loopback]


def _sorted(interfaces: Iterable[Interface]) -> tuple[Interface, ...]:
    return tuple(sorted(interfaces, key=lambda i: i.name))


def _tunnels(config: Config, interfaces: Collection[Interface],
             cluster: Collection[IPv4Network]) -> set[str]:
    named = config.tunnels.interfaces
    tunnels = {i.name for i in interfaces if named.names_it(i.name)}
    found = {i.name for i in interfaces if i.kind in TUNNEL_KINDS and not is_guest_port(i.name)}
    _spread(found, interfaces)
    carrying = {i.name for i in interfaces
                if any(a.ip in network for a in i.addresses for network in cluster)}
    tunnels |= found if named.auto else found & carrying
    return tunnels - set(config.uplinks.names)


def _spread(tunnels: set[str], interfaces: Collection[Interface]) -> None:
    """What is stacked on a tunnel is one: a VLAN over it, the bridge or bond it is a port of
    (but not a bridge that has a NIC too: a VPN's tap in vmbr0 makes that LAN no tunnel).

    A tunnel's own `lower` is its underlay and is not touched by this.
    """
    wired = {i.master for i in interfaces
             if i.master and i.name not in tunnels and not is_guest_port(i.name)
             and not _FIREWALL_BRIDGE.fullmatch(i.name) and i.kind not in TUNNEL_KINDS}
    before = -1
    while before != len(tunnels):
        before = len(tunnels)
        tunnels |= {i.master for i in interfaces if i.name in tunnels and i.master} - wired
        tunnels |= {i.name for i in interfaces if i.kind in STACKED and i.lower in tunnels}


def _is_guest_bridge(config: Config, interface: Interface, interfaces: Collection[Interface],
                     tunnels: set[str]) -> bool:
    if config.guest_bridges.names_it(interface.name):
        return True
    return (config.guest_bridges.auto
            and interface.name not in tunnels
            and interface.name not in config.uplinks.names
            and _serves_only_guests(interface, interfaces))


def _serves_only_guests(interface: Interface, interfaces: Collection[Interface]) -> bool:
    """A bridge (or a VLAN of such a bridge) that is the guests' alone: no address, no NIC."""
    if set(interface.addresses) - {GATEWAY} or _FIREWALL_BRIDGE.fullmatch(interface.name):
        return False
    if interface.kind == "vlan":
        return any(_serves_only_guests(below, interfaces) for below in interfaces
                   if below.name == interface.lower and below.kind == "bridge")
    return _leads_nowhere(interface, interfaces)


def _leads_nowhere(interface: Interface, interfaces: Collection[Interface]) -> bool:
    """A bridge, or a VLAN of one, with no port but guests'. With an address of the node it is
    what Proxmox's documentation makes for NAT: no router is there, and a guest must not be one.
    """
    if interface.kind == "vlan":
        return any(_leads_nowhere(below, interfaces) for below in interfaces
                   if below.name == interface.lower and below.kind == "bridge")
    return interface.kind == "bridge" and not has_foreign_port(interface, interfaces)


def has_foreign_port(bridge: Interface, interfaces: Collection[Interface]) -> bool:
    """Whether anything but a guest is plugged into the bridge."""
    return any(port.master == bridge.name and not is_guest_port(port.name)
               for port in interfaces)


def _is_uplink(config: Config, interface: Interface, excluded: Collection[str],
               interfaces: Collection[Interface]) -> bool:
    if not config.uplinks.auto:
        return interface.name in config.uplinks.names
    return (interface.name not in excluded
            and interface.name != "lo"
            and not is_guest_port(interface.name)
            and not _FIREWALL_BRIDGE.fullmatch(interface.name)
            and not _leads_nowhere(interface, interfaces)
            and bool(own_addresses(interface)))
