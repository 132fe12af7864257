"""Pure: the link-state database of a node's areas, as JSON of every supported FRR → values.

What RFC 2328 leaves out of every calculation is left out here: LSAs of MaxAge (section 16.1)
and externals of infinite metric (16.4). `attchedRouters` is how every FRR from 8.4 to 10.7
spells it. Of the externals, of which there may be ten thousand, only guests' hosts are kept,
and addresses that the same routers announce alike are one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any, Literal

from .frrjson import Json
from .lsdb import EXTERNALS, MAX_AGE, ROUTERS

NETWORKS = "show ip ospf database network"
SUMMARIES = "show ip ospf database summary"
BORDERS = "show ip ospf database asbr-summary"

LS_INFINITY = 0xFFFFFF
"""The metric of an external or a summary that is not to be used (RFC 2328, appendix B)."""

LINKS = {"another Router (point-to-point)": "router", "a Virtual Link": "router",
         "a Transit Network": "network", "Stub Network": "stub"}


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a router to the router `to`, or to the network whose designated router has the
    address `to`. `data` is the router's own address on it as a number, below 2^24 the
    interface's index: that of one without a subnet."""

    kind: Literal["router", "network"]
    to: IPv4Address
    data: int
    cost: int


@dataclass(frozen=True, slots=True)
class Stub:
    """A subnet that only this router leads to, or is not yet known to others."""

    prefix: IPv4Network
    cost: int


@dataclass(frozen=True, slots=True)
class Router:
    """A router LSA. `asbr`: it may announce externals; others' externals do not count."""

    router_id: IPv4Address
    asbr: bool
    links: tuple[Link, ...] = ()
    stubs: tuple[Stub, ...] = ()

    @property
    def addresses(self) -> frozenset[IPv4Address]:
        """What it is known by: its id, and its own addresses on links to others."""
        return frozenset({self.router_id, *(IPv4Address(link.data) for link in self.links)})


@dataclass(frozen=True, slots=True)
class Network:
    """A network LSA: `dr` is the designated router's address on it."""

    dr: IPv4Address
    prefix: IPv4Network
    attached: frozenset[IPv4Address]


@dataclass(frozen=True, slots=True)
class Border:
    """A router that announces externals in another area, and the border router and cost by
    which it is reached (a type-4 LSA)."""

    router: IPv4Address
    by: IPv4Address
    cost: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A subnet of another area, and the same (a type-3 LSA)."""

    prefix: IPv4Network
    by: IPv4Address
    cost: int


@dataclass(frozen=True, slots=True)
class Area:
    """All that is known of one area."""

    area_id: str
    routers: tuple[Router, ...]
    networks: tuple[Network, ...] = ()
    summaries: tuple[Summary, ...] = ()
    borders: tuple[Border, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Who announces an address, and how. `forwarding` None: to the router itself.

    Only how metrics compare is kept: of E2 the order (0, 1, …), of E1 what one is above the
    smallest; of an address that one router announces, 0.
    """

    router: IPv4Address
    metric_type: Literal[1, 2] = 2
    metric: int = 0
    forwarding: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Addresses that are announced alike, so reached alike from everywhere."""

    origins: tuple[Origin, ...]
    addresses: tuple[IPv4Address, ...]


def areas(routers: object, networks: object, summaries: object,
          borders: object) -> tuple[Area, ...]:
    """Every area of this node, of ROUTERS, NETWORKS, SUMMARIES and BORDERS. Raises CannotTell."""
    nets = _by_area(Json(NETWORKS, "", networks), "networkLinkStates")
    others = _by_area(Json(SUMMARIES, "", summaries), "summaryLinkStates")
    beyond = _by_area(Json(BORDERS, "", borders), "asbrSummaryLinkStates")
    return tuple(
        Area(area_id, tuple(map(_router, lsas)), tuple(map(_network, nets.get(area_id, ()))),
             tuple(s for s in map(_summary, others.get(area_id, ())) if s.cost < LS_INFINITY),
             tuple(b for b in map(_border, beyond.get(area_id, ())) if b.cost < LS_INFINITY))
        for area_id, lsas in _by_area(Json(ROUTERS, "", routers), "routerLinkStates").items())


def groups(externals: object, allowed: Iterable[IPv4Network]) -> tuple[Group, ...]:
    """The hosts that EXTERNALS announces within the prefixes `allowed`. Raises CannotTell.

    Ten thousand take a tenth of the time that lsdb.externals() needs for them.
    """
    answer = Json(EXTERNALS, "", externals)
    if answer.is_empty():
        return ()
    listed = answer.at("asExternalLinkStates").value
    try:
        by_address = _by_address(listed, [(int(p.netmask), int(p.network_address))
                                          for p in allowed])
    except (KeyError, TypeError, AddressValueError) as error:
        raise answer.fail(f"LSAs as of FRR 8.4 to 10.7 ({error!r})") from None
    alike: dict[tuple[_Said, ...], list[IPv4Address]] = {}
    for address, said in by_address.items():
        alike.setdefault(_comparable(said), []).append(address)
    return tuple(Group(tuple(map(_origin, said)), tuple(addresses))
                 for said, addresses in alike.items())


_Said = tuple[str, Literal[1, 2], int, str]
"""Advertising router, metric type, metric and forwarding address, as FRR writes them."""


def _by_address(listed: Any, allowed: Sequence[tuple[int, int]]) -> dict[IPv4Address, list[_Said]]:
    found: dict[str, list[_Said]] = {}
    for lsa in listed:
        if lsa["networkMask"] == 32 and lsa["lsaAge"] < MAX_AGE and lsa["metric"] < LS_INFINITY:
            found.setdefault(lsa["linkStateId"], []).append(
                (lsa["advertisingRouter"], 1 if lsa["metricType"].startswith("E1") else 2,
                 lsa["metric"], lsa["forwardAddress"]))
    addresses = ((IPv4Address(text), said) for text, said in found.items())
    return {address: said for address, said in addresses
            if any(int(address) & mask == network for mask, network in allowed)}


def _comparable(said: list[_Said]) -> tuple[_Said, ...]:
    """With metrics as Origin has them: otherwise each address might be a group of its own."""
    if len(said) == 1:
        router, _, _, forwarding = said[0]
        return ((router, 2, 0, forwarding),)
    order = sorted({metric for _, kind, metric, _ in said if kind == 2})
    least = min((metric for _, kind, metric, _ in said if kind == 1), default=0)
    return tuple(sorted((router, kind, metric - least if kind == 1 else order.index(metric),
                         forwarding) for router, kind, metric, forwarding in said))


def _origin(said: _Said) -> Origin:
    router, kind, metric, forwarding = said
    return Origin(IPv4Address(router), kind, metric,
                  None if forwarding == "0.0.0.0" else IPv4Address(forwarding))  # noqa: S104


def _by_area(answer: Json, key: str) -> dict[str, list[Json]]:
    """The LSAs of each area that are not being flushed."""
    if answer.is_empty() or answer.at(key).is_empty():
        return {}
    return {area_id: [lsa for lsa in lsas.each() if lsa.at("lsaAge").number() < MAX_AGE]
            for area_id, lsas in answer.at(key).at("areas").items()}


def _router(lsa: Json) -> Router:
    said = [link for _, link in lsa.at("routerLinks").items()] if lsa.has("routerLinks") else []
    kinds = [(LINKS.get(link.at("linkType").text()), link) for link in said]
    for kind, link in kinds:
        if kind is None:
            raise link.at("linkType").fail("a type of link as of FRR 8.4 to 10.7")
    return Router(lsa.at("advertisingRouter").address(), lsa.flag("asbr"),
                  tuple(_link(kind, link) for kind, link in kinds if kind != "stub"),
                  tuple(_stub(link) for kind, link in kinds if kind == "stub"))


def _link(kind: str | None, link: Json) -> Link:
    data, cost = int(link.at("routerInterfaceAddress").address()), link.at("tos0Metric").number()
    if kind == "router":
        return Link("router", link.at("neighborRouterId").address(), data, cost)
    return Link("network", link.at("designatedRouterAddress").address(), data, cost)


def _stub(link: Json) -> Stub:
    return Stub(link.at("networkAddress").network(link.at("networkMask").text()),
                link.at("tos0Metric").number())


def _network(lsa: Json) -> Network:
    return Network(lsa.at("linkStateId").address(),
                   lsa.at("linkStateId").network(lsa.at("networkMask").number()),
                   frozenset(_attached(lsa.at("attchedRouters"))))


def _attached(routers: Json) -> Iterator[IPv4Address]:
    for _, router in routers.items():
        yield router.at("attachedRouterId").address()


def _summary(lsa: Json) -> Summary:
    return Summary(lsa.at("linkStateId").network(lsa.at("networkMask").number()),
                   lsa.at("advertisingRouter").address(), lsa.at("tos0Metric").number())


def _border(lsa: Json) -> Border:
    return Border(lsa.at("linkStateId").address(), lsa.at("advertisingRouter").address(),
                  lsa.at("tos0Metric").number())
