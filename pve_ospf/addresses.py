"""Pure: address by address, along its way: guest → kernel → zebra → own LSA.

Of a chain only the first broken link is a finding: what the kernel lacks cannot be in zebra
or in an LSA. And where a later link outlives an earlier one, the finding says what keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network

from .announce import claims
from .evidence import Mark, Readings, Row, Unread, Verdict, known
from .lsdb import ExternalLsa, KernelRoute
from .model import Announcement, Finding
from .routes import Route, describe, is_ours


@dataclass(frozen=True, slots=True)
class Places:
    """Where each address is to be found.

    `ours` are our kernel routes and `kernel` everybody's; `zebra` the kernel routes it uses;
    `lsas` our LSAs that somebody outside gets to see. `undecided`: ours, and perhaps a running
    guest's whose configuration could not be read. `strays`: in use, but announced for nobody.
    """

    ours: Mapping[IPv4Address, Route]
    kernel: Mapping[IPv4Network, Route]
    zebra: Mapping[IPv4Address, KernelRoute]
    lsas: Mapping[IPv4Address, ExternalLsa]
    undecided: Set[IPv4Address]
    strays: Set[IPv4Address]


def places(readings: Readings) -> Places:
    """The readings by address."""
    ours = {r.destination.network_address: r for r in readings.state.routes
            if is_ours(r) and r.destination.prefixlen == 32}
    kernel = {r.destination: r for r in readings.state.routes}
    zebra = {r.prefix.network_address: r for r in known(readings.zebra, ())
             if r.prefix.prefixlen == 32 and r.selected}
    lsas = _visible_lsas(readings)
    undecided = _undecided(readings, ours.keys())
    # A host route of the administrator's own is his business, but what zebra has and the
    # kernel has not is a leftover.
    present = {*ours, *(a for a in lsas if is_guests(IPv4Network(a), readings)),
               *(a for a, r in zebra.items() if r.prefix not in kernel
                 and (readings.roles.is_guest_bridge(r.interface)
                      or is_guests(r.prefix, readings)))}
    strays = present - {a.address for a in readings.announcements} - undecided
    return Places(ours, kernel, zebra, lsas, undecided, strays)


def is_guests(prefix: IPv4Network, readings: Readings) -> bool:
    """A host that `allow` gives to guests: nobody but us has cause to announce it."""
    return prefix.prefixlen == 32 and any(
        prefix.subnet_of(entry.prefix) for entry in readings.config.allow)


def address_findings(readings: Readings, where: Places) -> Iterator[Finding]:
    """What is wrong behind the kernel (the kernel's own part is what a sync would change)."""
    for announcement in readings.announcements:
        finding = _broken(announcement, readings, where)
        if finding:
            yield finding
    if not isinstance(readings.guests, Unread):
        yield from _left_over(where)


def rows(readings: Readings, where: Places) -> Iterator[Row]:
    """One row an address: what belongs here, what was refused, and what is left over."""
    unknown = isinstance(readings.guests, Unread)
    names = {} if isinstance(readings.guests, Unread) else {
        g.vmid: g.name for g in readings.guests.own}
    for wanted in readings.announcements:
        yield _announced_row(wanted, names.get(wanted.vmid, ""), readings, where)
    yield from _refused_rows(readings)
    stray = partial(_stray_row, readings=readings, where=where)
    yield from (stray(a, verdict="unknown") for a in sorted(where.undecided))
    yield from (stray(a, verdict="unknown" if unknown else "extra") for a in sorted(where.strays))


def _visible_lsas(readings: Readings) -> dict[IPv4Address, ExternalLsa]:
    """A type-5 never leaves an NSSA or a stub area, though FRR lists it as if it did."""
    kinds = {i.area_kind for i in readings.ospf_interfaces if i.enabled}
    if kinds and "normal" not in kinds:
        return {}
    return {e.prefix.network_address: e for e in known(readings.lsas, ())
            if e.prefix.prefixlen == 32}


def _undecided(readings: Readings, ours: Set[IPv4Address]) -> Set[IPv4Address]:
    if isinstance(readings.guests, Unread):
        return set(ours)
    desired = readings.guests.desired
    macs = readings.state.incumbents()
    return {a for a in ours if desired.unknown and (a, macs.get(a)) not in desired.claimed}


def _broken(wanted: Announcement, readings: Readings, where: Places) -> Finding | None:
    """The first broken link behind the kernel, or None."""
    subject, route = str(wanted.address), Route(IPv4Network(wanted.address), wanted.device)
    if route not in readings.state.routes:
        return None
    if not isinstance(readings.zebra, Unread) and not _in_zebra(wanted, where):
        return Finding("missing-zebra", subject, f"the kernel has guest {wanted.vmid}'s route, "
                       "but FRR's zebra does not",
                       f"ip route del {route.destination} dev {route.device}; pve-ospf sync")
    announced = wanted.address in where.lsas
    if wanted.uplink and announced:
        return Finding("extra-lsa", subject, f"is inside {wanted.uplink}'s own subnet, which is "
                       "known to everyone, and is announced all the same", "pve-ospf apply")
    if not wanted.uplink and not announced and _lsas_tell(readings):
        return Finding("missing-lsa", subject, f"zebra has guest {wanted.vmid}'s route, but OSPF "
                       "does not announce it", "pve-ospf apply; if it finds nothing to change, "
                       "ospfd has lost its redistribution: systemctl restart frr")
    return None


def _in_zebra(wanted: Announcement, where: Places) -> bool:
    found = where.zebra.get(wanted.address)
    return found is not None and found.interface == wanted.device


def _lsas_tell(readings: Readings) -> bool:
    """Whether a missing LSA means anything by itself: not where OSPF is not set up or its area
    carries none, which is a finding of its own."""
    if isinstance(readings.lsas, Unread):
        return False
    return any(i.enabled and i.area_kind == "normal" for i in readings.ospf_interfaces)


def _left_over(where: Places) -> Iterator[Finding]:
    """What zebra and OSPF keep of addresses that no guest here has any more."""
    for address in sorted(where.strays - where.ours.keys()):
        zebra, foreign = where.zebra.get(address), where.kernel.get(IPv4Network(address))
        if zebra and not foreign:
            route = f"{zebra.prefix} dev {zebra.interface}"
            yield Finding("extra-zebra", str(address), "zebra keeps a route that the kernel no "
                          "longer has", f"ip route add {route} && ip route del {route}")
        elif foreign:
            yield Finding("extra-lsa", str(address), "is announced for no running guest of this "
                          f"node, but for a {describe(foreign)} that is not ours",
                          "remove that route, or take the address out of 'allow'")
        else:
            yield Finding("extra-lsa", str(address), "is announced, though no running guest of "
                          "this node has it", "if no `redistribute` of your own does that, ospfd "
                          "has lost track: systemctl restart frr")


def _announced_row(wanted: Announcement, name: str, readings: Readings, where: Places) -> Row:
    route = Route(IPv4Network(wanted.address), wanted.device)
    kernel = _mark(route in readings.state.routes)
    zebra = _mark(_in_zebra(wanted, where), readings.zebra)
    lsa = _mark(wanted.address in where.lsas, readings.lsas)
    if wanted.uplink and lsa == "no":
        lsa = "-"
    verdict: Verdict = "on-link" if wanted.uplink else "agrees"
    if "no" in (kernel, zebra, lsa):
        verdict = "missing"
    elif wanted.uplink and lsa == "yes":
        verdict = "extra"
    elif "?" in (zebra, lsa):
        verdict = "unknown"
    return Row(wanted.address, wanted.vmid, name, wanted.device, kernel, zebra, lsa, verdict)


def _refused_rows(readings: Readings) -> Iterator[Row]:
    """Running attached guests whose address is not announced: the findings say why."""
    if isinstance(readings.guests, Unread):
        return
    served = {(a.vmid, a.address) for a in readings.announcements}
    for guest in readings.guests.own:
        if not (guest.attached and guest.vmid in readings.guests.running):
            continue
        for claim in claims(guest):
            if (guest.vmid, claim.address) not in served:
                yield Row(claim.address, guest.vmid, guest.name, claim.net.bridge,
                          "-", "-", "-", "refused")


def _stray_row(address: IPv4Address, verdict: Verdict, readings: Readings, where: Places) -> Row:
    """Here any kernel route counts, not ours alone: it is what the LSA is for."""
    route = where.ours.get(address) or where.kernel.get(IPv4Network(address))
    zebra = where.zebra.get(address)
    device = route.device if route else zebra.interface if zebra else ""
    return Row(address, 0, "", device, _mark(route is not None),
               _mark(zebra is not None, readings.zebra),
               _mark(address in where.lsas, readings.lsas), verdict)


def _mark(present: bool, part: object = None) -> Mark:
    if isinstance(part, Unread):
        return "?"
    return "yes" if present else "no"
