"""Pure: what is ours in the kernel, and the changes that lead from what is to what should be.

"Ours" is decided here and nowhere else, by the protocol number every piece carries, so that a
fresh process with no memory recognises its own work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal

from .announce import Desired
from .interfaces import Roles
from .model import GATEWAY, GATEWAY_MAC, Announcement, Finding, Interface

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
class Sysctl:
    """A value below net.ipv4 for one interface; `tree` is "conf" or "neigh"."""

    tree: Literal["conf", "neigh"]
    device: str
    name: str
    value: int

    @property
    def path(self) -> str:
        return f"/proc/sys/net/ipv4/{self.tree}/{self.device}/{self.name}"


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


Item = BridgeMac | Route | Neighbour | DeviceAddress | Sysctl


@dataclass(frozen=True, slots=True)
class KernelState:
    """What the kernel holds now, ours and others'.

    `routes` is the main table (IPv4 unicast), `neighbours` and `proxies` every entry,
    `sysctls` the present values of those asked for.
    """

    interfaces: tuple[Interface, ...] = ()
    routes: frozenset[Route] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    proxies: frozenset[Neighbour] = frozenset()
    addresses: frozenset[DeviceAddress] = frozenset()
    sysctls: frozenset[Sysctl] = frozenset()

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
            return f"link {item.device} address {item.mac}"
        case DeviceAddress():
            return f"address {item.address} dev {item.device}"
        case Sysctl():
            return f"net.ipv4.{item.tree}.{item.device}.{item.name} = {item.value}"


def wanted_sysctls(roles: Roles) -> tuple[Sysctl, ...]:
    """Forwarding on uplinks and guest bridges; on the latter alone, answers for any gateway.

    proxy_delay 0, because the kernel otherwise delays each proxied answer by up to 0.8 s.
    proxy_arp is never set on an uplink: it would answer for the whole network there.
    """
    wanted = [Sysctl("conf", i.name, "forwarding", 1) for i in (*roles.uplinks,
                                                                 *roles.guest_bridges)]
    for bridge in roles.closed_bridges:
        wanted += [Sysctl("conf", bridge.name, "proxy_arp", 1),
                   Sysctl("neigh", bridge.name, "proxy_delay", 0)]
    return tuple(sorted(set(wanted)))


def watched_sysctls(roles: Roles) -> tuple[Sysctl, ...]:
    """Whichever plan() may want to know, as it would have them."""
    names = [i.name for i in roles.uplinks]
    return (*wanted_sysctls(roles), *_prompt(names), *_without_redirects(names))


def _prompt(devices: Iterable[str]) -> list[Sysctl]:
    """Where a proxy entry answers, it answers at once: the kernel's default delays it by up to
    0.8 s."""
    return [Sysctl("neigh", device, "proxy_delay", 0) for device in sorted(set(devices))]


def _without_redirects(devices: Iterable[str]) -> list[Sysctl]:
    """Where a node answers ARP for a guest that is away, what comes leaves by the same interface,
    and the kernel would send the neighbour past us, to a gateway that is no better a way to an
    address it takes for on-link. It does while `all` or the interface's own value says so."""
    names = sorted(set(devices))
    return [Sysctl("conf", device, "send_redirects", 0) for device in (*names, "all") if names]


def silenced(changes: Iterable[Change]) -> frozenset[str]:
    """The interfaces (and "all") whose redirects these changes turn off.

    A sysctl cannot say who set it. So the caller keeps these names below /run, where they last
    as long as the values: from before the changes are made until plan() has none to turn on
    again. What was off already is never in it."""
    return frozenset(c.item.device for c in changes if isinstance(c.item, Sysctl)
                     and (c.item.name, c.item.value) == ("send_redirects", 0))


def _redirects(away: Collection[str], kept: Collection[str],
               state: KernelState) -> Iterable[Change]:
    wanted = _without_redirects(away)
    yield from (Change("replace", sysctl) for sysctl in wanted if sysctl not in state.sysctls)
    there = {"all", *(i.name for i in state.interfaces)}
    back = [Sysctl("conf", device, "send_redirects", 1)
            for device in sorted(set(kept) & there - {s.device for s in wanted})]
    yield from (Change("replace", sysctl) for sysctl in back if sysctl not in state.sysctls)


def plan(desired: Desired, roles: Roles, state: KernelState, away: Collection[str] = (),
         kept: Collection[str] = ()) -> Plan:
    """The shortest way from `state` to what should be.

    Bridges are made ready first. An announcement gets its neighbour entry before its route,
    so that the first packet finds its way; a withdrawal takes the route first. What nobody
    claims is kept while a running guest could not be read (`desired.unknown`). On the uplinks
    `away`, where ARP is answered for guests that are elsewhere, no redirects are sent; `kept` are
    the interfaces on which we turned them off, and which get them back when none is away.
    """
    findings: list[Finding] = []
    others = _others(state)
    free = [a for a in desired.announcements if not _taken(a, others, findings)]
    routes = [Route(IPv4Network(a.address), a.device) for a in free]
    neighbours = [Neighbour(a.address, a.device, a.mac) for a in free]
    proxies = [Neighbour(a.address, a.uplink) for a in free
               if a.uplink and a.uplink != a.device]
    unset = {b.name for b in roles.closed_bridges if not b.mac_stays}
    lasting = [n for n in state.neighbours if n.device not in unset]
    makes: Iterable[Item] = (*_missing_entries(neighbours, lasting),
                             *sorted(r for r in routes if r not in state.routes),
                             *_missing_entries(proxies, state.proxies))
    drops: Iterable[Item] = (*_stale_routes(routes, desired, state),
                             *_stale_entries(proxies, desired, state, state.proxies),
                             *_stale_entries(neighbours, desired, state, state.neighbours))
    return Plan((*_bridges(roles, state),
                 *(Change("replace", item) for item in makes),
                 *(Change("replace", sysctl) for sysctl in _prompt(p.device for p in proxies)
                   if sysctl not in state.sysctls),
                 *(Change("delete", item) for item in drops),
                 *_redirects(away, kept, state),
                 *_released(roles, state)), tuple(findings))


def removal(state: KernelState, kept: Collection[str] = ()) -> Plan:
    """Everything of ours out of the kernel, for the removal of the package; `kept` as for
    plan()."""
    bridges = {a.device for a in state.addresses if is_ours(a)}
    delayed = bridges | {n.device for n in state.proxies if is_ours(n)}
    return Plan((
        *(Change("delete", r) for r in sorted(state.routes) if is_ours(r)),
        *(Change("delete", n) for n in sorted(state.proxies | state.neighbours) if is_ours(n)),
        *(Change("delete", a) for a in sorted(state.addresses) if is_ours(a)),
        *(Change("replace", Sysctl("conf", b, "proxy_arp", 0)) for b in sorted(bridges)),
        *(Change("replace", Sysctl("neigh", b, "proxy_delay", 80)) for b in sorted(delayed)),
        *_redirects((), kept, state)))


def _bridges(roles: Roles, state: KernelState) -> Iterable[Change]:
    own = {b.name for b in roles.closed_bridges}
    present = {a.device for a in state.addresses if a.address == GATEWAY}
    for bridge in roles.closed_bridges:
        if not bridge.mac_stays:
            yield Change("replace", BridgeMac(bridge.name, GATEWAY_MAC))
    for device in sorted(own - present):
        yield Change("replace", DeviceAddress(device, GATEWAY))
    for sysctl in wanted_sysctls(roles):
        if sysctl not in state.sysctls:
            yield Change("replace", sysctl)


def _released(roles: Roles, state: KernelState) -> Iterable[Change]:
    """Bridges that serve guests no more give back what they were given: one that got a NIC
    would answer ARP for that whole LAN.

    Last of all: with its last address the kernel drops a bridge's routes without a word, and
    zebra goes on announcing them.
    """
    own = {b.name for b in roles.closed_bridges}
    for address in sorted(state.addresses):
        if is_ours(address) and address.device not in own:
            yield Change("replace", Sysctl("conf", address.device, "proxy_arp", 0))
            yield Change("replace", Sysctl("neigh", address.device, "proxy_delay", 80))
            yield Change("delete", address)


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


def _perhaps(desired: Desired, address: IPv4Address, state: KernelState) -> bool:
    """A running guest could not be read, and no other guest claims the address with the MAC
    it is installed for: it may be that guest's."""
    return desired.unknown and (address, state.incumbents().get(address)) not in desired.claimed
