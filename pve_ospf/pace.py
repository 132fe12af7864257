"""Pure: no two LSAs of one address within the time a router needs between them.

A router drops an LSA that comes within MinLSArrival (1 s, RFC 2328 appendix B) of the one
before, without a word, and gets it only when it is retransmitted: an address that stops and
starts within a second is then out for 5-10 s (facts). So a change waits until the one before
it on the same address is old enough, and what is undone meanwhile never happens. Another
node's LSA is another LSA: a move is not slowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from .guestfilter import Permit
from .routes import Change, Neighbour, Route

INTERVAL = 1.1
"""Seconds between two changes of one address: MinLSArrival, and the time an LSA is on its way."""


@dataclass(frozen=True, slots=True)
class Paced:
    """The changes that may be made now, and when (in the clock's seconds) the first of those
    that have to wait may; None: none has to."""

    now: tuple[Change, ...]
    due: float | None = None


def paced(changes: Iterable[Change], changed: Mapping[IPv4Address, float], now: float) -> Paced:
    """Splits `changes`; `changed` says when the route of an address was changed last."""
    changes = tuple(changes)
    waiting = {address: due for address in map(_routed, changes)
               if address and (due := changed.get(address, -INTERVAL) + INTERVAL) > now}
    return Paced(tuple(c for c in changes if _address(c) not in waiting),
                 min(waiting.values(), default=None))


def remembered(done: Iterable[Change], changed: Mapping[IPv4Address, float],
               now: float) -> dict[IPv4Address, float]:
    """When routes were changed last, after `done`; what is too old to matter is forgotten."""
    return {**{address: when for address, when in changed.items() if now < when + INTERVAL},
            **{address: now for address in map(_routed, done) if address}}


def _routed(change: Change) -> IPv4Address | None:
    """The address whose LSA this changes."""
    route = change.item
    return route.destination.network_address if isinstance(route, Route) else None


def _address(change: Change) -> IPv4Address | None:
    """An address's entries wait with its route: they come before it and go after it."""
    item = change.item
    return item.address if isinstance(item, Neighbour | Permit) else _routed(change)
