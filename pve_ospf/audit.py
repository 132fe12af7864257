"""Pure: does any router reach any guest's address across a tunnel, now or when a link fails?

For every router of an area and every announced address: the shortest paths by OSPF's own
rules (RFC 2328, section 16), those of equal cost included. Of externals (16.4) E1 comes before
E2, of E1 the whole cost counts, and of E2 the metric, then the distance. Who announces an
address itself goes nowhere for it.

The paths of ten thousand addresses are those to a few dozen announcing routers, so shortest
paths are computed from each router, addresses announced alike are looked at once, and for a
failed link only what it carried is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from . import paths, topology
from .area import Area, Group
from .paths import Tree
from .topology import Failure, Topology
from .tunnels import Told


@dataclass(frozen=True, slots=True)
class Crossing:
    """A router's path to an announcing router that leads across tunnels.

    `addresses` is how many guests' addresses it is taken for, `example` the first of them.
    `path` is in words; `shared`: there are others of equal cost. `instead` is an announcing
    router that the router would reach without a tunnel, and does not use because its metric
    is greater (or E2, where the other is E1): a tunnel's cost does not help there.
    """

    router: str
    announcer: str
    addresses: int
    example: IPv4Address
    path: str
    tunnels: tuple[str, ...]
    shared: bool = False
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a failing link makes of paths that cross no tunnel now: how many (router, address)
    pairs would, over which tunnels, and one of them."""

    link: str
    pairs: int
    tunnels: tuple[str, ...]
    example: Crossing


@dataclass(frozen=True, slots=True)
class Audit:
    """`consequences` is None where it was not asked. `untold` are nodes that are routers here
    and have not told their tunnels: what leads across these cannot be told."""

    crossings: tuple[Crossing, ...] = ()
    consequences: tuple[Consequence, ...] | None = None
    untold: tuple[str, ...] = ()
    routers: int = 0
    addresses: int = 0
    links: int = 0


def audit(areas: Iterable[Area], groups: Sequence[Group], told: Mapping[str, Told],
          nodes: Mapping[IPv4Address, str], what_if: bool = False) -> Audit:
    """`told`: what each node tells of its tunnels; `nodes`: router id → node. Tunnels of a node
    that is no router here do not matter."""
    forwarding = {o.forwarding for g in groups for o in g.origins if o.forwarding}
    here = [topology.build(area, told.values(), nodes, forwarding) for area in areas]
    views = [_View(each, groups) for each in here]
    routers = {r for each in here for r in each.vertices}
    said = {t.router_id for t in told.values()}
    return Audit(
        crossings=tuple(c for view in views for c in view.crossings()),
        consequences=tuple(c for view in views for c in view.consequences()) if what_if else None,
        untold=tuple(sorted(nodes[r] for r in routers if r in nodes and r not in said)),
        routers=len(routers), addresses=sum(len(g.addresses) for g in groups),
        links=sum(len(each.failures) for each in here))


@dataclass(frozen=True, slots=True)
class _Way:
    """A group's origin in the graph: the vertices of its router and of where packets go.
    `rank` plus the distance is what RFC 2328, 16.4 (6) compares, as one number."""

    asbr: int
    target: int
    rank: int

    @property
    def external_2(self) -> bool:
        return self.rank >= _EXTERNAL_2


_EXTERNAL_2 = 1 << 30
"""Above any cost of E1: a metric of 24 bits and a distance. Of E2 the metric stands above
these bits, for it comes before the distance."""


class _View:
    """An area, each router's shortest paths in it, and the groups in its terms."""

    def __init__(self, area: Topology, groups: Sequence[Group]) -> None:
        self.area = area
        self.groups = groups
        self.ways = [tuple(_ways(area, group)) for group in groups]
        self.ranks = [[(way.rank, way.target) for way in ways] for ways in self.ways]
        self.at: dict[int, set[int]] = {}
        for number, ways in enumerate(self.ways):
            for vertex in {v for way in ways for v in (way.asbr, way.target)}:
                self.at.setdefault(vertex, set()).add(number)
        self.forwarded = {number for number, ways in enumerate(self.ways)
                          if any(way.asbr != way.target for way in ways)}
        # Without a tunnel in OSPF, no path can cross one.
        roots = area.vertices.values() if any(area.graph.marks) else ()
        self.trees = [paths.tree(area.graph, root) for root in roots]
        self.crossing = [self._crossing(tree, range(len(groups))) for tree in self.trees]

    def _crossing(self, tree: Tree, numbers: Iterable[int]) -> dict[int, int]:
        """Of these groups those that are reached across a tunnel, and the marks of the paths.

        The one place where every router meets every group: the same as _chosen(), unrolled.
        """
        found: dict[int, int] = {}
        if not any(tree.marks):
            return found
        dist, marks, ranks = tree.dist, tree.marks, self.ranks
        nowhere = self.at.get(tree.root, set()) | self.forwarded
        for number in numbers:
            best, mark = paths.FAR, 0
            for rank, target in ranks[number]:
                cost = rank + dist[target]
                if cost < best:
                    best, mark = cost, marks[target]
                elif cost == best:
                    mark |= marks[target]
            if mark and number not in nowhere:
                found[number] = mark
        for number in self.forwarded.intersection(numbers):
            mark = _marks(tree, _chosen(self.ways[number], tree))
            if mark:
                found[number] = mark
        return found

    def crossings(self) -> Iterator[Crossing]:
        """One for each router and announcing router; two where for some of the addresses
        there would be another way."""
        for tree, crossing in zip(self.trees, self.crossing, strict=True):
            yield from self._by_announcer(tree, crossing)

    def _by_announcer(self, tree: Tree, numbers: Iterable[int]) -> Iterator[Crossing]:
        found: dict[tuple[int, bool], list[int]] = {}
        for number in numbers:
            chosen = _chosen(self.ways[number], tree)
            by_metric = bool(self._instead(tree, self.ways[number], chosen))
            for way in chosen:
                if tree.marks[way.target]:
                    found.setdefault((way.target, by_metric), []).append(number)
        for (target, _), several in found.items():
            yield self._crossed(tree, target, several)

    def _crossed(self, tree: Tree, target: int, numbers: Sequence[int]) -> Crossing:
        mark = tree.marks[target]
        chosen = _chosen(self.ways[numbers[0]], tree)
        way = next(way for way in chosen if way.target == target)
        return Crossing(
            router=self.area.names[tree.root], announcer=self._name(way),
            addresses=sum(len(self.groups[n].addresses) for n in numbers),
            example=self.groups[numbers[0]].addresses[0],
            path=self._path(tree, way, mark), tunnels=self.area.tunnels_of(mark),
            shared=len(chosen) > 1 or not paths.is_only_one(tree, target),
            instead=self._instead(tree, self.ways[numbers[0]], chosen))

    def _instead(self, tree: Tree, ways: Sequence[_Way], chosen: Sequence[_Way]) -> str:
        """An announcing router on this side of the tunnels that is not used whatever the
        distance: its metric is greater, or it is E2 and the other E1."""
        if len(ways) == len(chosen):
            return ""
        best = chosen[0].rank
        return next((self._name(way) for way in ways
                     if way.external_2 and way.rank > best and not tree.marks[way.target]
                     and tree.reaches(way.target) and tree.reaches(way.asbr)), "")

    def _name(self, way: _Way) -> str:
        if way.asbr in self.area.names:
            return self.area.names[way.asbr]
        return next(str(r) for r, vertex in self.area.borders.items() if vertex == way.asbr)

    def _path(self, tree: Tree, way: _Way, mark: int) -> str:
        """In words: routers by name, and the tunnel where it is crossed."""
        words, across = [self.area.names[tree.root]], 0
        for vertex, link in paths.path(self.area.graph, tree, way.target, mark):
            across |= self.area.graph.marks[link]
            name = self.area.names.get(vertex) or (
                self._name(way) if vertex == way.target else "")
            if name:
                tunnels = "+".join(t.partition(" ")[0] for t in self.area.tunnels_of(across))
                words += [f"={tunnels}=" if across else "-", name]
                across = 0
        return " ".join(words)

    def consequences(self) -> Iterator[Consequence]:
        """One for each link that, alone, makes any path cross a tunnel that does not now."""
        used = [tree.links() for tree in self.trees]
        for failure in self.area.failures:
            found = _Sum()
            for number, tree in enumerate(self.trees):
                if not used[number].isdisjoint(failure.links):
                    self._add(found, failure, tree, self.crossing[number])
            if found.example:
                yield Consequence(failure.name, found.pairs,
                                  self.area.tunnels_of(found.mark), found.example)

    def _add(self, found: _Sum, failure: Failure, tree: Tree, now: Mapping[int, int]) -> None:
        then, farther = paths.without(self.area.graph, tree, failure.links)
        touched = {number for vertex in farther & self.at.keys()
                   for number in self.at[vertex] if number not in now}
        new = self._crossing(then, touched) if touched else {}
        for number, mark in new.items():
            found.pairs += len(self.groups[number].addresses)
            found.mark |= mark
        if new and found.example is None:
            found.example = next(self._by_announcer(then, [min(new)]))


@dataclass
class _Sum:
    """What a failure comes to, as it is counted."""

    pairs: int = 0
    mark: int = 0
    example: Crossing | None = None


def _ways(area: Topology, group: Group) -> Iterator[_Way]:
    """The origins that are known here; a router counts only while it says that it announces."""
    for origin in group.origins:
        asbr = (area.vertices.get(origin.router) if origin.router in area.asbrs
                else area.borders.get(origin.router))
        target = area.targets[origin.forwarding] if origin.forwarding else asbr
        if asbr is not None and target is not None:
            yield _Way(asbr, target, origin.metric if origin.metric_type == 1
                       else _EXTERNAL_2 * (1 + origin.metric))


def _chosen(ways: Sequence[_Way], tree: Tree) -> tuple[_Way, ...]:
    """The ways a router uses, several where they are equal; none where it announces the
    address itself, or reaches nobody who does."""
    if any(way.asbr == tree.root for way in ways):
        return ()
    there = [way for way in ways if tree.reaches(way.asbr) and tree.reaches(way.target)]
    best = min((way.rank + tree.dist[way.target] for way in there), default=0)
    return tuple(way for way in there if way.rank + tree.dist[way.target] == best)


def _marks(tree: Tree, chosen: Iterable[_Way]) -> int:
    mark = 0
    for way in chosen:
        mark |= tree.marks[way.target]
    return mark
