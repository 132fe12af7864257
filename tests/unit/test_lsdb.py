"""lsdb reads what FRR 8.4.4, 10.3 and 10.7.1 really said (captures/, made by captures/capture)."""

# ruff: noqa: S104 (0.0.0.0 is the backbone area here, and the forwarding address "me")

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from pve_ospf import lsdb
from pve_ospf.errors import CannotTell

CAPTURES = Path(__file__).parent / "captures"
VERSIONS = ("8.4.4", "10.3", "10.7.1")
ME = IPv4Address("10.255.0.1")


@pytest.fixture(params=VERSIONS)
def frr(request: pytest.FixtureRequest) -> Callable[[str], object]:
    """Reads a capture of one version."""
    def load(name: str) -> object:
        return json.loads((CAPTURES / str(request.param) / f"{name}.json").read_text())
    return load


Frr = Callable[[str], object]


def test_neighbours_of_every_state(frr: Frr) -> None:
    found = lsdb.neighbours(frr("node-neighbor"))
    assert [(n.interface, str(n.router_id), str(n.address), n.state, n.role) for n in found] == [
        ("eth0", "10.255.0.2", "10.1.0.2", "Full", "Backup"),
        ("eth0", "10.255.0.3", "10.1.0.3", "Full", "DR"),
        ("eth0", "10.255.0.4", "10.1.0.4", "2-Way", "DROther"),
        ("eth0", "10.255.0.5", "10.1.0.5", "2-Way", "DROther"),
        ("p2f", "10.255.0.6", "10.2.0.2", "Full", "-"),
        ("p2g", "10.255.0.7", "10.3.0.2", "Init", "-"),
        ("p2h", "10.255.0.8", "10.4.0.2", "Exchange", "DR"),
    ]
    assert all(0 < n.dead_time <= 3 for n in found)  # seconds; dead-interval is 3
    assert [n.full for n in found] == [True, True, False, False, True, False, False]


def test_the_dr_is_full_with_drothers(frr: Frr) -> None:
    found = lsdb.neighbours(frr("dr-neighbor"))
    assert {(n.state, n.role) for n in found} == {("Full", "DROther"), ("Full", "Backup")}


def test_routers_and_their_addresses(frr: Frr) -> None:
    assert lsdb.router_ids(frr("node-router")) == {
        IPv4Address(f"10.255.0.{number}") for number in range(1, 7)}
    addresses = lsdb.router_addresses(frr("node-router"))
    assert {str(router): sorted(map(str, own)) for router, own in addresses.items()} == {
        # nbma, p2g and p2h have no adjacency, vx0 is passive: subnets only.
        "10.255.0.1": ["10.1.0.1", "10.2.0.1"],
        "10.255.0.2": ["10.1.0.2"], "10.255.0.3": ["10.1.0.3"],
        "10.255.0.4": ["10.1.0.4"], "10.255.0.5": ["10.1.0.5"],
        "10.255.0.6": ["10.2.0.2"],
    }


def test_a_router_that_left_is_not_there(frr: Frr) -> None:
    assert IPv4Address("10.255.0.5") not in lsdb.router_ids(frr("left-router"))
    assert IPv4Address("10.255.0.5") not in lsdb.router_addresses(frr("left-router"))
    assert IPv4Address("10.255.0.4") in lsdb.router_ids(frr("left-router"))


def test_own_externals(frr: Frr) -> None:
    found = lsdb.externals(frr("node-external-self"))
    assert [(str(e.prefix), e.adv_router, e.metric, e.metric_type, str(e.forwarding))
            for e in found] == [
        ("198.51.100.7/32", ME, 1000, 1, "0.0.0.0"),
        ("198.51.100.8/32", ME, 20, 2, "0.0.0.0"),
        ("198.51.100.9/32", ME, 20, 2, "0.0.0.0"),
        ("198.51.100.64/28", ME, 20, 2, "10.1.0.77"),
    ]
    assert all(e.age < 120 and e.lsa_type == 5 for e in found)


def test_everybodys_externals(frr: Frr) -> None:
    found = lsdb.externals(frr("node-external"))
    others = {str(e.prefix) for e in found if e.adv_router != ME}
    assert others == {"198.51.100.20/32", "198.51.100.30/32"}
    assert len(found) == 6


def test_an_lsa_being_flushed_is_not_announced(frr: Frr) -> None:
    assert "3600" in json.dumps(frr("maxage-external-self"))
    assert [str(e.prefix) for e in lsdb.externals(frr("maxage-external-self"))] == [
        "198.51.100.7/32", "198.51.100.8/32", "198.51.100.64/28"]


def test_type_7(frr: Frr) -> None:
    (own,) = lsdb.externals(frr("nssa-nssa-self"))
    assert (str(own.prefix), own.lsa_type, str(own.forwarding)) == (
        "198.51.100.30/32", 7, "10.6.0.2")
    assert len(lsdb.externals(frr("nssa-nssa"))) == 2
    assert lsdb.externals(frr("node-nssa-self")) == ()


@pytest.mark.parametrize(("version", "area", "listed"), [
    ("8.4.4", "nssa", 1), ("10.3", "nssa", 1), ("10.7.1", "nssa", 0),
    ("8.4.4", "stub", 1), ("10.3", "stub", 1), ("10.7.1", "stub", 1)])
def test_a_type_5_no_area_carries_is_listed(version: str, area: str, listed: int) -> None:
    """Why check names NSSA and stub areas by themselves: the own type-5 that nobody outside
    ever sees is listed as if all were well."""
    path = CAPTURES / version / f"{area}-external-self.json"
    assert len(lsdb.externals(json.loads(path.read_text()))) == listed


def test_interfaces(frr: Frr) -> None:
    found = {i.name: i for i in lsdb.ospf_interfaces(frr("node-interface"))}
    assert list(found) == ["eth0", "nbma", "p2f", "p2g", "p2h", "vx0"]
    assert all(i.enabled and i.area == IPv4Address(0) for i in found.values())
    lan = found["eth0"]
    assert (lan.hello_interval, lan.dead_interval, lan.cost) == (1.0, 3, 10)
    assert (lan.state, lan.network_type, lan.neighbours, lan.adjacent) == (
        "DROther", "BROADCAST", 4, 2)
    assert (found["p2f"].state, found["p2f"].network_type) == ("Point-To-Point", "POINTOPOINT")
    assert [i.name for i in found.values() if i.passive] == ["vx0"]
    assert found["vx0"].cost == 65535


def test_area_kinds(frr: Frr) -> None:
    backbone = IPv4Address("0.0.0.0")
    assert lsdb.areas(frr("node-interface")) == {backbone: "normal"}
    assert lsdb.areas(frr("nssa-interface")) == {IPv4Address("0.0.0.1"): "nssa"}
    assert lsdb.areas(frr("stub-interface")) == {IPv4Address("0.0.0.2"): "stub"}


def test_kernel_routes(frr: Frr) -> None:
    found = lsdb.kernel_routes(frr("node-kernel"))
    assert {str(r.prefix): r.interface for r in found} == {
        "198.51.100.7/32": "vmbr1", "198.51.100.8/32": "vmbr1", "198.51.100.9/32": "vmbr1",
        "198.51.100.64/28": "eth0", "203.0.113.9/32": "vmbr1"}
    assert all(r.selected and r.installed for r in found)
    assert {r.interface for r in lsdb.kernel_routes(frr("down-kernel"))} == {"eth0"}
    assert lsdb.kernel_routes(frr("unset-kernel")) == ()


@pytest.mark.parametrize("version", ["10.3", "10.7.1"])
def test_without_router_ospf_there_is_nothing(version: str) -> None:
    """8.4 answers some of these with text, which vtysh.py does not take for JSON."""
    def load(name: str) -> object:
        return json.loads((CAPTURES / version / f"{name}.json").read_text())
    assert lsdb.neighbours(load("unset-neighbor")) == ()
    assert lsdb.router_ids(load("unset-router")) == frozenset()
    assert lsdb.externals(load("unset-external-self")) == ()
    assert lsdb.externals(load("unset-nssa-self")) == ()
    assert lsdb.ospf_interfaces(load("unset-interface")) == ()


def test_a_router_without_interfaces_is_not_no_router(frr: Frr) -> None:
    assert not lsdb.configured(frr("unset-interface"))
    assert lsdb.configured({"interfaces": {}})  # all its links are down
    assert lsdb.configured(frr("node-interface"))


def test_no_neighbours_and_no_interfaces_of_8_4() -> None:
    for name, read in (("neighbor", lsdb.neighbours), ("interface", lsdb.ospf_interfaces)):
        data = json.loads((CAPTURES / "8.4.4" / f"unset-{name}.json").read_text())
        assert read(data) == ()


def test_a_router_without_links() -> None:
    """numOfLinks 0: FRR leaves routerLinks out, or makes it empty."""
    lsa = {"lsaAge": 1, "advertisingRouter": "10.0.0.9", "numOfLinks": 0}
    data = {"routerLinkStates": {"areas": {"0.0.0.0": [lsa, {**lsa, "routerLinks": {}}]}}}
    assert lsdb.router_addresses(data) == {IPv4Address("10.0.0.9"): frozenset()}


def test_loopbacks_count_and_unnumbered_links_do_not() -> None:
    links = {"link0": {"linkType": "another Router (point-to-point)",
                       "routerInterfaceAddress": "0.0.0.7"},
             "link1": {"linkType": "Stub Network", "networkAddress": "10.0.0.9",
                       "networkMask": "255.255.255.255"}}
    lsa = {"lsaAge": 1, "advertisingRouter": "10.0.0.9", "routerLinks": links}
    data = {"routerLinkStates": {"areas": {"0.0.0.0": [lsa]}}}
    assert lsdb.router_addresses(data) == {
        IPv4Address("10.0.0.9"): frozenset({IPv4Address("10.0.0.9")})}


def test_the_metric_is_that_of_the_lsa() -> None:
    lsa = {"lsaAge": 1, "linkStateId": "198.51.100.7", "networkMask": 24, "metric": 5,
           "metricType": "E1", "advertisingRouter": "10.0.0.9", "forwardAddress": "0.0.0.0"}
    (found,) = lsdb.externals({"asExternalLinkStates": [lsa]})
    assert found.prefix == IPv4Network("198.51.100.0/24")  # host bits: RFC 2328, appendix E
    assert (found.metric, found.metric_type) == (5, 1)


NEIGHBOUR = {"nbrState": "Full/DR", "ifaceName": "eth0:10.0.0.1", "ifaceAddress": "10.0.0.2",
             "routerDeadIntervalTimerDueMsec": 2000}


@pytest.mark.parametrize(("read", "data", "says"), [
    (lsdb.neighbours, [], "'show ip ospf neighbor json' is not understood: expected an object"),
    (lsdb.neighbours, None, "expected an object"),
    (lsdb.neighbours, {"default": {}}, "the key 'neighbors'"),
    (lsdb.neighbours, {"neighbors": {"10.0.0.9": {}}}, "neighbors.10.0.0.9: expected a list"),
    (lsdb.neighbours, {"neighbors": {"10.0.0.9": [{}]}}, "the key 'nbrState'"),
    (lsdb.neighbours, {"neighbors": {"noNbrId": [NEIGHBOUR]}}, "an IPv4 address"),
    (lsdb.neighbours, {"neighbors": {"10.0.0.9": [{**NEIGHBOUR, "nbrState": 8}]}},
     r"neighbors.10.0.0.9\[0\].nbrState: expected text, found '8'"),
    (lsdb.router_ids, {"routerLinkStates": {}}, "the key 'areas'"),
    (lsdb.router_ids, {"routerLinkStates": {"areas": {"0.0.0.0": [{}]}}}, "the key 'lsaAge'"),
    (lsdb.externals, {"externals": []}, "the key 'asExternalLinkStates'"),
    (lsdb.externals, {"asExternalLinkStates": [{"lsaAge": "7"}]}, "expected a number"),
    (lsdb.externals, {"asExternalLinkStates": [{"lsaAge": 7}]}, "the key 'metricType'"),
    (lsdb.externals, {"asExternalLinkStates": [{"lsaAge": 7, "metricType": "O"}]}, "E1 or E2"),
    (lsdb.ospf_interfaces, {"eth0": {}}, "the key 'interfaces'"),
    (lsdb.ospf_interfaces, {"interfaces": {"eth0": {"ospfEnabled": 1}}}, "true or false"),
    (lsdb.ospf_interfaces, {"interfaces": {"eth0": {"ospfEnabled": True, "area": "0.0.0.1 [X]"}}},
     r"interfaces.eth0.area: expected an area with \[Stub\]"),
    (lsdb.kernel_routes, {"10.0.0.0/8": [{}]}, "the key 'nexthops'"),
    (lsdb.kernel_routes, {"10.0.0.0/8": [{"nexthops": [], "prefix": "::/0"}]}, "an IPv4 prefix"),
])
def test_what_is_not_understood_is_never_empty(
        read: Callable[[object], object], data: object, says: str) -> None:
    with pytest.raises(CannotTell, match=says):
        read(data)


@pytest.mark.parametrize("name", ["node-external-self", "maxage-external-self",
                                  "nssa-external-self", "stub-external-self"])
def test_the_quick_way_to_the_hosts_announced(frr: Frr, name: str) -> None:
    assert lsdb.external_hosts(frr(name)) == {
        e.prefix.network_address for e in lsdb.externals(frr(name)) if e.prefix.prefixlen == 32}


@pytest.mark.parametrize("name", ["node-kernel", "down-kernel", "unset-kernel"])
def test_the_quick_way_to_zebras_hosts(frr: Frr, name: str) -> None:
    assert set(lsdb.kernel_hosts(frr(name))) == {
        r for r in lsdb.kernel_routes(frr(name)) if r.prefix.prefixlen == 32}


@pytest.mark.parametrize("data", [
    {"asExternalLinkStates": [{"lsaAge": 1}]}, {"asExternalLinkStates": 7}, {"other": []}, []])
def test_hosts_that_are_not_understood(data: object) -> None:
    with pytest.raises(CannotTell):
        lsdb.external_hosts(data)


@pytest.mark.parametrize("data", [
    {"198.51.100.7/32": [{"selected": True}]}, {"198.51.100.7/32": 7}, []])
def test_zebras_hosts_that_are_not_understood(data: object) -> None:
    with pytest.raises(CannotTell):
        lsdb.kernel_hosts(data)
