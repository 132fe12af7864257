"""Pure: shortest paths in a graph of routers and networks, all of equal cost; and what becomes
of them when links fail.

Vertices are numbered so that a link without cost (from a network to its routers, RFC 2328
section 16.1) leads to a greater number: by distance and number, then, each vertex comes after
all those its paths lead over. Each link has a mark, a set of bits; a vertex's marks are those
of every link on any of its shortest paths.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

FAR = 1 << 60
"""The distance of what cannot be reached. Of what can it is below 2^30: costs are 16 bits a
link, 24 from a border router on."""

Edge = tuple[int, int, int]
"""The vertex at the other end, the cost, the link."""


@dataclass(frozen=True, slots=True)
class Graph:
    """`out` and `into`: the edges of each vertex, the same ones from both ends. `marks` and
    `ends`: the mark of each link and the vertices its edges lead to."""

    out: Sequence[Sequence[Edge]]
    into: Sequence[Sequence[Edge]]
    marks: Sequence[int]
    ends: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Tree:
    """The shortest paths from `root`. `before`: the last steps to each vertex, as (vertex,
    link), more than one where paths cost the same."""

    root: int
    dist: Sequence[int]
    before: Sequence[Sequence[tuple[int, int]]]
    marks: Sequence[int]

    def reaches(self, vertex: int) -> bool:
        return self.dist[vertex] < FAR

    def links(self) -> frozenset[int]:
        """Every link on any shortest path: no other's failure changes anything."""
        return frozenset(link for steps in self.before for _, link in steps)


def graph(count: int, edges: Collection[tuple[int, int, int, int]],
          marks: Sequence[int]) -> Graph:
    """Of edges (from, to, cost, link); `count` is the number of vertices."""
    out: list[list[Edge]] = [[] for _ in range(count)]
    into: list[list[Edge]] = [[] for _ in range(count)]
    ends: list[list[int]] = [[] for _ in marks]
    for start, end, cost, link in edges:
        out[start].append((end, cost, link))
        into[end].append((start, cost, link))
        ends[link].append(end)
    return Graph(out, into, marks, ends)


def tree(of: Graph, root: int) -> Tree:
    """Dijkstra's algorithm, keeping every path of equal cost."""
    dist = [FAR] * len(of.out)
    before: list[list[tuple[int, int]]] = [[] for _ in of.out]
    marks = [0] * len(of.out)
    dist[root] = 0
    heap = [(0, root)]
    while heap:
        passed, vertex = heappop(heap)
        if passed > dist[vertex]:
            continue
        for step, link in before[vertex]:
            marks[vertex] |= marks[step] | of.marks[link]
        for end, cost, link in of.out[vertex]:
            if passed + cost < dist[end]:
                dist[end] = passed + cost
                before[end] = [(vertex, link)]
                heappush(heap, (passed + cost, end))
            elif passed + cost == dist[end]:
                before[end].append((vertex, link))
    return Tree(root, dist, before, marks)


def without(of: Graph, whole: Tree, failed: Collection[int]) -> tuple[Tree, frozenset[int]]:
    """The tree when these links fail, and the vertices that are farther away then.

    Only what hung on them is gone through: most links carry few of a router's paths. Others may
    lose some of several paths of equal cost, and with them marks, but gain none.
    """
    left = _left(of, whole, failed)
    lost = {vertex for vertex, steps in left.items() if not steps}
    dist = _distances(of, whole, failed, lost)
    before = list(whole.before)
    for vertex, steps in left.items():
        before[vertex] = steps if steps else [
            (step, link) for step, cost, link in of.into[vertex]
            if link not in failed and dist[step] + cost == dist[vertex] < FAR]
    marks = _marks(of, Tree(whole.root, dist, before, whole.marks), left)
    return Tree(whole.root, dist, before, marks), frozenset(lost)


def path(of: Graph, found: Tree, end: int, mark: int) -> list[tuple[int, int]]:
    """A shortest path to `end`, as (vertex, link to it) from the first step on; one of those
    that cross a link with a bit of `mark`, where any does."""
    steps: list[tuple[int, int]] = []
    while end != found.root:
        step, link = next(((step, link) for step, link in found.before[end]
                           if (found.marks[step] | of.marks[link]) & mark), found.before[end][0])
        if of.marks[link] & mark:
            mark = 0
        steps.append((end, link))
        end = step
    return steps[::-1]


def is_only_one(found: Tree, end: int) -> bool:
    """Whether just one path to `end` is the shortest."""
    while found.before[end]:
        if len(found.before[end]) > 1:
            return False
        end = found.before[end][0][0]
    return True


def _left(of: Graph, whole: Tree, failed: Collection[int]) -> dict[int, list[tuple[int, int]]]:
    """The steps that remain to each vertex that loses any, none where it loses all."""
    left: dict[int, list[tuple[int, int]]] = {}
    heap = [(whole.dist[end], end) for link in failed for end in of.ends[link]]
    heapify(heap)
    seen = set()
    while heap:
        _, vertex = heappop(heap)
        if vertex in seen:
            continue
        seen.add(vertex)
        steps = [(step, link) for step, link in whole.before[vertex]
                 if link not in failed and left.get(step) != []]
        if len(steps) == len(whole.before[vertex]):
            continue
        left[vertex] = steps
        if not steps:
            for end in _next(of, whole.dist, vertex):
                heappush(heap, (whole.dist[end], end))
    return left


def _next(of: Graph, dist: Sequence[int], vertex: int) -> Iterator[int]:
    return (end for end, cost, _ in of.out[vertex] if dist[vertex] + cost == dist[end])


def _distances(of: Graph, whole: Tree, failed: Collection[int], lost: Collection[int]) -> list[int]:
    """Dijkstra's algorithm again for `lost`, from what has stayed as it was."""
    dist = list(whole.dist)
    for vertex in lost:
        dist[vertex] = FAR
    heap = []
    for vertex in lost:
        dist_now = min((dist[step] + cost for step, cost, link in of.into[vertex]
                        if step not in lost and link not in failed), default=FAR)
        if dist_now < FAR:
            heap.append((dist_now, vertex))
    for passed, vertex in heap:
        dist[vertex] = passed
    heapify(heap)
    while heap:
        passed, vertex = heappop(heap)
        if passed > dist[vertex]:
            continue
        for end, cost, link in of.out[vertex]:
            if passed + cost < dist[end] and end in lost and link not in failed:
                dist[end] = passed + cost
                heappush(heap, (passed + cost, end))
    return dist


def _marks(of: Graph, found: Tree, others: Collection[int]) -> Sequence[int]:
    """The marks anew, beginning with the vertices whose steps are others."""
    marks = list(found.marks)
    heap = [(found.dist[vertex], vertex) for vertex in others]
    heapify(heap)
    while heap:
        _, vertex = heappop(heap)
        mark = 0
        for step, link in found.before[vertex]:
            mark |= marks[step] | of.marks[link]
        if mark != marks[vertex]:
            marks[vertex] = mark
            for end in _next(of, found.dist, vertex):
                heappush(heap, (found.dist[end], end))
    return marks
