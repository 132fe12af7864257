"""The words of this project as frozen values: guests, interfaces, announcements, findings.

Pure: no module of this package may make these depend on how they were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Literal

GuestKind = Literal["lxc", "qemu"]

GATEWAY = IPv4Interface("169.254.1.1/32")
"""The gateway every guest may use: owned by each guest bridge, link-local, never announced."""


GATEWAY_MAC = "02:00:a9:fe:01:01"
"""The MAC of every guest bridge of every node, locally administered. A VM that live-migrates
takes its ARP cache along: with another MAC there, it sends into the void for minutes."""


@dataclass(frozen=True, slots=True)
class GuestNet:
    """One `netN` of a guest: where it is plugged in and which IPv4 address it was given.

    `address` is None for dhcp, manual or none; the prefix length an administrator writes
    concerns the guest's own routing table only, so it is not kept.
    """

    index: int
    bridge: str
    mac: str
    address: IPv4Address | None = None
    tag: int | None = None
    firewall: bool = False
    link_down: bool = False


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest as its live configuration in /etc/pve says, on the node that owns the file.

    `incomplete` means that an address of it may be missing here, because a `netN` line or the
    whole file could not be understood: it then counts as "cannot tell", never as "no address".
    """

    vmid: int
    kind: GuestKind
    node: str
    name: str = ""
    nets: tuple[GuestNet, ...] = ()
    hookscript: str | None = None
    tags: tuple[str, ...] = ()
    lock: str | None = None
    incomplete: bool = False

    @property
    def attached(self) -> bool:
        """The guest is ours: its hookscript is a snippet named pve-ospf, on any storage."""
        return self.hookscript is not None and self.hookscript.endswith(":snippets/pve-ospf")


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of the node, as rtnetlink shows it.

    `kind` is IFLA_INFO_KIND ("" for a physical one), `master` the bridge or bond it is a
    port of, `lower` the interface it is stacked on (a VLAN's parent, a tunnel's underlay).
    """

    index: int
    name: str
    kind: str = ""
    mac: str = ""
    up: bool = True
    addresses: tuple[IPv4Interface, ...] = ()
    master: str | None = None
    lower: str | None = None
    vlan_filtering: bool = False
    mac_stays: bool = True
    """False for a bridge that takes whatever MAC is the lowest of its ports'."""


@dataclass(frozen=True, slots=True, order=True)
class Announcement:
    """An address that belongs on this node now.

    `device` is the L3 device the kernel route points to (the guest bridge). `uplink` names
    the uplink whose own subnet holds the address: it is then proxied there and the route-map
    denies it, since that subnet is known to everyone already.
    """

    address: IPv4Address
    device: str
    mac: str
    vmid: int
    uplink: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that is not as it should be: what it concerns, what is wrong, the way out.

    `code` is a stable word for scripts ("missing-lsa"); `subject` is the address, guest,
    interface or file it is about.
    """

    code: str
    subject: str
    message: str
    fix: str = ""
