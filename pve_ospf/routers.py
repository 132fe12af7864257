"""Who is an OSPF router here: addresses that never become a guest's."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from . import lsdb, vtysh
from .errors import CannotTell
from .picture import Routers

MEMORY = Path("/var/lib/pve-ospf/routers")


def read() -> Routers:
    """Asks ospfd.

    With FRR stopped, or started just now and alone still, the last whole answer counts: a
    router's address must not become a guest's because the routers cannot be seen just then.
    It outlives a boot, for guests start before OSPF has a neighbour.
    """
    try:
        neighbours = lsdb.neighbours(vtysh.show(lsdb.NEIGHBOURS))
        routers = vtysh.show(lsdb.ROUTERS)
    except CannotTell:
        return Routers(remembered())
    found = frozenset((*(n.address for n in neighbours), *(n.router_id for n in neighbours),
                       *lsdb.router_ids(routers),
                       *(a for several in lsdb.router_addresses(routers).values()
                         for a in several)))
    if not any(n.full for n in neighbours):
        return Routers(found | remembered(), False, neighbours)
    if found != remembered():
        _remember(found)
    return Routers(found, True, neighbours)


def remembered() -> frozenset[IPv4Address]:
    """The last whole answer."""
    try:
        return frozenset(map(IPv4Address, MEMORY.read_text(encoding="ascii").split()))
    except (OSError, UnicodeDecodeError, AddressValueError):
        return frozenset()  # none yet, or torn by a full disk; the next good answer replaces it


def _remember(found: frozenset[IPv4Address]) -> None:
    """Whole or not at all; it only makes a later answer better, so a failure is no error."""
    temporary = MEMORY.with_suffix(".new")
    try:
        MEMORY.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("".join(f"{address}\n" for address in sorted(found)),
                             encoding="ascii")
        temporary.replace(MEMORY)
    except OSError:
        temporary.unlink(missing_ok=True)
