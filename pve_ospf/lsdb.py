"""Pure: what FRR says about OSPF, as JSON of every supported version → frozen values.

Each function names the command whose JSON it reads (vtysh appends `json`). The shapes were
captured from FRR 8.4.4, 10.3 and 10.7.1 (tests/unit/captures). `{}` is FRR's answer where
there is no `router ospf`, and means that there is nothing. Any other shape that is not
understood raises CannotTell with the command and the key: an empty result always means that
FRR said so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Literal

from .frrjson import Json as _Json

NEIGHBOURS = "show ip ospf neighbor"
"""Not `… detail`: without `router ospf` that prints nothing at all on 8.4, and it lacks the
role there. Neighbours that were never heard (NBMA) are in neither."""
ROUTERS = "show ip ospf database router"
EXTERNALS = "show ip ospf database external"
OWN_EXTERNALS = "show ip ospf database external self-originate"
OWN_NSSA_EXTERNALS = "show ip ospf database nssa-external self-originate"
INTERFACES = "show ip ospf interface"
KERNEL_ROUTES = "show ip route kernel"

MAX_AGE = 3600
"""Seconds (RFC 2328, appendix B). An LSA of this age is being flushed; FRR goes on listing it
for up to a minute."""

AreaKind = Literal["normal", "stub", "nssa"]


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    """A router heard on an interface. `dead_time`: seconds left until it counts as gone."""

    interface: str
    router_id: IPv4Address
    address: IPv4Address
    state: str
    role: str
    dead_time: float

    @property
    def full(self) -> bool:
        return self.state == "Full"


@dataclass(frozen=True, slots=True, order=True)
class ExternalLsa:
    """A type-5 or type-7 LSA that is not being flushed. `age` is in seconds, `forwarding`
    0.0.0.0 where the announcing router itself is meant."""

    prefix: IPv4Network
    adv_router: IPv4Address
    metric: int
    metric_type: Literal[1, 2]
    forwarding: IPv4Address
    age: int
    lsa_type: Literal[5, 7] = 5


@dataclass(frozen=True, slots=True, order=True)
class OspfInterface:
    """An interface OSPF knows; the fields from `area` on only count when `enabled`.

    Intervals are seconds. `state` is this router's role on it ("DR", "Backup", "DROther",
    "Point-To-Point", "Waiting", "Down", …), `network_type` FRR's word ("BROADCAST",
    "POINTOPOINT", "NBMA", …). `adjacent` of the `neighbours` are Full.
    """

    name: str
    enabled: bool
    area: IPv4Address = IPv4Address(0)
    area_kind: AreaKind = "normal"
    hello_interval: float = 0
    dead_interval: int = 0
    cost: int = 0
    passive: bool = False
    state: str = ""
    network_type: str = ""
    neighbours: int = 0
    adjacent: int = 0


@dataclass(frozen=True, slots=True, order=True)
class KernelRoute:
    """A kernel route as zebra pictures it; `interface` is "" for blackhole and unreachable.

    Only a selected one is announced; `installed`: zebra believes the kernel has it.
    """

    prefix: IPv4Network
    interface: str
    selected: bool
    installed: bool


def neighbours(data: object) -> tuple[Neighbour, ...]:
    """Every neighbour of NEIGHBOURS, by interface and router id."""
    answer = _Json(NEIGHBOURS, "", data)
    if answer.is_empty():
        return ()
    return tuple(sorted(
        _neighbour(router_id, entry)
        for router_id, entries in answer.at("neighbors").items()
        for entry in entries.each()))


def router_ids(data: object) -> frozenset[IPv4Address]:
    """Every router of our areas, ourselves included, of ROUTERS."""
    return frozenset(lsa.at("advertisingRouter").address() for lsa in _router_lsas(data))


def own_router_id(data: object) -> IPv4Address:
    """This router's own id, of ROUTERS where there is a `router ospf`."""
    return _Json(ROUTERS, "", data).at("routerId").address()


def router_addresses(data: object) -> Mapping[IPv4Address, frozenset[IPv4Address]]:
    """Router id → the router's own interface addresses, of ROUTERS.

    An interface on which a router has no neighbour is in its LSA as a subnet only, so its
    address is not here; host addresses (loopbacks) are.
    """
    found: dict[IPv4Address, set[IPv4Address]] = {}
    for lsa in _router_lsas(data):
        links = lsa.at("routerLinks").items() if lsa.has("routerLinks") else iter(())
        own = found.setdefault(lsa.at("advertisingRouter").address(), set())
        own.update(a for _, link in links for a in _own_address(link))
    return {router: frozenset(own) for router, own in found.items()}


def externals(data: object) -> tuple[ExternalLsa, ...]:
    """The external LSAs of EXTERNALS, OWN_EXTERNALS or OWN_NSSA_EXTERNALS, by prefix.

    8.4 and 8.5 answer `self-originate` with an object by prefix, everything else (and they,
    without it) is a list; type-7 LSAs stand one level deeper, by area.
    """
    answer = _Json(EXTERNALS, "", data)
    if answer.is_empty():
        return ()
    if answer.has("NSSA-external Link States"):
        return _type_7(answer.at("NSSA-external Link States"))
    if answer.has("nssaExternalLinkStates"):
        return _type_7(answer.at("nssaExternalLinkStates").at("areas"))
    old = answer.has("AS External Link States")
    lsas = answer.at("AS External Link States" if old else "asExternalLinkStates")
    return tuple(sorted(_external(lsa, 5) for lsa in _living(lsas)))


def ospf_interfaces(data: object) -> tuple[OspfInterface, ...]:
    """Every interface of INTERFACES, by name; without a link it is not listed."""
    answer = _Json(INTERFACES, "", data)
    if answer.is_empty():
        return ()
    return tuple(sorted(_interface(name, entry)
                        for name, entry in answer.at("interfaces").items()))


def configured(data: object) -> bool:
    """Whether there is a `router ospf`, of INTERFACES. It need not show an interface then: one
    without a link is not listed (8.4)."""
    return not _Json(INTERFACES, "", data).is_empty()


def areas(data: object) -> Mapping[IPv4Address, AreaKind]:
    """Area → its kind, of INTERFACES (`show ip ospf json` does not show a stub area as one)."""
    return {i.area: i.area_kind for i in ospf_interfaces(data) if i.enabled}


def kernel_routes(data: object) -> tuple[KernelRoute, ...]:
    """zebra's picture of the kernel's routes, of KERNEL_ROUTES, by prefix."""
    return tuple(sorted(
        _kernel_route(entry)
        for _, entries in _Json(KERNEL_ROUTES, "", data).items()
        for entry in entries.each()))


def external_hosts(data: object) -> frozenset[IPv4Address]:
    """The hosts (/32) of the type-5 LSAs that externals() reads, and nothing else of them: a
    node that compares a thousand every half minute spends four times as long on the rest."""
    answer = _Json(OWN_EXTERNALS, "", data)
    if answer.is_empty():
        return frozenset()
    old = answer.has("AS External Link States")
    listed = answer.at("AS External Link States" if old else "asExternalLinkStates").value
    each = listed.values() if isinstance(listed, dict) else listed
    try:
        return frozenset(IPv4Address(lsa["linkStateId"]) for lsa in each  # type: ignore[attr-defined]
                         if lsa["networkMask"] == 32 and lsa["lsaAge"] < MAX_AGE)
    except (KeyError, TypeError, AddressValueError) as error:
        raise answer.fail(f"LSAs as of FRR 8.4 to 10.7 ({error!r})") from None


def kernel_hosts(data: object) -> tuple[KernelRoute, ...]:
    """The hosts (/32) of kernel_routes(), in no order, as quickly as external_hosts()."""
    answer = _Json(KERNEL_ROUTES, "", data)
    found = []
    try:
        for entries in answer.mapping().values():
            for entry in entries:  # type: ignore[attr-defined]
                if entry["prefix"].endswith("/32"):
                    device = next((hop["interfaceName"] for hop in entry["nexthops"]
                                   if "interfaceName" in hop), "")
                    found.append(KernelRoute(IPv4Network(entry["prefix"]), device,
                                             entry.get("selected") is True,
                                             entry.get("installed") is True))
    except (KeyError, TypeError, AttributeError, AddressValueError) as error:
        raise answer.fail(f"routes as of FRR 8.4 to 10.7 ({error!r})") from None
    return tuple(found)


def _neighbour(router_id: str, entry: _Json) -> Neighbour:
    # "Full/DR"; an interface is named with its address behind it: "eth0:10.1.0.1".
    state, _, role = entry.at("nbrState").text().partition("/")
    interface = entry.at("ifaceName").text()
    return Neighbour(
        interface=interface.rpartition(":")[0] or interface,
        router_id=_Json(entry.command, entry.path, router_id).address(),
        address=entry.at("ifaceAddress").address(),
        state=state, role=role,
        dead_time=entry.at("routerDeadIntervalTimerDueMsec").number() / 1000)


def _living(lsas: _Json) -> Iterator[_Json]:
    """The LSAs of a list, or of an object by prefix, that are not being flushed."""
    listed = lsas.each() if isinstance(lsas.value, list) else (lsa for _, lsa in lsas.items())
    return (lsa for lsa in listed if lsa.at("lsaAge").number() < MAX_AGE)


def _router_lsas(data: object) -> Iterator[_Json]:
    answer = _Json(ROUTERS, "", data)
    if not answer.is_empty():
        for _, lsas in answer.at("routerLinkStates").at("areas").items():
            yield from _living(lsas)


def _own_address(link: _Json) -> Iterator[IPv4Address]:
    if link.has("routerInterfaceAddress"):
        address = link.at("routerInterfaceAddress").address()
        if int(address) >= 2**24:  # an unnumbered link carries the interface's index instead
            yield address
    elif link.has("networkMask") and link.at("networkMask").text() == "255.255.255.255":
        yield link.at("networkAddress").address()


def _type_7(areas: _Json) -> tuple[ExternalLsa, ...]:
    return tuple(sorted(_external(lsa, 7) for _, lsas in areas.items() for lsa in _living(lsas)))


def _external(lsa: _Json, lsa_type: Literal[5, 7]) -> ExternalLsa:
    kind = lsa.at("metricType")
    if not kind.text().startswith(("E1", "E2")):
        raise kind.fail("E1 or E2")
    return ExternalLsa(
        prefix=lsa.at("linkStateId").network(lsa.at("networkMask").number()),
        adv_router=lsa.at("advertisingRouter").address(),
        metric=lsa.at("metric").number(),
        metric_type=1 if kind.text().startswith("E1") else 2,
        forwarding=lsa.at("forwardAddress" if lsa_type == 5 else "nssaForwardAddress").address(),
        age=lsa.at("lsaAge").number(),
        lsa_type=lsa_type)


def _interface(name: str, entry: _Json) -> OspfInterface:
    if not entry.flag("ospfEnabled"):
        return OspfInterface(name, enabled=False)
    area, kind = _area(entry.at("area"))
    return OspfInterface(
        name=name, enabled=True, area=area, area_kind=kind,
        hello_interval=entry.at("timerMsecs").number() / 1000,
        dead_interval=entry.at("timerDeadSecs").number(),
        cost=entry.at("cost").number(),
        passive=entry.flag("timerPassiveIface"),
        state=entry.at("state").text(),
        network_type=entry.at("networkType").text(),
        neighbours=entry.at("nbrCount").number(),
        adjacent=entry.at("nbrAdjacentCount").number())


def _area(area: _Json) -> tuple[IPv4Address, AreaKind]:
    number, _, note = area.text().partition(" ")
    kinds: dict[str, AreaKind] = {"": "normal", "[Stub]": "stub", "[NSSA]": "nssa"}
    if note not in kinds:
        raise area.fail("an area with [Stub], [NSSA] or nothing behind it")
    return _Json(area.command, area.path, number).address(), kinds[note]


def _kernel_route(entry: _Json) -> KernelRoute:
    hops = list(entry.at("nexthops").each())
    interface = next((h.at("interfaceName").text() for h in hops if h.has("interfaceName")), "")
    return KernelRoute(entry.at("prefix").network(), interface,
                       entry.flag("selected"), entry.flag("installed"))
