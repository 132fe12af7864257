"""What the agent holds by guest leads to the same kernel as a whole look."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from pve_ospf import prestart
from pve_ospf.announce import Node, desired
from pve_ospf.config import Allow, Config
from pve_ospf.guestfilter import FilterState, GuestFilter, Permit
from pve_ospf.held import Held
from pve_ospf.interfaces import classify
from pve_ospf.model import Guest, GuestNet, Interface
from pve_ospf.picture import Cluster, Picture
from pve_ospf.routes import Change, KernelState, Neighbour, Route, plan

CONFIG = Config(allow=(Allow(IPv4Network("198.51.100.0/24")),))
INTERFACES = (Interface(1, "eno1", master="vmbr0"),
              Interface(2, "vmbr0", "bridge", addresses=(IPv4Interface("10.0.1.11/24"),)),
              Interface(3, "vmbr1", "bridge"))
ADDRESSES = [IPv4Address(f"198.51.100.{n}") for n in (7, 8, 9)]
FOREIGN = Route(IPv4Network("198.51.100.9/32"), "vmbr0", protocol=3,
                gateway=IPv4Address("10.0.1.1"))


def _guest(vmid: int, address: IPv4Address, *, link_down: bool = False) -> Guest:
    net = GuestNet(0, "vmbr1", f"bc:24:11:00:00:{vmid % 100:02x}", address, link_down=link_down)
    return Guest(vmid, "lxc", "pve1", nets=(net,), hookscript="local:snippets/pve-ospf")


@dataclass
class World:
    """Guests, which of them run, and a kernel that does as it is told."""

    guests: dict[int, Guest] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    state: KernelState = field(default_factory=lambda: KernelState(
        INTERFACES, routes=frozenset({FOREIGN}),
        filter=FilterState(True, frozenset({"vmbr1"}))))

    def picture(self) -> Picture:
        node = Node("pve1", classify(CONFIG, INTERFACES), INTERFACES,
                    running=frozenset(self.running), incumbents=self.state.incumbents())
        guests = tuple(self.guests.values())
        return Picture(CONFIG, Cluster(guests), node, self.state,
                       desired(CONFIG, guests, node))

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            item = change.item
            routes, neighbours = self.state.routes, self.state.neighbours
            if isinstance(item, Route):
                routes = frozenset(r for r in routes if r.destination != item.destination)
                routes |= {item} if change.action == "replace" else set()
            if isinstance(item, Neighbour):
                neighbours = frozenset(n for n in neighbours if n.address != item.address)
                neighbours |= {item} if change.action == "replace" else set()
            permits = self.state.filter.permits
            if isinstance(item, Permit):
                permits = permits - {item} if change.action == "delete" else permits | {item}
            self.state = replace(self.state, routes=routes, neighbours=neighbours,
                                 filter=replace(self.state.filter, permits=permits))


def _planned(picture: Picture) -> list[Change]:
    return [c for c in plan(picture.desired, picture.roles, picture.state).changes
            if isinstance(c.item, Route | Neighbour | Permit | GuestFilter)]


def _hook(world: World, held: Held, guest: Guest, *, runs: bool) -> list[Change]:
    """One guest starts or stops, with the configuration given; what is done for it."""
    world.guests[guest.vmid] = guest
    world.running = world.running - {guest.vmid} | ({guest.vmid} if runs else set())
    narrow = held.about(guest.vmid, guest, lambda _guest, _picture: runs)
    changes = _planned(narrow)
    world.apply(changes)
    held.done(guest.vmid, narrow, changes)
    return changes


def test_a_start_and_a_stop() -> None:
    world = World()
    held = Held(world.picture())
    guest = _guest(101, ADDRESSES[0])
    assert [str(c) for c in _hook(world, held, guest, runs=True)] == [
        "replace permit 198.51.100.7 from bc:24:11:00:00:01 on vmbr1",
        "replace neighbour 198.51.100.7 lladdr bc:24:11:00:00:01 dev vmbr1",
        "replace route 198.51.100.7/32 dev vmbr1"]
    assert _hook(world, held, guest, runs=True) == []
    assert len(_hook(world, held, guest, runs=False)) == 3
    assert world.state.routes == {FOREIGN}


def test_a_hook_never_writes_the_whole_table() -> None:
    """It knows of its own guest's permits only, and all others would be without."""
    world = World(state=KernelState(INTERFACES))
    held = Held(world.picture())
    narrow = held.about(101, _guest(101, ADDRESSES[0]), lambda _guest, _picture: True)
    assert [c.item for c in _planned(narrow) if isinstance(c.item, Permit | GuestFilter)] == [
        Permit("vmbr1", "bc:24:11:00:00:01", ADDRESSES[0])]
    table = GuestFilter(frozenset({"vmbr1"}), frozenset({
        Permit("vmbr1", "bc:24:11:00:00:01", ADDRESSES[0])}))
    held = Held(world.picture(), [Change("replace", table)])
    narrow = held.about(101, _guest(101, ADDRESSES[0]), lambda _guest, _picture: True)
    assert not [c for c in _planned(narrow) if isinstance(c.item, Permit | GuestFilter)]


def test_another_who_waits_for_the_address_gets_it() -> None:
    world = World()
    held = Held(world.picture())
    _hook(world, held, _guest(101, ADDRESSES[0]), runs=True)
    _hook(world, held, _guest(102, ADDRESSES[0]), runs=True)
    assert world.state.incumbents() == {ADDRESSES[0]: "bc:24:11:00:00:01"}
    _hook(world, held, _guest(101, ADDRESSES[0]), runs=False)
    assert world.state.incumbents() == {ADDRESSES[0]: "bc:24:11:00:00:02"}


def test_files_that_changed_are_followed_and_the_others_are_not_looked_at() -> None:
    world = World({101: _guest(101, ADDRESSES[0]), 102: _guest(102, ADDRESSES[1])})
    held = Held(world.picture())
    kept, moved = world.guests[101], _guest(103, ADDRESSES[0])
    held.follow(Cluster((kept, moved)))
    assert held.guest(101) is kept
    assert held.guest(102) is None
    rivals = held.about(103, moved, lambda _guest, _picture: False).cluster.guests
    assert [g.vmid for g in rivals] == [101, 103]
    held.follow(Cluster((kept, replace(moved, nets=()))))
    assert [g.vmid for g in held.about(101, kept, lambda _g, _p: False).cluster.guests] == [101]


@pytest.mark.parametrize("seed", range(50))
def test_after_any_hooks_a_whole_look_finds_nothing_to_do(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    world = World()
    held = Held(world.picture())
    for _ in range(40):
        guest = _guest(dice.randrange(101, 106), dice.choice(ADDRESSES),
                       link_down=dice.random() < 0.2)
        _hook(world, held, guest, runs=dice.random() < 0.6)
        assert _planned(world.picture()) == []
        assert FOREIGN in world.state.routes
        if dice.random() < 0.1:
            held = Held(world.picture())


def test_a_duplicate_on_another_node_is_never_judged_by_the_routes_held() -> None:
    """What OSPF taught the kernel since the last look is not among them."""
    world = World()
    world.guests[101] = replace(_guest(101, ADDRESSES[0]), node="pve2")
    held, guest = Held(world.picture()), _guest(102, ADDRESSES[0])
    narrow = held.about(102, guest, lambda _guest, _picture: False)
    assert prestart.needs_asking(narrow, guest, source=None)
    assert not prestart.needs_asking(narrow, guest, source="pve2"), "it comes from there"
    alone = _guest(103, ADDRESSES[1])
    narrow = held.about(103, alone, lambda _guest, _picture: False)
    assert not prestart.needs_asking(narrow, alone, source=None)
