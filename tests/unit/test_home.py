"""Addresses at home and away: who is answered for, by whom, and who is in the way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from pve_ospf import home
from pve_ospf.announce import Node, never_ours
from pve_ospf.config import Allow, Config
from pve_ospf.interfaces import classify
from pve_ospf.lsdb import Neighbour as OspfNeighbour
from pve_ospf.model import Announcement, Guest, GuestNet, Interface
from pve_ospf.routes import Neighbour, Route

MAC, STRANGER = "bc:24:11:00:00:01", "02:00:00:00:00:99"
AWAY, GATEWAY = IPv4Address("10.0.1.77"), IPv4Address("10.0.1.1")
CONFIG = Config(allow=(Allow(IPv4Network("10.0.0.0/8"), guests=frozenset({101})),
                       Allow(IPv4Network("198.51.100.0/24"))))
UPLINK = Interface(3, "vmbr0", "bridge", addresses=(IPv4Interface("10.0.1.12/24"),))
INTERFACES = (Interface(2, "eno1", master="vmbr0"), UPLINK, Interface(4, "vmbr1", "bridge"))
NODE = Node("pve2", classify(CONFIG, INTERFACES), INTERFACES,
            never=never_ours(INTERFACES, [GATEWAY], [], []))
LEARNED = Route(IPv4Network(AWAY), "vmbr0", protocol=188, scope=0, priority=20, gateway=GATEWAY)
NODES = {"pve1": frozenset({IPv4Address("10.0.1.11")}),
         "pve2": frozenset({IPv4Address("10.0.1.12")}),
         "pve4": frozenset({IPv4Address("10.255.0.4"), IPv4Address("192.0.2.4")}),
         "pve3": frozenset({IPv4Address("10.0.2.13")})}
OWN = IPv4Address("10.0.1.12")


def _guest(address: str = "10.0.1.77", node: str = "pve3", vmid: int = 101,
           hookscript: str | None = "local:snippets/pve-ospf") -> Guest:
    return Guest(vmid, "lxc", node, hookscript=hookscript,
                 nets=(GuestNet(0, "vmbr1", MAC, IPv4Address(address)),))


def _away(guest: Guest, *routes: Route) -> home.PerUplink:
    return home.away(CONFIG, [guest], NODE, routes)


def test_an_address_of_the_own_subnet_that_ospf_knows_elsewhere_is_away() -> None:
    assert _away(_guest(), LEARNED) == {"vmbr0": {AWAY}}


@pytest.mark.parametrize("guest", [
    _guest(node="pve2"),  # it is this node's own
    _guest(hookscript=None),
    _guest(vmid=102),  # forbidden by allow
    _guest("198.51.100.7"),  # in no subnet of ours
    _guest("10.0.1.78"),  # nobody announces it
])
def test_any_other_is_not(guest: Guest) -> None:
    other = replace(LEARNED, destination=IPv4Network("198.51.100.7/32"))
    assert _away(guest, LEARNED, other) == {}


def test_nor_one_the_policy_never_gives_away() -> None:
    assert _away(_guest("10.0.1.1"),
                 replace(LEARNED, destination=IPv4Network("10.0.1.1/32"))) == {}


@pytest.mark.parametrize("table", [
    [],  # it runs in this same network, or nowhere
    [replace(LEARNED, gateway=None)],
    [replace(LEARNED, gateway=None, kind="blackhole")],
    [replace(LEARNED, destination=IPv4Network("10.0.1.0/24"))],
    [LEARNED, Route(IPv4Network(AWAY), "vmbr1")],  # it came home: ours is there again
])
def test_without_a_host_route_to_another_network_there_is_silence(table: list[Route]) -> None:
    assert _away(_guest(), *table) == {}


HERE = Announcement(AWAY, "vmbr1", MAC, 101, "vmbr0")


def test_at_home_it_is_defended_and_probed_for_before_its_proxy_entry_is_made() -> None:
    on_the_lan = Announcement(IPv4Address("10.0.1.78"), "vmbr0", MAC, 102, "vmbr0")
    announced = Announcement(IPv4Address("198.51.100.7"), "vmbr1", MAC, 103)
    both = [HERE, on_the_lan, announced]
    assert home.defended(both) == {"vmbr0": {AWAY}}
    assert home.arriving(both, []) == {"vmbr0": {AWAY}}
    assert home.arriving(both, [Neighbour(AWAY, "vmbr0")]) == {}
    assert home.arriving(both, [Neighbour(AWAY, "vmbr9")]) == {"vmbr0": {AWAY}}


def _peer(router_id: str, state: str = "Full", interface: str = "vmbr0",
          address: str = "10.0.1.99") -> OspfNeighbour:
    return OspfNeighbour(interface, IPv4Address(router_id), IPv4Address(address), state, "DR", 3)


@pytest.mark.parametrize(("neighbours", "ours"), [
    ([], True),
    ([_peer("10.0.1.11")], False),
    ([_peer("10.0.1.11", "2-Way")], False),
    ([_peer("10.0.1.11", "Init")], True),  # it does not hear us yet
    ([_peer("10.0.1.11", interface="vmbr9")], True),
    ([_peer("10.0.1.1")], True),  # a router, no node
    ([_peer("192.0.2.4")], True),
    ([_peer("1.1.1.1", address="10.0.1.11")], False),  # a node by its address
    ([_peer("192.0.2.4"), _peer("10.0.1.11")], False),
    ([_peer("9.0.0.1"), _peer("10.0.2.13")], True),  # as numbers: 10.0.2.13 is the higher
])
def test_the_lowest_router_id_alive_among_the_nodes_answers(
        neighbours: list[OspfNeighbour], ours: bool) -> None:
    assert home.answers(OWN, "vmbr0", neighbours, NODES) is ours
    wanted = home.answered_for({"vmbr0": frozenset({AWAY})}, OWN, neighbours, NODES)
    assert wanted == ({"vmbr0": {AWAY}} if ours else {})


def test_of_three_nodes_exactly_one_answers() -> None:
    ids = ["10.0.1.11", "10.0.1.12", "192.0.2.4"]
    answering = [own for own in ids
                 if home.answers(IPv4Address(own), "vmbr0",
                                 [_peer(other) for other in ids if other != own], NODES)]
    assert answering == ["10.0.1.11"]


def test_nodes_on_an_uplink_are_found_by_address_and_by_ospf() -> None:
    heard = [_peer("192.0.2.4", address="10.0.1.14"), _peer("10.0.1.1", address="10.0.1.1")]
    nodes = home.nodes_on(UPLINK, heard, NODES)
    assert nodes == {IPv4Address("10.0.1.11"), IPv4Address("10.0.1.14")}
    entries = [Neighbour(IPv4Address("10.0.1.11"), "vmbr0", "02:00:00:00:00:11"),
               Neighbour(IPv4Address("10.0.1.14"), "vmbr9", "02:00:00:00:00:14"),
               Neighbour(GATEWAY, "vmbr0", "02:00:00:00:00:01"),
               Neighbour(IPv4Address("10.0.1.14"), "vmbr0")]
    assert home.macs_of(nodes, "vmbr0", entries) == {"02:00:00:00:00:11"}


@pytest.mark.parametrize(("heard", "found"), [
    ({}, {}),
    ({AWAY: {STRANGER}}, {AWAY: STRANGER}),
    ({AWAY: {"02:00:00:00:00:11"}}, {}),  # a node, by what was known of it
    ({AWAY: {"02:00:00:00:00:14"}}, {AWAY: "02:00:00:00:00:14"}),
    ({AWAY: {"02:00:00:00:00:14"}, IPv4Address("10.0.1.14"): {"02:00:00:00:00:14"}}, {}),
    ({AWAY: {"02:00:00:00:00:11", STRANGER}}, {AWAY: STRANGER}),  # a node hides no stranger
    ({GATEWAY: {STRANGER}}, {}),  # nobody asked for it
])
def test_who_is_in_the_way_is_a_stranger(
        heard: dict[IPv4Address, Collection[str]], found: dict[IPv4Address, str]) -> None:
    assert home.conflicts(heard, [AWAY], [IPv4Address("10.0.1.14")],
                          {"02:00:00:00:00:11"}) == found
