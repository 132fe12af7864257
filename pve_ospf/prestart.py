"""May a guest start with the addresses its configuration claims?

Refused are only addresses that the policy forbids, or that another guest of the cluster runs
with; what cannot be known is told, and not refused. A guest that a live migration brings, or
that is recovered after its node died, is never refused because the old announcement is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from . import lsdb, onlink, pve, vtysh
from .announce import Claim, claims, device_of, forbidden
from .errors import CannotTell
from .model import Finding, Guest
from .picture import Picture
from .routes import is_ours


@dataclass(frozen=True, slots=True)
class Verdict:
    """`refusal` None: it may start. `warnings` are for the journal."""

    refusal: Finding | None = None
    warnings: tuple[str, ...] = ()


def verdict(picture: Picture, guest: Guest, source: str | None) -> Verdict:
    """`source`: the node a live migration brings the guest from (PVE_MIGRATED_FROM)."""
    warnings = []
    if not picture.node.never.known:
        warnings.append(f"guest {guest.vmid}: OSPF has no neighbour or cannot be asked: which "
                        "addresses are routers' is known from before only")
    for claim in claims(guest):
        refusal = (forbidden(picture.config, picture.node, claim)
                   or _held(picture, claim, source, warnings))
        if refusal:
            return Verdict(refusal, tuple(warnings))
    return Verdict(_a_strangers(picture, guest, warnings), tuple(warnings))


def needs_asking(picture: Picture, guest: Guest, source: str | None) -> bool:
    """Whether a verdict takes a fresh look, or a question that can take its time: to OSPF, where
    another guest's configuration on another node claims the same address; or to the uplink's
    LAN, where the address is one of its own.

    The routes OSPF put into the kernel are not asked here: a held picture's are as old as the
    picture, and a route learnt since let a duplicate start.
    """
    return any(_arriving(picture, claim) for claim in claims(guest)) or any(
        other.node not in (picture.node.name, source)
        for claim in claims(guest) for other in _others(picture, claim))


def _others(picture: Picture, claim: Claim) -> list[Guest]:
    return [g for g in picture.claimants.get(claim.address, ()) if g.vmid != claim.guest.vmid]


def _held(picture: Picture, claim: Claim, source: str | None,
          warnings: list[str]) -> Finding | None:
    for other in _others(picture, claim):
        if _runs(other, claim, picture, source, warnings):
            return Finding("duplicate", f"guest {claim.guest.vmid}",
                           f"net{claim.net.index} has {claim.address}, which guest "
                           f"{other.vmid} on {other.node} holds and runs with",
                           "give one of the two another address")
        warnings.append(f"guest {claim.guest.vmid}: {claim.address} stands in the "
                        f"configuration of guest {other.vmid} on {other.node} too")
    return None


def _runs(other: Guest, claim: Claim, picture: Picture, source: str | None,
          warnings: list[str]) -> bool:
    """Whether `other` runs with the address, as far as it can be known.

    On another node only OSPF tells: its node's own router announces the address, and can be
    reached. Another router's announcement is not enough, for it can be this guest's own, left
    behind on the node it just came from: by a migration (that node announces it still), or
    by a death (the LSA lives on for up to an hour, but no route follows from it).
    """
    if other.node == picture.node.name:
        return other.vmid in picture.node.running
    if other.node == source or not _reached(claim, picture):
        return False
    try:
        externals = lsdb.externals(vtysh.show(lsdb.EXTERNALS))
        routers = lsdb.router_addresses(vtysh.show(lsdb.ROUTERS))
    except CannotTell as error:
        warnings.append(f"guest {claim.guest.vmid}: whether guest {other.vmid} on "
                        f"{other.node} runs is not known: {error.message}")
        return False
    theirs = pve.node_addresses().get(other.node, frozenset())
    return any(lsa.prefix.network_address == claim.address and lsa.prefix.prefixlen == 32
               and theirs & {lsa.adv_router, *routers.get(lsa.adv_router, ())}
               for lsa in externals)


def _arriving(picture: Picture, claim: Claim) -> str | None:
    """The uplink on which the address would be taken by a proxy entry, if it is not yet."""
    uplink = picture.node.roles.uplink_holding(claim.address)
    if not uplink or uplink.name == device_of(claim.net, picture.node.interfaces) or any(
            (p.device, p.address) == (uplink.name, claim.address) for p in picture.state.proxies):
        return None
    return uplink.name


def _a_strangers(picture: Picture, guest: Guest, warnings: list[str]) -> Finding | None:
    """Last, and all at once on each uplink: it takes 0.3 s, and a hook has two."""
    arriving: dict[str, list[IPv4Address]] = {}
    for claim in claims(guest):
        uplink = _arriving(picture, claim)
        if uplink:
            arriving.setdefault(uplink, []).append(claim.address)
    for uplink, addresses in arriving.items():
        try:
            found = onlink.strangers(picture, uplink, addresses, anew=True)
        except CannotTell as error:
            warnings.append(f"guest {guest.vmid}: whether {', '.join(map(str, addresses))} is "
                            f"free is not known: {error.message}")
            continue
        for address, mac in found.items():
            return onlink.held(guest.vmid, address, uplink, mac)
    return None


def _reached(claim: Claim, picture: Picture) -> bool:
    """Whether OSPF has put a route to the address into this node's kernel."""
    return any(route.destination == IPv4Network(claim.address) and not is_ours(route)
               for route in picture.state.routes)
