"""Addresses of an uplink's own subnet: nobody else's before they are taken, announced by ARP.

The LAN knows such an address by ARP and not by OSPF, so whoever holds it already is found by
asking (home.py, arp.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from . import arp, home, incoming, pve
from .errors import CannotTell
from .home import PerUplink
from .model import Finding
from .picture import Picture
from .routes import Change, Neighbour

ASKED = Path("/run/pve-ospf/asked")
LASTS = 30.0
"""Seconds for which an answer counts: from a guest's pre-start to its post-start, and between
two syncs while a stranger holds the address."""


def free(picture: Picture) -> Picture:
    """`picture` without the addresses that would be taken now and that a stranger holds, each
    of which is a finding. Asks the LAN, for up to 0.3 s; nobody where none is to be taken, and
    not about a VM that a live migration brings: it has held its address all the time, and must
    not be out for as long as asking takes.

    Where an uplink cannot be asked on, being down, its addresses are not taken there yet; what
    is between node and guest does not hang on it, and other guests do not either.
    """
    taken: dict[IPv4Address, str] = {}
    unasked: dict[str, str] = {}
    moved = incoming.expected()
    unsure = [a for a in picture.desired.announcements if a.vmid not in moved]
    for uplink, addresses in home.arriving(unsure, picture.state.proxies).items():
        try:
            taken |= strangers(picture, uplink, addresses)
        except CannotTell as error:
            unasked[uplink] = error.message
    if not (taken or unasked):
        return picture
    announcements, findings = [], list(picture.desired.findings)
    there = {(p.device, p.address) for p in picture.state.proxies}
    for a in picture.desired.announcements:
        if a.address in taken:
            findings.append(held(a.vmid, a.address, str(a.uplink), taken[a.address]))
        elif (a.uplink in unasked and a.uplink != a.device and a.vmid not in moved
                and (a.uplink, a.address) not in there):
            findings.append(Finding("not-asked", f"guest {a.vmid}", f"does not have {a.address} "
                                    f"on {a.uplink} yet: {unasked[a.uplink]}",
                                    f"see: ip link show {a.uplink}"))
            announcements.append(replace(a, uplink=None))
        else:
            announcements.append(a)
    return replace(picture, desired=replace(picture.desired, announcements=tuple(announcements),
                                            findings=tuple(sorted(findings))))


def held(vmid: int, address: IPv4Address, uplink: str, mac: str) -> Finding:
    """The finding that a stranger's MAC answers for the address."""
    return Finding("taken", f"guest {vmid}", f"may not have {address}: {mac} on {uplink} "
                   "answers ARP for it", "give the guest another address")


def strangers(picture: Picture, uplink: str, addresses: Collection[IPv4Address],
              anew: bool = False) -> Mapping[IPv4Address, str]:
    """Of these addresses those that somebody on the LAN has who is no node of the cluster:
    address → MAC. Asks once for all, `anew` whatever was answered lately. Raises CannotTell."""
    known = {} if anew else _asked()
    unknown = [a for a in addresses if a not in known]
    interface = next((i for i in picture.roles.uplinks if i.name == uplink), None)
    if unknown and interface:
        nodes = home.nodes_on(interface, picture.routers.neighbours, pve.node_addresses())
        found = arp.probe(uplink, interface.mac, unknown, nodes=nodes,
                          macs=home.macs_of(nodes, uplink, picture.state.neighbours))
        known = _asked() | {a: (time.monotonic(), found.get(a, "")) for a in unknown}
        _write(ASKED, (f"{a} {when:.3f} {mac}" for a, (when, mac) in known.items()))
    return {a: known[a][1] for a in addresses if a in known and known[a][1]}


def taken(picture: Picture, done: Iterable[Change]) -> PerUplink:
    """The addresses for which `done` has just made a proxy entry, by uplink."""
    fresh = {(c.item.device, c.item.address) for c in done
             if isinstance(c.item, Neighbour) and c.item.proxy and c.action == "replace"}
    return {uplink: frozenset(a for device, a in fresh if device == uplink)
            for uplink, _ in fresh if uplink in macs(picture)}


def macs(picture: Picture) -> dict[str, str]:
    """Uplink → its MAC."""
    return {i.name: i.mac for i in picture.roles.uplinks}


def announce(picture: Picture, addresses: PerUplink) -> None:
    """Says on their LANs that these addresses are here now, twice. Raises CannotTell."""
    for turn in range(2) if addresses else ():
        time.sleep(turn * arp.PAUSE)
        for uplink, several in addresses.items():
            arp.gratuitous(uplink, macs(picture)[uplink], several)


def _asked() -> dict[IPv4Address, tuple[float, str]]:
    """What was found lately: address → when, and whose it is ("": nobody's)."""
    found = {}
    for line in _lines(ASKED):
        try:
            address, when, *mac = line.split()
            if time.monotonic() - float(when) < LASTS:
                found[IPv4Address(address)] = float(when), "".join(mac)
        except (AddressValueError, ValueError):
            continue  # torn by a full disk: it is asked again
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _write(path: Path, lines: Iterable[str]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")  # several hooks may write at once
    try:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
