"""The path audit against another way to the same answer: distances from everywhere to
everywhere, and each link asked whether it lies on a shortest path. Areas are made at random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from pve_ospf.area import Group, Origin
from pve_ospf.audit import audit
from tests.unit.areas import NAMES, Map, group, router_id

ROUTERS = "abcdefgh"
INFINITE = float("inf")


def made(seed: int) -> tuple[Map, list[Group]]:
    """Some routers, some links and LANs of few different costs, some of them tunnels."""
    chance = random.Random(seed)  # noqa: S311
    area = Map(ROUTERS)
    for _ in range(chance.randrange(7, 12)):
        one, other = chance.sample(ROUTERS, 2)
        numbers = [area.link(one, other, chance.choice((1, 2, 3)), chance.choice((1, 2, 3)))]
        if chance.random() < 0.4:
            area.tunnel(numbers[0], one, other)
    for _ in range(chance.randrange(3)):
        members = "".join(chance.sample(ROUTERS, 3))
        lan = area.lan(members, chance.choice((1, 2)))
        if chance.random() < 0.4:
            area.tunnel(lan, *members)
    groups = []
    for number in range(6):
        origins = [Origin(router_id(r), chance.choice((1, 2, 2)), chance.randrange(3))
                   for r in chance.sample(ROUTERS, chance.randrange(1, 4))]
        groups.append(group(f"198.51.100.{number}", *origins))
    return area, groups


class Everywhere:
    """Distances between all vertices (routers by name, LANs by number) without the `cut` ones."""

    def __init__(self, area: Map, cut: frozenset[tuple[object, object]] = frozenset()) -> None:
        self.steps = {(a, b): found for (a, b), found in _steps(area).items()
                      if (a, b) not in cut and (b, a) not in cut}
        self.vertices = {v for pair in self.steps for v in pair} | set(ROUTERS)
        self.dist = {(a, b): 0.0 if a == b else INFINITE
                     for a in self.vertices for b in self.vertices}
        for (a, b), found in self.steps.items():
            self.dist[a, b] = min(self.dist[a, b], *(cost for cost, _ in found))
        for middle in self.vertices:
            for a in self.vertices:
                for b in self.vertices:
                    self.dist[a, b] = min(self.dist[a, b],
                                          self.dist[a, middle] + self.dist[middle, b])

    def crosses(self, root: str, to: Group) -> bool:
        if any(NAMES[o.router] == root for o in to.origins):
            return False
        keys = [(o.metric_type, o.metric + far, 0) if o.metric_type == 1
                else (2, o.metric, far) for o in to.origins
                for far in [self.dist[root, NAMES[o.router]]] if far < INFINITE]
        best = [NAMES[o.router] for o in to.origins
                for far in [self.dist[root, NAMES[o.router]]] if far < INFINITE
                and ((1, o.metric + far, 0) if o.metric_type == 1
                     else (2, o.metric, far)) == min(keys)]
        return any(tunnel and self.dist[root, a] + cost + self.dist[b, end]
                   == self.dist[root, end] for end in best
                   for (a, b), found in self.steps.items() for cost, tunnel in found)


def _steps(area: Map) -> dict[tuple[object, object], list[tuple[int, bool]]]:
    found: dict[tuple[object, object], list[tuple[int, bool]]] = {}
    lans = {n.dr: number for number, n in enumerate(area.networks)}
    for router, links in area.links.items():
        for link in links:
            number = link.data >> 16 & 255
            tunnel = any(t.index == number for t in area.tunnels[router])
            if link.kind == "router":
                found.setdefault((router, NAMES[link.to]), []).append((link.cost, tunnel))
            else:
                found.setdefault((router, lans[link.to]), []).append((link.cost, tunnel))
                found.setdefault((lans[link.to], router), []).append((0, tunnel))
    return found


def pairs(everywhere: Everywhere, groups: list[Group]) -> set[tuple[str, IPv4Address]]:
    return {(r, g.addresses[0]) for r in ROUTERS for g in groups if everywhere.crosses(r, g)}


def failures(area: Map) -> Iterator[tuple[str, frozenset[tuple[object, object]]]]:
    """Single links between two routers that no other link joins, and LANs, by what audit()
    calls them."""
    steps = _steps(area)
    for (a, b), found in steps.items():
        if isinstance(a, str) and isinstance(b, str) and a < b and len(found) == 1:
            number = next(link.data >> 16 & 255 for link in area.links[a]
                          if link.to == router_id(b))
            yield f"{a} - {b} ({area.address(a, number)})", frozenset({(a, b)})
    for number, network in enumerate(area.networks):
        yield f"network {network.prefix}", frozenset(
            (number, r) for r in ROUTERS if (number, r) in steps)


@pytest.mark.parametrize("seed", range(25))
def test_it_comes_to_the_same(seed: int) -> None:
    area, groups = made(seed)
    found = audit([area.area()], groups, area.told(), NAMES, what_if=True)
    expected = pairs(Everywhere(area), groups)
    # A crossing stands for several addresses: each is asked for alone.
    alone = {(c.router, g.addresses[0]) for g in groups
             for c in audit([area.area()], [g], area.told(), NAMES).crossings}
    assert alone == expected
    assert {c.router for c in found.crossings} == {router for router, _ in expected}
    assert found.consequences is not None
    counted = {c.link: c.pairs for c in found.consequences}
    for name, cut in failures(area):
        new = pairs(Everywhere(area, cut), groups) - expected
        assert counted.get(name, 0) == len(new), name


def test_the_random_areas_have_something_to_find() -> None:
    """Neither everything nor nothing, now and with links that fail."""
    now, then = [], []
    for seed in range(25):
        area, groups = made(seed)
        found = audit([area.area()], groups, area.told(), NAMES, what_if=True)
        now.append(len(found.crossings))
        then.append(len(found.consequences or ()))
    assert 5 < sum(now) / len(now) < 40
    assert sum(then) > 50


def test_fifty_routers_and_ten_thousand_addresses() -> None:
    """What takes long is made smaller than it was written: groups and crossings, not pairs."""
    chance = random.Random(1)  # noqa: S311
    area = Map("abcdefghijklmnopqrstuvwxyz")
    names = list(area.links)
    for number, router in enumerate(names[1:], start=1):
        area.tunnel(area.link(router, chance.choice(names[:number])), router)
    groups = [group(f"198.18.{number}.0", router, count=250)
              for number, router in enumerate(names)]
    found = audit([area.area()], groups, area.told(), NAMES, what_if=True)
    assert len(found.crossings) == 26 * 25
    assert sum(c.addresses for c in found.crossings) == 26 * 25 * 250
    assert found.consequences == ()
