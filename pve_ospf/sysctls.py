"""Pure: the kernel's values for single interfaces: which are wanted, and which are given back.

A sysctl cannot say who set it, and ifupdown2 takes our addresses away. So what a value was
before we changed it is kept (before.py) until it has been set back; what was as we want it
before is an administrator's, and stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from .interfaces import Roles

ALL = "all"
"""In place of an interface's name: what holds for every one of them."""

GIVEN_BACK = frozenset({"proxy_arp", "proxy_delay", "send_redirects"})
"""Not forwarding: what else relies on it by now, nobody can know."""


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


def bridge_sysctls(roles: Roles) -> tuple[Sysctl, ...]:
    """Forwarding on uplinks, guest bridges and tunnels that are let into OSPF; where the guests
    are alone, answers for any gateway, too.

    proxy_delay 0, because the kernel otherwise delays each proxied answer by up to 0.8 s.
    proxy_arp is never set on an uplink: it would answer for the whole network there.
    """
    wanted = [Sysctl("conf", name, "forwarding", 1) for name in (
        *(i.name for i in (*roles.uplinks, *roles.guest_bridges)), *roles.dear)]
    for bridge in roles.closed_bridges:
        wanted += [Sysctl("conf", bridge.name, "proxy_arp", 1),
                   Sysctl("neigh", bridge.name, "proxy_delay", 0)]
    return tuple(sorted(set(wanted)))


def prompt(devices: Iterable[str]) -> list[Sysctl]:
    """Where a proxy entry answers, it answers at once: the kernel's default delays it by up to
    0.8 s."""
    return [Sysctl("neigh", device, "proxy_delay", 0) for device in sorted(set(devices))]


def without_redirects(devices: Iterable[str]) -> list[Sysctl]:
    """Where a node answers ARP for a guest that is away, what comes leaves by the same interface,
    and the kernel would send the neighbour past us, to a gateway that is no better a way to an
    address it takes for on-link. It does while `all` or the interface's own value says so."""
    names = sorted(set(devices))
    return [Sysctl("conf", device, "send_redirects", 0) for device in (*names, ALL) if names]


def watched_sysctls(roles: Roles) -> tuple[Sysctl, ...]:
    """Whichever a plan or a check may want to know, as it would have them."""
    names = [i.name for i in roles.uplinks]
    shared = [*names, *roles.shared, ALL]
    return (*bridge_sysctls(roles), *prompt(names), *without_redirects(names),
            *(Sysctl("conf", device, "proxy_arp", 0) for device in sorted(set(shared))))


def before(made: Iterable[Sysctl], taken: Collection[str],
           present: Iterable[Sysctl]) -> frozenset[Sysctl]:
    """What the values are that will be `made` others, as far as they will be given back; and on
    the bridges that are `taken` now all of them, so that one which an administrator had set as
    we want it is known for his."""
    ours = frozenset(s for s in made if s.name in GIVEN_BACK)
    places = {_place(s) for s in ours}
    return frozenset(s for s in present if (_place(s) in places and s not in ours)
                     or (s.device in taken and s.name in GIVEN_BACK))


def in_use(kept: Iterable[Sysctl], roles: Roles, away: Collection[str]) -> frozenset[Sysctl]:
    """Of the values `kept` those that are not to be given back yet.

    proxy_delay stays while an interface is an uplink: without proxy entries it does nothing,
    and who makes one guest right does not see the others' entries.
    """
    wanted = {_place(s) for s in (*bridge_sysctls(roles), *prompt(u.name for u in roles.uplinks),
                                  *without_redirects(away))}
    return frozenset(s for s in kept if _place(s) in wanted)


def first(kept: Iterable[Sysctl], later: Iterable[Sysctl]) -> frozenset[Sysctl]:
    """Both, but of one value what it was first."""
    return frozenset({_place(s): s for s in (*later, *kept)}.values())


def _place(sysctl: Sysctl) -> tuple[str, str, str]:
    return sysctl.tree, sysctl.device, sysctl.name
