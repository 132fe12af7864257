"""Pure: do the guests that run here, the kernel, zebra and OSPF agree, and is OSPF well?

One row an address, and one finding with its way out for each thing that is wrong. No finding
is made from what could not be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from ipaddress import IPv4Address

from . import auditreport
from .addresses import address_findings, is_guests, places, rows
from .announce import Desired
from .evidence import Readings, Report, Row, Unread, known
from .guestfilter import TABLE, GuestFilter, Permit
from .model import Announcement, Finding
from .ospfhealth import daemon_findings, neighbour_fine, ospf_findings
from .routes import BridgeMac, Change, DeviceAddress, Neighbour, Plan, Route, describe, plan
from .sysctls import ALL, Sysctl

MAY_PASS = frozenset({
    "missing-route", "extra-route", "missing-zebra", "extra-zebra", "missing-lsa", "extra-lsa",
    "missing-entry", "extra-entry", "missing-gateway", "extra-gateway",
    "missing-permit", "extra-permit", "missing-filter", "extra-filter",
    "no-ospf", "uplink-without-ospf", "uplink-down", "no-neighbour", "neighbour-state", "agent"})
"""Findings that are normal for a moment while a guest, FRR or the agent starts: they only count
once they lasted (readings.py reads again)."""


def compare(readings: Readings, lasting: Collection[tuple[str, str]] | None = None) -> Report:
    """The report. `lasting` are code and subject of the MAY_PASS findings that were there at
    every reading so far; others of that kind are left out and their rows are "settling"."""
    where = places(readings)
    found = [*_kernel(readings), *address_findings(readings, where), *_rest(readings)]
    unsettled = {f for f in found if lasting is not None and f.code in MAY_PASS
                 and (f.code, f.subject) not in lasting}
    subjects = {f.subject for f in unsettled}
    return Report(
        node=readings.node,
        rows=tuple(sorted((_settling(row, subjects) for row in rows(readings, where)),
                          key=lambda row: (not row.vmid, row.vmid, row.address))),
        neighbours=tuple((n, neighbour_fine(n, readings.ospf))
                         for n in known(readings.neighbours, ())),
        others=tuple(e for e in known(readings.lsas, ()) if not is_guests(e.prefix, readings)),
        findings=tuple(dict.fromkeys(f for f in found if f not in unsettled)),
        unread=tuple(dict.fromkeys(_unread(readings))),
        audit=known(readings.audit, None))


def passing(report: Report) -> frozenset[tuple[str, str]]:
    """Code and subject of the findings that may be gone in a moment."""
    return frozenset((f.code, f.subject) for f in report.findings if f.code in MAY_PASS)


def _settling(row: Row, subjects: Collection[str]) -> Row:
    if str(row.address) in subjects and row.verdict in ("missing", "extra"):
        return replace(row, verdict="settling")
    return row


def _unread(readings: Readings) -> Iterator[Unread]:
    parts = (readings.guests, readings.zebra, readings.ospf, readings.lsas, readings.neighbours,
             readings.daemons, readings.differences, readings.audit)
    yield from (part for part in parts if isinstance(part, Unread))
    if not isinstance(readings.guests, Unread):
        yield from (Unread(f.subject, f.message, f.fix)
                    for f in readings.guests.findings if f.code == "unreadable")
    yield from (Unread(f.subject, f.message, f.fix) for f in _plan(readings).findings
                if f.code == "filter-unread")


def _rest(readings: Readings) -> Iterator[Finding]:
    """What concerns no single address."""
    if not isinstance(readings.guests, Unread):
        yield from (f for f in readings.guests.findings if f.code != "unreadable")
        yield from readings.guests.desired.findings
    if not isinstance(readings.daemons, Unread):
        yield from daemon_findings(readings.daemons)
    if not isinstance(readings.ospf, Unread):
        yield from ospf_findings(readings)
    if not isinstance(readings.differences, Unread) and readings.differences:
        yield Finding("configuration-differs", "FRR's configuration",
                      "what is installed is not what the configuration calls for",
                      "see: pve-ospf apply --dry-run; install it: pve-ospf apply")
    yield from _paths(readings)
    yield from readings.node_findings
    if not readings.agent:
        yield Finding("agent", "pve-ospf.service",
                      "no agent answers, so hooks do what they can, and what changes without a "
                      "hook is not noticed", "systemctl start pve-ospf")


def _paths(readings: Readings) -> Iterator[Finding]:
    """What this node itself has to tell the others it tells with the apply that is called for."""
    if not isinstance(readings.audit, Unread):
        yield from (f for f in auditreport.findings(readings.audit)
                    if not (f.code == "tunnels-untold" and f.subject == readings.node
                            and readings.differences))


def _plan(readings: Readings) -> Plan:
    """What a sync would change now; with the guests unknown, only what concerns bridges."""
    desired = (Desired(unknown=True) if isinstance(readings.guests, Unread)
               else readings.guests.desired)
    return plan(desired, readings.roles, readings.state, kept=readings.before)


def _kernel(readings: Readings) -> Iterator[Finding]:
    planned = _plan(readings)
    yield from (f for f in planned.findings if f.code != "filter-unread")
    holders = {a.address: a for a in readings.announcements}
    for change in planned.changes:
        yield _change(change, holders)
    yield from _answering(readings, {c.item for c in planned.changes})


def _change(change: Change, holders: dict[IPv4Address, Announcement]) -> Finding:
    """What a sync would do is what is wrong."""
    item, lacks = change.item, change.action == "replace"
    prefix = "missing" if lacks else "extra"
    match item:
        case Route():
            holder = holders.get(item.destination.network_address)
            text = (f"guest {holder.vmid} runs here without its kernel route" if lacks and holder
                    else f"no running guest of this node has it, but there is a {describe(item)}")
            subject, code = str(item.destination.network_address), f"{prefix}-route"
        case Neighbour():
            text = f"{'there is no' if lacks else 'no guest calls for the'} {describe(item)}"
            subject, code = str(item.address), f"{prefix}-entry"
        case BridgeMac():
            code, subject = "bridge-mac", item.device
            text = "takes its MAC from its ports: with each guest's start or stop it may change"
        case DeviceAddress():
            text = (f"lacks the guests' gateway {item.address}" if lacks
                    else f"is not a guest bridge of ours and has the gateway {item.address}")
            subject, code = item.device, f"{prefix}-gateway"
        case GuestFilter():
            code, subject = f"{prefix}-filter", "guest filter"
            text = (f"the nft table netdev {TABLE} is not as it should be: a guest's OSPF could "
                    "reach routers" if lacks else f"the nft table netdev {TABLE} is there, but "
                    "nothing is to be filtered")
        case Permit():
            code, subject = f"{prefix}-permit", str(item.address)
            text = (f"what its guest sends is dropped: the guest filter lacks the {describe(item)}"
                    if lacks else f"no guest calls for the {describe(item)}")
        case Sysctl():
            code, text = _SYSCTLS[item.name, min(item.value, 1)]
            subject = item.device
    return Finding(code, subject, text, "pve-ospf sync")


def _answering(readings: Readings, back: Collection[object]) -> Iterator[Finding]:
    """Where this node answers ARP for whatever it has a route to, though others are on that LAN,
    and a sync does not change it: somebody else has set it, so it is theirs to take back."""
    shared = sorted({u.name for u in readings.roles.uplinks} | readings.roles.shared)
    for name in (*shared, ALL):
        off = Sysctl("conf", name, "proxy_arp", 0)
        if replace(off, value=1) in readings.state.sysctls and off not in back:
            where = "an uplink" if name != ALL else "on for every interface, uplinks too"
            if name in readings.roles.shared:
                where = "a guest bridge that leads to the network"
            yield Finding(
                "proxy-arp-on", name, f"proxy_arp is set, and it is {where}: this node answers "
                "ARP there for addresses of others",
                f"sysctl -w net.ipv4.conf.{name}.proxy_arp=0; who sets it: "
                "grep -rs proxy_arp /etc/sysctl.conf /etc/sysctl.d /etc/network")


_SYSCTLS = {
    ("forwarding", 1): ("forwarding-off", "does not forward, so packets of guests are dropped"),
    ("proxy_arp", 1): ("proxy-arp-off", "does not answer for the guests' gateways"),
    ("proxy_arp", 0): ("proxy-arp-on", "is no guest bridge, but answers for any address"),
    ("proxy_delay", 1): ("proxy-delay", "is no guest bridge, but has proxy_delay 0"),
    ("proxy_delay", 0): ("proxy-delay", "answers ARP requests for guests up to 0.8 s late")}
