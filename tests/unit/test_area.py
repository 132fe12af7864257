"""area reads what FRR 8.4.4, 10.3 and 10.7.1 really said (captures/, made by captures/capture)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from pve_ospf.area import (
    Area,
    Border,
    Group,
    Link,
    Network,
    Origin,
    Router,
    Stub,
    Summary,
    areas,
    groups,
)
from pve_ospf.errors import CannotTell

CAPTURES = Path(__file__).parent / "captures"
ALLOWED = (IPv4Network("198.51.100.0/24"),)
T, U, W = (IPv4Address(f"10.255.0.{number}") for number in (20, 21, 22))


@pytest.fixture(params=("8.4.4", "10.3", "10.7.1"))
def frr(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Reads a capture of one version."""
    def load(name: str) -> Any:
        return json.loads((CAPTURES / str(request.param) / f"{name}.json").read_text())
    return load


Frr = Callable[[str], Any]


def of(frr: Frr, name: str) -> Area:
    summaries = [frr(f"{name}-{kind}") if name == "area" else {}
                 for kind in ("summary", "asbr-summary")]
    (found,) = areas(frr(f"{name}-router"), frr(f"{name}-network"), *summaries)
    return found


def address(text: str) -> int:
    return int(IPv4Address(text))


def test_links_of_every_kind(frr: Frr) -> None:
    """Two point-to-point links between t and u, one of them without a subnet, and a LAN."""
    found = of(frr, "area")
    subnet = Stub(IPv4Network("10.20.0.0/30"), 10)
    (network,) = found.networks
    assert network.dr in (IPv4Address("10.20.2.1"), IPv4Address("10.20.2.2"))
    assert network == Network(network.dr, IPv4Network("10.20.2.0/24"), frozenset({T, U}))
    t, u = (replace(r, links=tuple(sorted(r.links, key=lambda link: link.data)))
            for r in found.routers)
    assert t == Router(T, False, (
        Link("router", U, t.links[0].data, 10), Link("router", U, address("10.20.0.1"), 10),
        Link("network", network.dr, address("10.20.2.1"), 10)), (subnet,))
    assert u == Router(U, False, (
        Link("router", T, u.links[0].data, 77), Link("router", T, address("10.20.0.2"), 10),
        Link("network", network.dr, address("10.20.2.2"), 10)), (subnet,))
    assert 0 < t.links[0].data < 100, "the interface's index"


def test_what_is_known_of_other_areas(frr: Frr) -> None:
    found = of(frr, "area")
    assert found.borders == (Border(W, U, 10),)
    assert found.summaries == (Summary(IPv4Network("10.20.3.0/24"), U, 10),)


def test_a_border_router_knows_several_areas(frr: Frr) -> None:
    found = areas(frr("area-border-router"), {}, {}, {})
    assert [(a.area_id, [r.router_id for r in a.routers]) for a in found] == [
        ("0.0.0.0", [T, U]), ("0.0.0.3", [U, W])]
    assert [r.asbr for r in found[1].routers] == [False, True]


def test_a_lan_of_five(frr: Frr) -> None:
    found = of(frr, "node")
    assert len(found.routers) == 6
    (network,) = found.networks
    assert (network.dr, network.prefix) == (IPv4Address("10.1.0.3"), IPv4Network("10.1.0.0/24"))
    assert len(network.attached) >= 3
    assert {str(r.router_id) for r in found.routers if r.asbr} == {"10.255.0.1", "10.255.0.6"}


def test_hosts_by_who_announces_them(frr: Frr) -> None:
    me, f = IPv4Address("10.255.0.1"), IPv4Address("10.255.0.6")
    assert {g.origins: [str(a) for a in g.addresses]
            for g in groups(frr("node-external"), ALLOWED)} == {
        # E1 and E2 alike where nobody else announces the address; the /28 is no host.
        (Origin(me),): ["198.51.100.7", "198.51.100.8", "198.51.100.9"],
        (Origin(f),): ["198.51.100.20"],
        # From the NSSA, which the border router translates.
        (Origin(f, forwarding=IPv4Address("10.6.0.2")),): ["198.51.100.30"]}
    assert groups(frr("node-external"), [IPv4Network("198.51.100.8/31")]) == (
        Group((Origin(me),), (IPv4Address("198.51.100.8"), IPv4Address("198.51.100.9"))),)


def test_a_forwarding_address(frr: Frr) -> None:
    assert {g.origins: [str(a) for a in g.addresses]
            for g in groups(frr("area-external"), ALLOWED)} == {
        (Origin(W),): ["198.51.100.50"],
        (Origin(W, forwarding=IPv4Address("10.20.3.9")),): ["198.51.100.51"]}


def test_what_is_being_flushed_is_not_there(frr: Frr) -> None:
    """A host that was withdrawn, a router that left, an external of infinite metric."""
    flushed = frr("area-external")
    flushed["asExternalLinkStates"][0]["lsaAge"] = 3600
    assert [str(a) for g in groups(flushed, ALLOWED) for a in g.addresses] == ["198.51.100.51"]
    (left,) = areas(frr("left-router"), {}, {}, {})
    assert IPv4Address("10.255.0.5") not in {r.router_id for r in left.routers}
    infinite = frr("area-external")
    for lsa in infinite["asExternalLinkStates"]:
        lsa["metric"] = 0xFFFFFF
    assert groups(infinite, ALLOWED) == ()


def test_without_ospf_there_is_nothing() -> None:
    assert areas({}, {}, {}, {}) == ()
    assert groups({}, ALLOWED) == ()


def test_a_router_that_is_alone() -> None:
    """As all three versions say it."""
    alone = {"lsaAge": 0, "advertisingRouter": "10.255.0.1", "routerLinks": {"link0": {
        "linkType": "Stub Network", "networkAddress": "10.1.0.0", "networkMask": "255.255.255.0",
        "numOfTosMetrics": 0, "tos0Metric": 10}}}
    empty = [{"routerId": "10.255.0.1", f"{kind}LinkStates": {"areas": {"0.0.0.0": []}}}
             for kind in ("network", "summary", "asbrSummary")]
    (found,) = areas({"routerLinkStates": {"areas": {"0.0.0.0": [alone]}}}, *empty)
    assert found == Area("0.0.0.0", (Router(  # noqa: S104
        IPv4Address("10.255.0.1"), False, (), (Stub(IPv4Network("10.1.0.0/24"), 10),)),))
    assert groups({"routerId": "10.255.0.1", "asExternalLinkStates": []}, ALLOWED) == ()


def lsas(*said: tuple[str, str, str, int]) -> object:
    return {"asExternalLinkStates": [
        {"linkStateId": host, "networkMask": 32, "lsaAge": 1, "advertisingRouter": router,
         "metricType": kind, "metric": metric, "forwardAddress": "0.0.0.0"}  # noqa: S104
        for host, router, kind, metric in said]}


def test_only_how_metrics_compare_makes_groups() -> None:
    one, two = "10.0.0.1", "10.0.0.2"
    first, second = IPv4Address(one), IPv4Address(two)
    found = groups(lsas(("198.51.100.1", one, "E2 (…)", 20), ("198.51.100.1", two, "E2", 1000),
                        ("198.51.100.2", one, "E2", 5), ("198.51.100.2", two, "E2", 6),
                        ("198.51.100.3", one, "E1", 7), ("198.51.100.3", two, "E1", 9),
                        ("198.51.100.4", one, "E1", 1), ("198.51.100.4", two, "E2", 1)), ALLOWED)
    assert [(g.origins, len(g.addresses)) for g in found] == [
        ((Origin(first, 2, 0), Origin(second, 2, 1)), 2),
        ((Origin(first, 1, 0), Origin(second, 1, 2)), 1),
        ((Origin(first, 1, 0), Origin(second, 2, 0)), 1)]


@pytest.mark.parametrize("broken", [
    {"routerLinkStates": {"areas": {"0.0.0.0": [{"lsaAge": 1, "advertisingRouter": "10.0.0.1",
        "routerLinks": {"link0": {"linkType": "a Wormhole"}}}]}}},
    {"routerLinkStates": {"areas": {"0.0.0.0": [{"lsaAge": 1}]}}},
    {"elsewhere": {}}])
def test_what_is_not_understood_is_an_error(broken: object) -> None:
    with pytest.raises(CannotTell, match="database router json' is not understood"):
        areas(broken, {}, {}, {})


def test_externals_that_are_not_understood_are_an_error() -> None:
    with pytest.raises(CannotTell, match="database external json' is not understood"):
        groups({"asExternalLinkStates": [{"linkStateId": "198.51.100.1"}]}, ALLOWED)
