"""Pure: what is ours in the kernel, and the changes that lead from what is to what should be.

"Ours" is decided here and nowhere else, by the protocol number every piece carries, so that a
fresh process with no memory recognises its own work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal

from . import guestfilter
from .announce import Desired
from .guestfilter import FilterState, GuestFilter, Permit
from .interfaces import Roles, has_foreign_port
from .model import GATEWAY, GATEWAY_MAC, Announcement, Finding, Interface
from .repeated import repeated
from .sysctls import ALL, Sysctl, bridge_sysctls, in_use, prompt, without_redirects

PROTOCOL = 205
"""RTPROT of our routes and NDA_PROTOCOL/IFA_PROTO of our entries. Not one of those FRR uses
for itself (11, 42, 186-198), which zebra would sweep at its start and never redistribute."""

MAIN_TABLE = 254
"""`redistribute kernel` looks at no other (facts: redistribute table N is broken)."""


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route of the kernel's main table; `priority` is the kernel's metric, `kind` "" for a
    unicast one, else blackhole, unreachable or prohibit."""

    destination: IPv4Network
    device: str
    protocol: int = PROTOCOL
    scope: int = 253  # link
    priority: int = 0
    gateway: IPv4Address | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    """A permanent neighbour entry (`mac`), or a proxy entry (`mac` is empty)."""

    address: IPv4Address
    device: str
    mac: str = ""
    protocol: int = PROTOCOL
    permanent: bool = True

    @property
    def proxy(self) -> bool:
        return not self.mac


@dataclass(frozen=True, slots=True, order=True)
class DeviceAddress:
    """An address of an interface, with the protocol that says who put it there."""

    device: str
    address: IPv4Interface
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True, order=True)
class BridgeMac:
    """The MAC of a guest bridge, set so that it stays, and the same on every node.

    A bridge takes the lowest MAC of its ports, so it changes when guests start and stop. Then
    the kernel drops every neighbour entry of the bridge, permanent ones too (measured), and
    the guests send to a gateway MAC that is no more. One that an administrator has set stays
    as it is.
    """

    device: str
    mac: str
    """"" stands for one that nobody else has."""


Item = BridgeMac | Route | Neighbour | DeviceAddress | Sysctl | GuestFilter | Permit


@dataclass(frozen=True, slots=True)
class KernelState:
    """What the kernel holds now, ours and others'.

    `routes` is the main table (IPv4 unicast), `neighbours` and `proxies` every entry,
    `sysctls` the present values of those asked for, `filter` what is in our nft table.
    """

    interfaces: tuple[Interface, ...] = ()
    routes: frozenset[Route] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    proxies: frozenset[Neighbour] = frozenset()
    addresses: frozenset[DeviceAddress] = frozenset()
    sysctls: frozenset[Sysctl] = frozenset()
    filter: FilterState = FilterState()

    def next_hops(self) -> frozenset[IPv4Address]:
        """Every gateway a route of this node uses."""
        return frozenset(r.gateway for r in self.routes if r.gateway)

    def incumbents(self) -> dict[IPv4Address, str]:
        """Address → MAC of what is installed by us."""
        return {n.address: n.mac for n in self.neighbours if is_ours(n)}


@dataclass(frozen=True, slots=True)
class Change:
    """One step; "replace" makes it so whatever was there, and never deletes first."""

    action: Literal["replace", "delete"]
    item: Item

    def __str__(self) -> str:
        return f"{self.action} {describe(self.item)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order they must happen, and what stands in the way of others."""

    changes: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = field(default=())


def is_ours(item: Route | Neighbour | DeviceAddress) -> bool:
    """Whether pve-ospf put this into the kernel."""
    return item.protocol == PROTOCOL


def describe(item: Item) -> str:
    """The item as `ip` and `sysctl` would write it."""
    match item:
        case Route() if item.kind:
            return f"{item.kind} route {item.destination}"
        case Route():
            return f"route {item.destination} dev {item.device}"
        case Neighbour() if item.proxy:
            return f"proxy entry {item.address} dev {item.device}"
        case Neighbour():
            return f"neighbour {item.address} lladdr {item.mac} dev {item.device}"
        case BridgeMac():
            return f"link {item.device} address {item.mac or 'of its own'}"
        case DeviceAddress():
            return f"address {item.address} dev {item.device}"
        case Sysctl():
            return f"net.ipv4.{item.tree}.{item.device}.{item.name} = {item.value}"
        case GuestFilter():
            on = f" on {', '.join(sorted(item.bridges))}" if item.bridges else ""
            return f"guest filter{on} (nft table netdev {guestfilter.TABLE})"
        case Permit():
            return f"permit {item.address} from {item.mac} on {item.device}"


@repeated
def plan(desired: Desired, roles: Roles, state: KernelState, away: Collection[str] = (),
         kept: Collection[Sysctl] = ()) -> Plan:
    """The shortest way from `state` to what should be.

    Bridges are made ready first. An announcement gets its permit and its neighbour entry
    before its route, so that the first packet finds its way; a withdrawal takes the route
    first. What nobody claims is kept while a running guest could not be read
    (`desired.unknown`). On the uplinks `away`, where ARP is answered for guests that are
    elsewhere, no redirects are sent; `kept` are values as they were before we changed them,
    which are given back where nothing calls for ours.
    """
    findings: list[Finding] = []
    others = _others(state)
    free = [a for a in desired.announcements if not _taken(a, others, findings)]
    routes = [Route(IPv4Network(a.address), a.device) for a in free]
    neighbours = [Neighbour(a.address, a.device, a.mac) for a in free]
    proxies = [Neighbour(a.address, a.uplink) for a in free
               if a.uplink and a.uplink != a.device]
    macs = _macs(roles, state)
    unset = {m.device for m in macs}
    lasting = [n for n in state.neighbours if n.device not in unset]
    table = guestfilter.wanted(roles.filtered, [
        Permit(a.device, a.mac, a.address) for a in desired.announcements])
    findings += _unknown_filter(roles, state)
    makes: Iterable[Item] = (*_missing_entries(neighbours, lasting),
                             *sorted(r for r in routes if r not in state.routes),
                             *_missing_entries(proxies, state.proxies))
    drops: Iterable[Item] = (*_stale_routes(routes, desired, state),
                             *_stale_entries(proxies, desired, state, state.proxies),
                             *_stale_entries(neighbours, desired, state, state.neighbours),
                             *_stale_permits(table, desired, state))
    answering = [*prompt(p.device for p in proxies), *without_redirects(away)]
    return Plan((*(Change("replace", item) for item in (
                     *macs, *_bridges(roles, state), *_filter(table, state),
                     *makes)),
                 *(Change("delete", item) for item in drops),
                 *(Change("replace", s) for s in answering if s not in state.sysctls),
                 *_released(set(kept) - in_use(kept, roles, away), _left(roles, state), kept,
                            state)), tuple(findings))


def removal(state: KernelState, kept: Collection[Sysctl] = ()) -> Plan:
    """Everything of ours out of the kernel, for the removal of the package; `kept` as for
    plan()."""
    return Plan((
        *(Change("delete", r) for r in sorted(state.routes) if is_ours(r)),
        *(Change("delete", n) for n in sorted(state.proxies | state.neighbours) if is_ours(n)),
        *(Change("replace", mac) for mac in _macs(Roles(), state)),
        *(Change("delete", GuestFilter()) for _ in range(state.filter.present)),
        *_released(kept, _left(Roles(), state), kept, state)))


def _left(roles: Roles, state: KernelState) -> list[DeviceAddress]:
    """Our gateway on what is no guest bridge of ours any more."""
    closed = {b.name for b in roles.closed_bridges}
    return sorted(a for a in state.addresses if is_ours(a) and a.device not in closed)


def _bridges(roles: Roles, state: KernelState) -> Iterable[Item]:
    present = {a.device for a in state.addresses if a.address == GATEWAY}
    yield from (DeviceAddress(device, GATEWAY)
                for device in sorted({b.name for b in roles.closed_bridges} - present))
    yield from (s for s in bridge_sysctls(roles) if s not in state.sysctls)


def _macs(roles: Roles, state: KernelState) -> list[BridgeMac]:
    """Setting one makes the kernel drop the bridge's entries."""
    closed = {b.name for b in roles.closed_bridges}
    unset = [b for b in roles.guest_bridges if not b.mac_stays]
    found = [BridgeMac(b.name, GATEWAY_MAC) for b in unset if b.name in closed]
    # With an address of its own a bridge keeps the MAC it has: it is nobody else's.
    found += [BridgeMac(b.name, b.mac) for b in unset if b.name not in closed and b.mac
              and b.kind == "bridge" and not has_foreign_port(b, state.interfaces)]
    # In one LAN with another node's bridge, the common MAC would be a duplicate.
    found += [BridgeMac(b.name, _own_mac(b, state.interfaces)) for b in state.interfaces
              if b.kind == "bridge" and b.mac == GATEWAY_MAC and b.name not in closed]
    return found


def _own_mac(bridge: Interface, interfaces: Collection[Interface]) -> str:
    """The lowest of its ports', as the kernel would choose; "" without a port."""
    return min((i.mac for i in interfaces if i.master == bridge.name), default="")


def _released(back: Iterable[Sysctl], gateways: Collection[DeviceAddress],
              kept: Collection[Sysctl], state: KernelState) -> Iterable[Change]:
    """Bridges that serve guests no more give back what they were given: one that got a NIC
    would answer ARP for that whole LAN.

    Last of all: with its last address the kernel drops a bridge's routes without a word, and
    zebra goes on announcing them.
    """
    there = {ALL, *(i.name for i in state.interfaces), *(a.device for a in gateways)}
    known = {s.device for s in kept}
    # Where nothing was kept, /run was cleared: the kernel's defaults it is then.
    lost = [s for a in gateways if a.device not in known
            for s in (Sysctl("conf", a.device, "proxy_arp", 0),
                      Sysctl("neigh", a.device, "proxy_delay", 80))]
    yield from (Change("replace", s) for s in sorted({*back, *lost})
                if s.device in there and s not in state.sysctls)
    yield from (Change("delete", a) for a in gateways)


def _others(state: KernelState) -> dict[IPv4Address, list[Route | Neighbour]]:
    """Host → what of other people's would be in the way of an announcement."""
    found: dict[IPv4Address, list[Route | Neighbour]] = {}
    for route in state.routes:
        if not is_ours(route) and (route.destination.prefixlen, route.priority) == (32, 0):
            found.setdefault(route.destination.network_address, []).append(route)
    for entry in state.neighbours:
        if entry.permanent and not is_ours(entry):
            found.setdefault(entry.address, []).append(entry)
    return found


def _taken(wanted: Announcement, others: Mapping[IPv4Address, list[Route | Neighbour]],
           findings: list[Finding]) -> bool:
    """Whether somebody else's route or permanent entry holds the place of ours.

    Replacing it would destroy what an administrator made; so it stays, and is named.
    """
    for other in others.get(wanted.address, ()):
        if isinstance(other, Neighbour) and (
                other.device != wanted.device or other.mac == wanted.mac):
            continue
        findings.append(Finding(
            "foreign", str(wanted.address), f"not announced: there is a {describe(other)} "
            "that is not ours", "remove it, if nothing else needs it"))
        return True
    return False


def _missing_entries(wanted: Iterable[Neighbour],
                     present: Iterable[Neighbour]) -> Iterable[Neighbour]:
    """An administrator's own permanent entry that says the same serves as well as ours."""
    there = {(n.address, n.device, n.mac) for n in present if n.permanent}
    return sorted(n for n in wanted if (n.address, n.device, n.mac) not in there)


def _stale_routes(wanted: Iterable[Route], desired: Desired,
                  state: KernelState) -> Iterable[Route]:
    keep = {(r.destination, r.priority) for r in wanted}
    return sorted(r for r in state.routes if is_ours(r)
                  and (r.destination, r.priority) not in keep
                  and not _perhaps(desired, r.destination.network_address, state))


def _stale_entries(wanted: Iterable[Neighbour], desired: Desired, state: KernelState,
                   present: Iterable[Neighbour]) -> Iterable[Neighbour]:
    keep = {(n.address, n.device) for n in wanted}
    return sorted(n for n in present if is_ours(n) and (n.address, n.device) not in keep
                  and not _perhaps(desired, n.address, state))


def _filter(table: GuestFilter, state: KernelState) -> Iterable[GuestFilter | Permit]:
    return guestfilter.makes(table, state.filter, [i.name for i in state.interfaces])


def _stale_permits(table: GuestFilter, desired: Desired,
                   state: KernelState) -> Iterable[GuestFilter | Permit]:
    return (item for item in guestfilter.drops(table, state.filter)
            if isinstance(item, GuestFilter) or not _perhaps(desired, item.address, state))


def _unknown_filter(roles: Roles, state: KernelState) -> Iterable[Finding]:
    if roles.filtered and state.filter.problem:
        yield Finding("filter-unread", "guest filter", state.filter.problem,
                      f"see: nft list table netdev {guestfilter.TABLE}")


def _perhaps(desired: Desired, address: IPv4Address, state: KernelState) -> bool:
    """A running guest could not be read, and no other guest claims the address with the MAC
    it is installed for: it may be that guest's."""
    return desired.unknown and (address, state.incumbents().get(address)) not in desired.claimed
