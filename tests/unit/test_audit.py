"""audit(): which router reaches which address across a tunnel, rule by rule of RFC 2328."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from pve_ospf.area import Border, Group, Origin, Stub, Summary
from pve_ospf.audit import Audit, Crossing, audit
from pve_ospf.tunnels import Told, Tunnel
from tests.unit.areas import NAMES, Map, group, router_id

WEB = "198.51.100.7"


def audited(area: Map, *groups: Group, what_if: bool = False) -> Audit:
    return audit([area.area()], groups, area.told(), NAMES, what_if)


def across(area: Map, *groups: Group) -> dict[str, str]:
    """Router → its path, of those that cross a tunnel."""
    return {c.router: c.path for c in audited(area, *groups).crossings}


def triangle(direct: int = 10, through: int = 10) -> Map:
    """a - b directly and by way of c; the direct link is the tunnel."""
    area = Map("abc")
    area.tunnel(area.link("a", "b", direct), "a", "b")
    area.link("a", "c", through)
    area.link("c", "b", through)
    return area


def test_a_tunnel_on_the_shortest_path_is_named() -> None:
    (found,) = audited(triangle(), group(WEB, "b", count=3)).crossings
    assert found == Crossing("a", "b", 3, IPv4Address(WEB), "a =tun1= b", ("tun1 (a, b)",))


def test_a_tunnel_beside_the_shortest_path_is_none() -> None:
    assert across(triangle(65535), group(WEB, "b")) == {}


def test_of_equal_cost_the_one_across_the_tunnel_counts() -> None:
    (found,) = audited(triangle(20), group(WEB, "b")).crossings
    assert (found.path, found.shared) == ("a =tun1= b", True)


def test_without_tunnels_there_is_nothing() -> None:
    area = triangle()
    area.tunnels.clear()
    assert audited(area, group(WEB, "b", count=9), what_if=True) == Audit(
        (), (), (), routers=3, addresses=9, links=3)


def test_cost_counts_in_the_direction_of_the_traffic() -> None:
    area = Map("abc")
    area.tunnel(area.link("a", "b", 65535, back=1), "a", "b")
    area.link("a", "c", 10, back=100)
    area.link("c", "b")
    assert across(area, group(WEB, "b")) == {}
    assert across(area, group(WEB, "a")) == {"b": "b =tun1= a", "c": "c - b =tun1= a"}


def test_who_announces_an_address_itself_goes_nowhere_for_it() -> None:
    assert across(triangle(), group(WEB, "a", "b")) == {}


def test_it_is_enough_that_one_end_tells() -> None:
    """A tunnel to a router that is no node."""
    area = triangle()
    del area.tunnels["b"]
    assert across(area, group(WEB, "b")) == {"a": "a =tun1= b"}
    assert across(area, group(WEB, "a")) == {"b": "b =tun1= a"}


def test_a_link_that_the_other_end_does_not_link_back_is_none() -> None:
    area = Map("abc")
    area.tunnel(area.link("a", "b", 1, one_way=True), "a")
    area.link("a", "c", 100)
    area.link("c", "b", 100)
    assert across(area, group(WEB, "b")) == {}


# Networks.

def lans() -> Map:
    """a and d on two LANs by b and by c, and a VXLAN of b, c and d."""
    area = Map("abcd")
    area.lan("abc")
    area.lan("cd")
    area.tunnel(area.lan("bcd", 1), "b", "c", "d")
    return area


def test_a_tunnel_that_is_a_network() -> None:
    assert across(lans(), group(WEB, "d")) == {
        "a": "a - b =tun3= d", "b": "b =tun3= d", "c": "c =tun3= d"}
    assert {t for c in audited(lans(), group(WEB, "d")).crossings for t in c.tunnels} == {
        "tun3 (b, c, d)"}


def test_from_a_network_to_its_routers_costs_nothing() -> None:
    area = Map("abc")
    area.lan("abc", 10)
    area.tunnel(area.link("a", "b", 10), "a", "b")
    assert across(area, group(WEB, "b")) == {"a": "a =tun2= b"}  # of equal cost
    dearer = Map("abc")
    dearer.lan("abc", 10)
    dearer.tunnel(dearer.link("a", "b", 11), "a", "b")
    assert across(dearer, group(WEB, "b")) == {}


@pytest.mark.parametrize("broken", [{"not_listed": "d"}, {"not_linked": "d"}])
def test_network_and_router_must_know_each_other(broken: dict[str, str]) -> None:
    area = Map("abd")
    area.tunnel(area.lan("ad", 1, **broken), "a", "d")
    area.link("a", "b")
    area.link("b", "d")
    assert across(area, group(WEB, "d")) == {}


def test_a_tunnel_plugged_into_a_lan_makes_the_lan_no_tunnel() -> None:
    area = Map("abc")
    number = area.lan("abc")
    area.tunnel(number, "c")
    assert across(area, group(WEB, "b")) == {"c": "c =tun1= b"}
    assert set(across(area, group(WEB, "c"))) == {"a", "b"}


# Links without a subnet.

def test_an_unnumbered_tunnel_is_known_by_its_index() -> None:
    area = Map("abc")
    area.tunnel(area.link("a", "b", numbered=False), "a", "b")
    area.link("a", "c", 100, numbered=False)
    area.link("c", "b", 100, numbered=False)
    assert across(area, group(WEB, "b")) == {"a": "a =tun1= b"}


def test_the_index_is_that_routers_own() -> None:
    """b has an interface with the index that a's tunnel has."""
    area = Map("abc")
    area.link("b", "c", numbered=False)
    area.tunnels["a"].append(Tunnel("tun1", 1))
    assert across(area, group(WEB, "c")) == {}


def test_parallel_links_are_told_apart_by_their_subnets() -> None:
    area = Map("ab")
    area.tunnel(area.link("a", "b", 65535), "a")
    area.link("a", "b", 10)
    assert across(area, group(WEB, "b"), group("198.51.100.8", "a")) == {}


def test_parallel_links_without_subnets_may_each_be_the_tunnel() -> None:
    area = Map("ab")
    area.tunnels["a"].append(Tunnel("tun2", 2))
    area.link("a", "b", 10, numbered=False)
    area.link("a", "b", 20, numbered=False)
    assert set(across(area, group(WEB, "a"))) == {"b"}


def test_parallel_links_without_subnets_are_told_apart_by_what_both_ends_say() -> None:
    area = Map("ab")
    area.link("a", "b", 10, numbered=False)
    number = area.link("a", "b", 20, numbered=False)
    area.tunnels["a"].append(Tunnel("wg0", number))
    area.tunnels["b"].append(Tunnel("wg0", number))
    assert across(area, group(WEB, "a"), group("198.51.100.8", "b")) == {}


# Externals.

def two_announcers(to_b: Origin, to_c: Origin) -> Crossing | None:
    """a reaches b across a tunnel (cost 10), and c by a LAN (cost 100)."""
    area = Map("abc")
    area.tunnel(area.link("a", "b", 10), "a", "b")
    area.link("a", "c", 100)
    found = [c for c in audited(area, group(WEB, to_b, to_c)).crossings if c.router == "a"]
    assert len(found) < 2
    return found[0] if found else None


B, C = router_id("b"), router_id("c")


def test_of_e2_the_metric_comes_before_the_distance() -> None:
    found = two_announcers(Origin(B, 2, 1), Origin(C, 2, 0))
    assert found is None
    found = two_announcers(Origin(B, 2, 0), Origin(C, 2, 1))
    assert found
    assert (found.announcer, found.instead) == ("b", "c")


def test_of_equal_e2_the_distance_decides() -> None:
    found = two_announcers(Origin(B), Origin(C))
    assert found
    assert (found.announcer, found.instead) == ("b", "")


def test_of_e1_the_sum_decides() -> None:
    assert two_announcers(Origin(B, 1, 91), Origin(C, 1, 0)) is None
    found = two_announcers(Origin(B, 1, 89), Origin(C, 1, 0))
    assert found
    assert not found.shared
    shared = two_announcers(Origin(B, 1, 90), Origin(C, 1, 0))
    assert shared
    assert shared.shared


def test_e1_is_preferred_to_e2() -> None:
    assert two_announcers(Origin(B, 2, 0), Origin(C, 1, 9999)) is None
    found = two_announcers(Origin(B, 1, 9999), Origin(C, 2, 0))
    assert found
    assert found.instead == "c"


def test_an_announcer_that_is_not_reached_or_not_there_does_not_count() -> None:
    area = triangle()
    area.links["d"], area.stubs["d"] = [], []
    area.asbrs.add("d")
    assert across(area, group(WEB, Origin(router_id("d"), 2, 0), Origin(B, 2, 1),
                              Origin(IPv4Address("10.255.0.99"), 2, 0))) == {"a": "a =tun1= b"}


def test_externals_of_a_router_that_says_it_has_none_do_not_count() -> None:
    area = triangle()
    area.asbrs.remove("b")
    assert across(area, group(WEB, "b")) == {}


def test_a_forwarding_address_is_where_packets_go() -> None:
    """b announces, but says: by way of a host on the LAN of c and d."""
    area = Map("abcd")
    area.tunnel(area.link("a", "b", 10), "a", "b")
    area.link("a", "c", 10)
    lan = area.lan("cd")
    by_lan = Origin(B, 2, 0, area.address("d", lan))
    area.stub("b", "10.0.0.0/8", 1)  # nearer, but the LAN's subnet is the smaller one
    assert across(area, group(WEB, by_lan)) == {}
    assert set(across(area, group(WEB, "b"))) == {"a", "c", "d"}, "it makes a difference"
    area.stub("b", "192.0.2.0/24")
    assert set(across(area, group(WEB, Origin(B, 2, 0, IPv4Address("192.0.2.9"))))) == {
        "a", "c", "d"}


def test_a_forwarding_address_that_nobody_leads_to_is_not_reached() -> None:
    assert across(triangle(), group(WEB, Origin(B, 2, 0, IPv4Address("192.0.2.9")))) == {}


def test_a_forwarding_address_in_a_tunnels_subnet_is_across_it() -> None:
    area = Map("ab")
    area.link("a", "b")
    area.stubs["b"].append(Stub(IPv4Network("10.77.0.0/24"), 1))
    area.tunnels["b"].append(Tunnel("tun9", 9, (IPv4Interface("10.77.0.2/24"),)))
    assert set(across(area, group(WEB, Origin(B, 2, 0, IPv4Address("10.77.0.9"))))) == {"a"}


def test_an_announcer_of_another_area_is_reached_by_its_border_router() -> None:
    area = triangle(11)
    elsewhere = IPv4Address("10.9.9.9")
    made = area.area()
    beyond = replace(made, borders=(Border(elsewhere, B, 5), Border(elsewhere, C, 5)))
    far = Group((Origin(elsewhere),), (IPv4Address(WEB),))
    assert audit([beyond], [far], area.told(), NAMES).crossings == (), "by c"
    by_b = replace(made, borders=(Border(elsewhere, B, 5),))
    (found,) = audit([by_b], [far], area.told(), NAMES).crossings
    assert (found.path, found.announcer) == ("a =tun1= b - 10.9.9.9", "10.9.9.9")


def test_its_forwarding_address_is_too() -> None:
    area = triangle(11)
    elsewhere = IPv4Address("10.9.9.9")
    beyond = replace(area.area(), borders=(Border(elsewhere, C, 5),),
                     summaries=(Summary(IPv4Network("10.88.0.0/24"), B, 1),))
    far = Group((Origin(elsewhere, 2, 0, IPv4Address("10.88.0.7")),), (IPv4Address(WEB),))
    (found,) = audit([beyond], [far], area.told(), NAMES).crossings
    assert (found.path, found.announcer) == ("a =tun1= b - 10.9.9.9", "10.9.9.9")


# Who tells what.

def test_a_node_that_has_not_told_its_tunnels_is_named() -> None:
    area = triangle()
    area.silent.add("c")
    assert audited(area, group(WEB, "b")).untold == ("c",)


def test_a_router_that_is_no_node_has_nothing_to_tell() -> None:
    area = triangle()
    area.silent.add("c")
    nodes = {r: name for r, name in NAMES.items() if name != "c"}
    assert audit([area.area()], [group(WEB, "b")], area.told(), nodes).untold == ()


def test_a_node_that_is_no_router_here_may_have_any_tunnels() -> None:
    area = Map("ab")
    area.link("a", "b")
    elsewhere = Told(IPv4Address("10.99.0.1"), (
        Tunnel("tun1", 1, (IPv4Interface(f"{area.address('a', 1)}/24"),)),))
    found = audit([area.area()], [group(WEB, "b")], {**area.told(), "z": elsewhere},
                  {**NAMES, IPv4Address("10.99.0.2"): "y"})
    assert (found.crossings, found.untold) == ((), ())


# What if.

def consequences(area: Map, *groups: Group) -> dict[str, tuple[int, str, str]]:
    found = audited(area, *groups, what_if=True).consequences
    assert found is not None
    return {c.link: (c.pairs, c.example.path, c.example.announcer) for c in found}


def test_a_link_whose_failure_leaves_only_the_tunnel() -> None:
    area = triangle(65535)
    found = consequences(area, group(WEB, "b", count=5), group("198.51.100.77", "a"))
    assert found == {
        "a - c (10.2.0.1)": (5 + 2, "a =tun1= b", "b"),
        "b - c (10.3.0.2)": (10 + 1, "a =tun1= b", "b")}


def test_what_crosses_already_is_no_consequence() -> None:
    assert consequences(triangle(), group(WEB, "b")) == {
        "b - c (10.3.0.2)": (1, "c - a =tun1= b", "b")}


def test_a_failing_tunnel_can_lead_across_another() -> None:
    area = triangle(5)
    area.tunnel(area.link("a", "b", 7), "a", "b")
    assert consequences(area, group(WEB, "b")) == {
        "b - c (10.3.0.2)": (1, "c - a =tun1= b", "b")}


def test_of_a_network_one_attachment_can_fail_and_the_whole() -> None:
    area = Map("abcd")
    area.lan("abc")
    area.tunnel(area.link("a", "b", 100), "a", "b")
    found = consequences(area, group(WEB, "b"))
    assert found == {
        "network 10.1.0.0/24": (1, "a =tun2= b", "b"),
        "a - network 10.1.0.0/24": (1, "a =tun2= b", "b"),
        "b - network 10.1.0.0/24": (2, "a =tun2= b", "b")}


def test_a_failing_link_can_leave_only_an_announcer_across_the_tunnel() -> None:
    area = Map("abc")
    area.tunnel(area.link("a", "b", 100), "a", "b")
    area.link("a", "c", 10)
    found = consequences(area, group(WEB, Origin(B, 2, 1), Origin(C, 2, 0)))
    assert found == {"a - c (10.2.0.1)": (1, "a =tun1= b", "b")}
