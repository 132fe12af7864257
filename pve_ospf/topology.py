"""Pure: an area's routers and networks → a graph, with the links that are tunnels marked.

An edge stands for what RFC 2328, section 16.1, goes along: a link of a router LSA whose other
end links back. A *link*, which can fail or be a tunnel, is an adjacency of two routers, or a
router's attachment to a network. A tunnel that is a network (VXLAN) has several attachments
and is one tunnel all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import zip_longest

from . import paths
from .area import Area, Link, Network, Router
from .paths import Graph
from .tunnels import Told

_INDEX = 1 << 24
"""Below it, what a link gives as the router's address is its interface's index."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A single link that may fail, in words, and the links of the graph that go with it."""

    name: str
    links: frozenset[int]


@dataclass(frozen=True, slots=True)
class Topology:
    """An area as a graph. `vertices` are its routers, `names` what to call them; `tunnels`
    names the graph's marks, by bit.

    `asbrs` are routers whose externals count. `targets`: the vertex of each forwarding address
    that was asked for; `borders`: that of each router of another area that announces any.
    """

    graph: Graph
    vertices: Mapping[IPv4Address, int]
    names: Mapping[int, str]
    tunnels: tuple[str, ...]
    failures: tuple[Failure, ...]
    asbrs: frozenset[IPv4Address]
    targets: Mapping[IPv4Address, int]
    borders: Mapping[IPv4Address, int]

    def tunnels_of(self, mark: int) -> tuple[str, ...]:
        """The names of a mark's bits."""
        found = []
        while mark:
            found.append(self.tunnels[(mark & -mark).bit_length() - 1])
            mark &= mark - 1
        return tuple(found)


def build(area: Area, told: Iterable[Told], nodes: Mapping[IPv4Address, str],
          forwarding: Collection[IPv4Address] = ()) -> Topology:
    """The graph of `area`. `nodes` names the router ids that are nodes'; `forwarding` are the
    forwarding addresses to find the ways to."""
    made = _Builder(area, {t.router_id: t for t in told}, nodes)
    for network in made.networks.values():
        _attach(made, network)
    for one, other in _adjacent(made.routers):
        _join(made, one, other)
    targets = {address: _target(made, address) for address in sorted(forwarding)}
    borders = {router: _border(made, area, router)
               for router in sorted({b.router for b in area.borders})}
    return Topology(
        paths.graph(made.count, made.edges, made.marks), made.at_router,
        {number: made.name(router) for router, number in made.at_router.items()},
        tuple(_named(known) for _, known in made.tunnels.values()), tuple(made.failures),
        frozenset(r.router_id for r in area.routers if r.asbr), targets, borders)


@dataclass
class _Builder:
    """The graph as it comes to be. Networks have the smallest numbers (see paths)."""

    area: Area
    told: Mapping[IPv4Address, Told]
    nodes: Mapping[IPv4Address, str]
    edges: list[tuple[int, int, int, int]] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    tunnels: dict[object, tuple[int, dict[str, set[str]]]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.routers = {r.router_id: r for r in self.area.routers}
        self.networks = {n.dr: n for n in self.area.networks}
        self.at_network = {dr: number for number, dr in enumerate(self.networks)}
        self.at_router = {r: number for number, r in enumerate(self.routers, len(self.networks))}
        self.count = len(self.networks) + len(self.routers)

    def name(self, router: IPv4Address) -> str:
        return self.nodes.get(router, str(router))

    def vertex(self) -> int:
        """One more."""
        self.count += 1
        return self.count - 1

    def tunnel(self, router: IPv4Address, link: Link) -> str:
        """The name of the tunnel interface that a router's link is on, "" where it is none."""
        if router not in self.told:
            return ""
        return next((t.name for t in self.told[router].tunnels
                     if (t.index == link.data if link.data < _INDEX
                         else any(int(a.ip) == link.data for a in t.addresses))), "")

    def link(self, whole: object, ends: Iterable[tuple[IPv4Address, str]]) -> int:
        """A new link. `ends`: its routers, each with its tunnel interface or ""; when there is
        any, the link is a part of the tunnel `whole`."""
        mark = 0
        for router, interface in ends:
            if interface:
                mark, known = self.tunnels.setdefault(whole, (1 << len(self.tunnels), {}))
                known.setdefault(interface, set()).add(self.name(router))
        self.marks.append(mark)
        return len(self.marks) - 1


def _named(ends: Mapping[str, Collection[str]]) -> str:
    return ", ".join(f"{interface} ({', '.join(sorted(nodes))})"
                     for interface, nodes in sorted(ends.items()))


def _attach(made: _Builder, network: Network) -> None:
    """A network and its routers: those it lists and that link to it."""
    ends = [(r, link) for r in sorted(network.attached) if r in made.routers
            for link in made.routers[r].links
            if link.kind == "network" and link.to == network.dr]
    attached = {}
    for router, link in ends:
        number = made.link(network.dr, [(router, made.tunnel(router, link))])
        inside, outside = made.at_network[network.dr], made.at_router[router]
        # RFC 2328, C.3: an interface's cost is greater than 0; from the network it is 0.
        made.edges += [(outside, inside, max(link.cost, 1), number), (inside, outside, 0, number)]
        attached[number] = made.name(router)
    if len(attached) == 2:
        made.failures.append(Failure(f"{' - '.join(attached.values())} ({network.prefix})",
                                     frozenset(attached)))
    elif len(attached) > 2:
        made.failures.append(Failure(f"network {network.prefix}", frozenset(attached)))
        made.failures += [Failure(f"{name} - network {network.prefix}", frozenset({number}))
                          for number, name in attached.items()]


def _adjacent(routers: Mapping[IPv4Address, Router]) -> Iterator[tuple[Router, Router]]:
    """Each two routers that link to each other, once."""
    to = {r: {link.to for link in router.links if link.kind == "router"}
          for r, router in routers.items()}
    for one in sorted(to):
        for other in sorted(to[one]):
            if one < other and one in to.get(other, ()):
                yield routers[one], routers[other]


def _join(made: _Builder, one: Router, other: Router) -> None:
    """The adjacencies of two routers; there may be several."""
    there = [link for link in one.links if link.kind == "router" and link.to == other.router_id]
    back = [link for link in other.links if link.kind == "router" and link.to == one.router_id]
    subnets = _subnets(made, one, other)
    matched = _matched(there, back, subnets)
    for a, b in matched:
        ends = [(one.router_id, made.tunnel(one.router_id, a)),
                (other.router_id, made.tunnel(other.router_id, b))]
        _adjacency(made, one, other, a, b, made.link((one.router_id, a), ends))
    rest = _rest(there, [a for a, _ in matched]), _rest(back, [b for _, b in matched])
    for number, (here, away) in enumerate(_alike(made, one, other, *rest)):
        ends = [(router.router_id, made.tunnel(router.router_id, link))
                for router, links in ((one, here), (other, away)) for link in links]
        for x, y in zip_longest(here, away):
            _adjacency(made, one, other, x, y,
                       made.link((one.router_id, other.router_id, number), ends))


def _alike(made: _Builder, one: Router, other: Router, there: Sequence[Link],
           back: Sequence[Link]) -> list[tuple[Sequence[Link], Sequence[Link]]]:
    """Links without a subnet, of which nothing tells which is whose other end, but whether it
    is a tunnel, where both routers say so. Else, if one is a tunnel, each of them may be."""
    sides = [([a for a in there if bool(made.tunnel(one.router_id, a)) == tunnel],
              [b for b in back if bool(made.tunnel(other.router_id, b)) == tunnel])
             for tunnel in (True, False)]
    both = one.router_id in made.told and other.router_id in made.told
    return [*sides] if both and all(len(here) == len(away) for here, away in sides) else [
        (there, back)]


def _adjacency(made: _Builder, one: Router, other: Router, there: Link | None,
               back: Link | None, number: int) -> None:
    here, away = made.at_router[one.router_id], made.at_router[other.router_id]
    if there:
        made.edges.append((here, away, max(there.cost, 1), number))
    if back:
        made.edges.append((away, here, max(back.cost, 1), number))
    name = f"{made.name(one.router_id)} - {made.name(other.router_id)}"
    data = there.data if there else 0
    address = f" ({IPv4Address(data)})" if data >= _INDEX else ""
    made.failures.append(Failure(f"{name}{address}", frozenset({number})))


def _matched(there: Sequence[Link], back: Sequence[Link],
             subnets: Sequence[IPv4Network]) -> list[tuple[Link, Link]]:
    """Which is whose other end, where that is certain: the only two in a subnet."""
    ends: dict[IPv4Network, tuple[list[Link], list[Link]]] = {}
    for side, links in enumerate((there, back)):
        for link in links:
            subnet = _subnet(link, subnets)
            if subnet:
                ends.setdefault(subnet, ([], []))[side].append(link)
    return [(a[0], b[0]) for a, b in ends.values() if len(a) == len(b) == 1]


def _rest(links: Sequence[Link], without: Collection[Link]) -> list[Link]:
    return sorted((link for link in links if link not in without),
                  key=lambda link: (link.cost, link.data))


def _subnets(made: _Builder, *routers: Router) -> list[IPv4Network]:
    """The subnets these routers are known to have, the smallest first."""
    nets = {stub.prefix for router in routers for stub in router.stubs}
    for router in routers:
        if router.router_id in made.told:
            nets |= {a.network for t in made.told[router.router_id].tunnels for a in t.addresses}
    return sorted((n for n in nets if n.prefixlen < 32), key=lambda n: -n.prefixlen)


def _subnet(link: Link, subnets: Sequence[IPv4Network]) -> IPv4Network | None:
    if link.data < _INDEX:
        return None
    return next((net for net in subnets if IPv4Address(link.data) in net), None)


def _target(made: _Builder, address: IPv4Address) -> int:
    """A vertex for a forwarding address, behind those that lead to the smallest subnet it is
    in (RFC 2328, 16.4 (3): by a route inside the area or between areas. The larger subnet
    that is left when nobody leads to the smaller one any more is not looked for)."""
    vertex = made.vertex()
    ways = [(n.prefix, made.at_network[n.dr], 0, "") for n in made.networks.values()
            if address in n.prefix]
    for router in made.routers.values():
        ways += [(stub.prefix, made.at_router[router.router_id], stub.cost,
                  _tunnel_with(made, router, stub.prefix))
                 for stub in router.stubs if address in stub.prefix]
    ways += [(summary.prefix, made.at_router[summary.by], summary.cost, "")
             for summary in made.area.summaries
             if address in summary.prefix and summary.by in made.at_router]
    smallest = max((prefix.prefixlen for prefix, *_ in ways), default=0)
    for prefix, start, cost, tunnel in ways:
        if prefix.prefixlen == smallest:
            routers = [r for r, number in made.at_router.items() if number == start]
            number = made.link((start, prefix), [(r, tunnel) for r in routers])
            made.edges.append((start, vertex, cost, number))
    return vertex


def _tunnel_with(made: _Builder, router: Router, prefix: IPv4Network) -> str:
    """The tunnel of a router that has this subnet; its stub stands for it without adjacency."""
    tunnels = made.told[router.router_id].tunnels if router.router_id in made.told else ()
    return next((t.name for t in tunnels if any(a.network == prefix for a in t.addresses)), "")


def _border(made: _Builder, area: Area, router: IPv4Address) -> int:
    vertex = made.vertex()
    for border in area.borders:
        if border.router == router and border.by in made.at_router:
            number = made.link(None, ())
            made.edges.append((made.at_router[border.by], vertex, border.cost, number))
    return vertex
