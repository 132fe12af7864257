"""Which neighbours a new configuration would lose, and which are missing after it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from pve_ospf.adjacency import disturbs, missing, threats
from pve_ospf.frrconf import Statement
from pve_ospf.lsdb import Neighbour, OspfInterface
from pve_ospf.ospfd import OspfdConfig
from tests.unit.golden_cases import ALLOW, FRR_8_4, GUESTS, NIC, UPLINK, Case

ROUTER = Neighbour("vmbr0", IPv4Address("10.0.0.1"), IPv4Address("192.0.2.1"), "Full", "DR", 3)
NOW = OspfInterface("vmbr0", True, hello_interval=1, dead_interval=3)


def config(yaml: str = "") -> OspfdConfig:
    return Case("", ALLOW + yaml, (UPLINK, NIC, GUESTS)).build(FRR_8_4)


def test_what_stays_threatens_nobody() -> None:
    assert threats([ROUTER], [NOW], config(), ()) == ()


def test_each_thing_that_differs_is_named_with_what_keeps_it() -> None:
    for yaml, key in (("area: 1", "area: 0.0.0.0"), ("hello-interval: 2", "hello-interval: 1"),
                      ("dead-interval: 40", "dead-interval: 3")):
        (threat,) = threats([ROUTER], [NOW], config(yaml), ())
        assert threat.keys == (key,) and "10.0.0.1 on vmbr0 would be lost" in str(threat)


def test_several_hellos_a_second_are_compared_with_nothing() -> None:
    fast = replace(NOW, hello_interval=0.25, dead_interval=1)
    assert threats([ROUTER], [fast], config("minimal-hellos: 5"), ()) == ()
    (threat,) = threats([ROUTER], [NOW], config("minimal-hellos: 5"), ())
    assert "dead-interval is 3, ours would be 1" in str(threat)


def test_without_a_neighbour_timers_are_free() -> None:
    assert threats([], [NOW], config("dead-interval: 40"), ()) == ()


def test_a_neighbour_on_an_interface_that_is_left() -> None:
    other = replace(ROUTER, interface="eno7")
    (threat,) = threats([other], [replace(NOW, name="eno7")], config(), ())
    assert threat.keys == ("uplinks: [eno7]",)
    his = Statement("interface eno7", "ip ospf area 0")
    assert threats([other], [replace(NOW, name="eno7")], config(), [his]) == ()


def test_missing_is_who_went_or_is_no_longer_full() -> None:
    waiting = replace(ROUTER, state="2-Way", router_id=IPv4Address("10.0.0.2"))
    assert missing([ROUTER, waiting], [ROUTER, waiting], []) == ()
    assert missing([ROUTER, waiting], [waiting], []) == (ROUTER,)
    assert missing([ROUTER], [replace(ROUTER, state="Init")], []) == (ROUTER,)
    assert missing([ROUTER], [replace(ROUTER, interface="eno7")], []) == (ROUTER,)
    assert missing([waiting], [replace(waiting, state="Full")], []) == ()


def test_a_dr_that_starts_over_becomes_a_drother() -> None:
    """2-Way between two DROthers is for good, provided that somebody is DR and Full with us."""
    dr = replace(ROUTER, router_id=IPv4Address("10.0.0.2"), address=IPv4Address("192.0.2.2"))
    other = replace(ROUTER, state="2-Way", role="DROther")
    ours = OspfInterface("vmbr0", True, state="DROther")
    assert missing([ROUTER, dr], [other, dr], [ours]) == ()
    assert missing([ROUTER, dr], [other], [ours]) == (ROUTER, dr)
    assert missing([ROUTER, dr], [other, dr], [replace(ours, state="Waiting")]) == (ROUTER,)
    assert missing([ROUTER, dr], [replace(other, state="Init"), dr], [ours]) == (ROUTER,)


def test_a_neighbour_under_another_id_is_known_by_its_address() -> None:
    assert missing([ROUTER], [replace(ROUTER, router_id=IPv4Address("10.9.9.9"))], []) == ()


def test_lists_and_route_maps_disturb_nobody() -> None:
    assert not disturbs(["ip prefix-list x seq 5 permit any", "route-map pve-ospf permit 1000",
                         " match interface vmbr1", "zebra work-queue 0"])
    for command in ("interface vmbr0", "router ospf", "no router ospf", "key chain pve-ospf-x"):
        assert disturbs([command, " ip ospf area 1"])
