"""What Proxmox calls at each phase of a guest: `VMID PHASE`, as root, with no time limit.

Proxmox waits for the hook, so everything here has an end; only pre-start may refuse, and only
for an address that the policy forbids or that another running guest holds. In post-stop the
output is invisible and too much of it deadlocks the stop: there, and everywhere else, the
journal is told.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import syslog
import time
from collections.abc import Iterator
from ipaddress import IPv4Network

from . import lsdb, pve, vtysh
from .announce import Claim, claims, forbidden
from .errors import CannotTell, PveOspfError
from .model import Finding, Guest
from .routes import is_ours
from .sync import Picture, Result, look, sync

PATIENCE = 30
"""Seconds after which a hook gives up, whatever it waits for."""


class _TimeUp(PveOspfError):
    """The hook took too long, whatever it waited for."""


def main(arguments: list[str]) -> int:
    """The exit code: non-zero only to refuse a start."""
    began = time.monotonic_ns()
    syslog.openlog("pve-ospf", syslog.LOG_PID, syslog.LOG_DAEMON)
    if len(arguments) != 2 or not arguments[0].isdigit():
        print("usage: pve-ospf VMID PHASE (called by Proxmox VE)", file=sys.stderr)
        return 2
    vmid, phase = int(arguments[0]), arguments[1]
    try:
        with _time_limit():
            return _phase(vmid, phase, began)
    except PveOspfError as error:
        _log(syslog.LOG_ERR, f"guest {vmid} {phase}: {error.message}")
    except Exception as error:  # noqa: BLE001 - whatever breaks here must not break the guest
        _log(syslog.LOG_ERR, f"guest {vmid} {phase}: {type(error).__name__}: {error}")
    return 0


def _phase(vmid: int, phase: str, began: int) -> int:
    match phase:
        case "pre-start":
            return _pre_start(vmid)
        case "post-start":
            _synced(vmid, phase, sync(since=began))
        case "post-stop":
            _synced(vmid, phase, sync(stopped=[vmid]))
        case _:
            pass  # pre-stop is no commitment: a shutdown can time out and the guest runs on
    return 0


def _synced(vmid: int, phase: str, result: Result | None) -> None:
    if result is None:
        return  # another hook's sync has done it, and told
    for change in result.plan.changes:
        _log(syslog.LOG_INFO, f"guest {vmid} {phase}: {change}")
    for change_text, reason in result.failed:
        _log(syslog.LOG_ERR, f"guest {vmid} {phase}: {change_text} failed: {reason}")
    for finding in result.findings:
        _log(syslog.LOG_WARNING, f"{finding.subject}: {finding.message}; {finding.fix}")


def _pre_start(vmid: int) -> int:
    picture = look()
    guest = picture.cluster.guest(vmid)
    if guest is None or not guest.attached:
        return 0
    if not picture.node.never.known:
        _log(syslog.LOG_WARNING, f"guest {vmid}: OSPF has no neighbour or cannot be asked: which "
             "addresses are routers' is known from before only")
    for claim in claims(guest):
        refusal = _refusal(picture, claim)
        if refusal:
            print(f"pve-ospf: guest {vmid}: {refusal.message}; {refusal.fix}", file=sys.stderr)
            _log(syslog.LOG_ERR, f"guest {vmid} refused: {refusal.message}")
            return 1
    return 0


def _refusal(picture: Picture, claim: Claim) -> Finding | None:
    refused = forbidden(picture.config, picture.node, claim)
    if refused:
        return refused
    for other in picture.cluster.guests:
        if other.vmid != claim.guest.vmid and any(
                c.address == claim.address for c in claims(other)):
            if _runs(other, claim, picture):
                return Finding("duplicate", f"guest {claim.guest.vmid}",
                               f"net{claim.net.index} has {claim.address}, which guest "
                               f"{other.vmid} on {other.node} holds and runs with",
                               "give one of the two another address")
            _log(syslog.LOG_WARNING, f"guest {claim.guest.vmid}: {claim.address} stands in the "
                 f"configuration of guest {other.vmid} on {other.node} too")
    return None


def _runs(other: Guest, claim: Claim, picture: Picture) -> bool:
    """Whether `other` runs with the address, as far as it can be known.

    On another node only OSPF tells: its node's own router announces the address, and can be
    reached. Another router's announcement is not enough, for it can be this guest's own, left
    behind on the node it just came from: by a migration (that node announces it still), or
    by a death (the LSA lives on for up to an hour, but no route follows from it).
    """
    if other.node == picture.node.name:
        return other.vmid in picture.node.running
    if other.node == os.environ.get("PVE_MIGRATED_FROM") or not _reached(claim, picture):
        return False
    try:
        externals = lsdb.externals(vtysh.show(lsdb.EXTERNALS))
        routers = lsdb.router_addresses(vtysh.show(lsdb.ROUTERS))
    except CannotTell as error:
        _log(syslog.LOG_WARNING, f"guest {claim.guest.vmid}: whether guest {other.vmid} on "
             f"{other.node} runs is not known: {error.message}")
        return False
    theirs = pve.node_addresses().get(other.node, frozenset())
    return any(lsa.prefix.network_address == claim.address and lsa.prefix.prefixlen == 32
               and theirs & {lsa.adv_router, *routers.get(lsa.adv_router, ())}
               for lsa in externals)


def _reached(claim: Claim, picture: Picture) -> bool:
    """Whether OSPF has put a route to the address into this node's kernel."""
    return any(route.destination == IPv4Network(claim.address) and not is_ours(route)
               for route in picture.state.routes)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def give_up(_signal: int, _frame: object) -> None:
        raise _TimeUp(f"given up after {PATIENCE} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)


def _log(priority: int, message: str) -> None:
    # Guests' names and values are users' text: one line, whatever they hold.
    syslog.syslog(priority, "".join(c if c.isprintable() else "?" for c in message))
