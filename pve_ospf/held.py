"""Pure: what the agent holds between two looks, by guest and by address.

A hook is answered from it in a few milliseconds, however many guests there are: what follows
for one guest's addresses is what a whole look would give, without reading the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address

from .announce import claims, desired
from .guestfilter import FilterState, GuestFilter, Permit
from .model import Guest
from .picture import Cluster, Picture
from .routes import Change, KernelState, Neighbour, Route


class Held:
    """Built from a picture and what was `done` after it; kept up to date by what is done for
    single guests."""

    def __init__(self, picture: Picture, done: Iterable[Change] = ()) -> None:
        self._picture = picture
        self._running = set(picture.node.running)
        self._guests: dict[int, Guest] = {}
        self._claimants: dict[IPv4Address, set[int]] = {}
        self._announced: dict[int, set[IPv4Address]] = {}
        for announcement in picture.desired.announcements:
            self._announced.setdefault(announcement.vmid, set()).add(announcement.address)
        self._hosts = _hosts(picture.state)
        self.follow(picture.cluster)
        for change in done:
            self._change(change)

    def follow(self, cluster: Cluster) -> None:
        """The guests as their files are now. Of a thousand hardly one has changed."""
        for guest in cluster.guests:
            if self._guests.get(guest.vmid) is not guest:
                self._set(guest)
        if len(self._guests) > len(cluster.guests):
            for vmid in self._guests.keys() - {guest.vmid for guest in cluster.guests}:
                self._forget(vmid)

    def _set(self, guest: Guest) -> None:
        self._forget(guest.vmid)
        self._guests[guest.vmid] = guest
        for claim in claims(guest):
            self._claimants.setdefault(claim.address, set()).add(guest.vmid)

    def _forget(self, vmid: int) -> None:
        known = self._guests.pop(vmid, None)
        for claim in claims(known) if known else ():
            self._claimants.get(claim.address, set()).discard(vmid)

    def guest(self, vmid: int) -> Guest | None:
        """As it was known last."""
        return self._guests.get(vmid)

    def about(self, vmid: int, guest: Guest | None,
              runs: Callable[[Guest, Picture], bool]) -> Picture:
        """The picture narrowed to one guest and to those that claim the same addresses.

        `guest` is its configuration as it is now (None: not here); `runs` says whether it
        runs, by the narrowed picture.
        """
        known = self._guests.get(vmid)
        addresses = {c.address for g in (known, guest) if g for c in claims(g)}
        addresses |= self._announced.get(vmid, set())
        rivals = {v for a in addresses for v in self._claimants.get(a, ())} - {vmid}
        guests = (*(self._guests[v] for v in sorted(rivals)), *([guest] if guest else []))
        items = [item for a in addresses for item in self._hosts.get(a, ())]
        entries = [item for item in items if isinstance(item, Neighbour)]
        state = replace(self._picture.state,
                        routes=frozenset(item for item in items if isinstance(item, Route)),
                        neighbours=frozenset(e for e in entries if not e.proxy),
                        proxies=frozenset(e for e in entries if e.proxy),
                        filter=self._filter(items))
        node = replace(self._picture.node, running=frozenset(rivals & self._running),
                       incumbents=state.incumbents())
        narrow = replace(self._picture, cluster=Cluster(guests), node=node, state=state)
        if guest and runs(guest, narrow):
            node = replace(node, running=node.running | {vmid})
        return replace(narrow, node=node,
                       desired=desired(self._picture.config, guests, node))

    def _filter(self, items: Iterable[Route | Neighbour | Permit]) -> FilterState:
        """The guest filter, with the permits among `items`. For what is wrong with the table
        itself is a whole look's: written from here, it would permit nobody else anything."""
        return FilterState(bridges=self._picture.roles.filtered,
                           permits=frozenset(i for i in items if isinstance(i, Permit)),
                           problem=self._picture.state.filter.problem)

    def done(self, vmid: int, narrow: Picture, changes: Iterable[Change]) -> None:
        """After `changes`, which followed from `narrow`."""
        guest = narrow.cluster.guest(vmid)
        if guest:
            self._set(guest)
        self._running.discard(vmid)
        self._running |= narrow.node.running & {vmid}
        for holder in (vmid, *(g.vmid for g in narrow.cluster.guests)):
            self._announced[holder] = {a.address for a in narrow.desired.announcements
                                       if a.vmid == holder}
        for change in changes:
            self._change(change)

    def _change(self, change: Change) -> None:
        item = change.item
        if isinstance(item, GuestFilter):
            for permit in item.permits:
                self._change(Change("replace", permit))
        if isinstance(item, Route | Neighbour | Permit):
            there = self._hosts.setdefault(_address(item), set())
            there -= {other for other in there if _place(other) == _place(item)}
            if change.action == "replace":
                there.add(item)


def _hosts(state: KernelState) -> dict[IPv4Address, set[Route | Neighbour | Permit]]:
    """Address → what the kernel has for exactly this host."""
    found: dict[IPv4Address, set[Route | Neighbour | Permit]] = {}
    hosts = (r for r in state.routes if r.destination.prefixlen == 32)
    items: tuple[Route | Neighbour | Permit, ...] = (
        *hosts, *state.neighbours, *state.proxies, *state.filter.permits)
    for item in items:
        found.setdefault(_address(item), set()).add(item)
    return found


def _address(item: Route | Neighbour | Permit) -> IPv4Address:
    return item.destination.network_address if isinstance(item, Route) else item.address


def _place(item: Route | Neighbour | Permit) -> tuple[object, ...]:
    """What the kernel holds one of."""
    match item:
        case Route():
            return (item.priority,)
        case Neighbour():
            return (item.device, item.proxy)
        case Permit():
            return (item.device, item.mac)
