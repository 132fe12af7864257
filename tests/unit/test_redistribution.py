"""What the running ospfd lets out, of the text FRR shows (as 8.4.4 and 10.7.1 write it)."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from pve_ospf import redistribution
from pve_ospf.redistribution import Redistribution

CONFIG = """\
frr version 8.4.4
!
interface vmbr0
 ip ospf area 0.0.0.0
exit
!
router ospf
 ospf router-id 10.0.1.11
 timers throttle lsa all 100
 redistribute kernel route-map pve-ospf
exit
!
ip prefix-list pve-ospf-deny seq 756375 permit 10.0.1.0/24 le 32
ip prefix-list pve-ospf-deny seq 756376 permit 198.51.100.9/32
ip prefix-list pve-ospf-allow-vmbr1 seq 998569 permit 198.51.100.0/24 ge 32
ip prefix-list pve-ospf-allow-vmbr1 seq 8332754 permit 10.0.0.0/8 ge 32
ip prefix-list pve-ospf-allow-vmbr2 seq 5 deny 203.0.113.0/28 le 32
ip prefix-list pve-ospf-allow-vmbr2 seq 7 permit 203.0.113.0/24
ip prefix-list pve-ospf-allow-vmbr2 seq 9 permit 203.0.113.0/25 ge 26 le 31
ip prefix-list pve-ospf-allow-vmbr2 seq 11 permit 203.0.113.64/26 ge 26 le 32
!
route-map pve-ospf permit 29164
 match interface vmbr1
 match ip address prefix-list pve-ospf-allow-vmbr1
exit
!
route-map pve-ospf deny 10
 match ip address prefix-list pve-ospf-deny
exit
!
route-map pve-ospf permit 31000
 match interface vmbr2
 match ip address prefix-list pve-ospf-allow-vmbr2
exit
!
end
"""


def read(config: str = CONFIG) -> Redistribution:
    found = redistribution.read(config)
    assert found
    return found


@pytest.mark.parametrize(("address", "device", "permitted"), [
    ("198.51.100.7", "vmbr1", True), ("10.9.9.9", "vmbr1", True),
    ("198.51.100.7", "vmbr2", False),  # match interface
    ("10.0.1.77", "vmbr1", False),  # on-link: denied first, though its number stands last
    ("198.51.100.9", "vmbr1", False),
    ("192.0.2.1", "vmbr1", False),  # no entry matches
    ("203.0.113.1", "vmbr2", False),  # an entry of the list that denies
    ("203.0.113.32", "vmbr2", False),  # without ge: that length alone; or up to 31
    ("203.0.113.70", "vmbr2", True)])
def test_what_is_let_out(address: str, device: str, permitted: bool) -> None:
    assert read().permits(IPv4Address(address), device) is permitted


def test_the_bridges() -> None:
    assert read().bridges == {"vmbr1", "vmbr2"}


def test_the_table_that_speeds_the_route_map_up() -> None:
    assert read().optimized
    without = read(CONFIG.replace("end\n", "no route-map pve-ospf optimization\n!\nend\n"))
    assert (without.route_map, without.optimized, without.decidable) == ("pve-ospf", False, True)
    assert without.entries == read().entries


@pytest.mark.parametrize("config", [
    "", "interface vmbr0\n ip ospf area 0\nexit\n",
    CONFIG.replace("redistribute kernel route-map pve-ospf", "log-adjacency-changes"),
    CONFIG.replace("redistribute kernel route-map pve-ospf", "redistribute kernel"),
    CONFIG.replace("redistribute kernel route-map pve-ospf", "redistribute kernel route-map own")])
def test_frr_not_set_up_by_us(config: str) -> None:
    assert redistribution.read(config) is None


@pytest.mark.parametrize(("old", "new"), [
    ("timers throttle lsa all 100", "summary-address 198.51.100.0/24"),
    ("timers throttle lsa all 100", "redistribute connected"),
    ("timers throttle lsa all 100", "distribute-list mine out kernel"),
    ("match interface vmbr2", "call another"), ("match interface vmbr2", "match tag 7")])
def test_what_may_decide_otherwise_makes_it_undecidable(old: str, new: str) -> None:
    assert read().decidable
    assert not read(CONFIG.replace(old, new)).decidable


def test_metrics_decide_nothing() -> None:
    assert read(CONFIG.replace(" match interface vmbr2", " match interface vmbr2\n set metric 5")
                ).decidable
    assert read(CONFIG.replace("redistribute kernel route-map",
                               "redistribute kernel metric 5 metric-type 1 route-map")).decidable


def test_an_undefined_list_matches_nothing() -> None:
    config = "\n".join(line for line in CONFIG.splitlines()
                       if "prefix-list pve-ospf-deny seq" not in line)
    assert read(config).permits(IPv4Address("10.0.1.77"), "vmbr1")
    config = config.replace("pve-ospf-allow-vmbr1 seq", "other seq")
    assert not read(config).permits(IPv4Address("10.0.1.77"), "vmbr1")


def test_an_entry_without_matches_lets_everything_out() -> None:
    assert read(CONFIG + "route-map pve-ospf permit 60000\nexit\n").permits(
        IPv4Address("192.0.2.1"), "eth7")
