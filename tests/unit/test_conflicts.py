"""Statements of the administrator's that cannot stand beside our block are named."""

from __future__ import annotations

import pytest

from pve_ospf.conflicts import conflicts, sets_work_queue
from tests.unit.golden_cases import (
    ALLOW,
    FRR_7_5,
    FRR_8_4,
    GUESTS,
    NIC,
    SECOND_UPLINK,
    UPLINK,
    VXLAN,
    Case,
)

CASE = Case("", ALLOW + "router-id: 10.0.0.1\n", (UPLINK, NIC, GUESTS, VXLAN))
COSTLY = Case("", ALLOW + "tunnels: {policy: high-cost}\n", (UPLINK, NIC, VXLAN))


def reasons(text: str, case: Case = CASE) -> list[tuple[int, str]]:
    return [(c.number, c.text) for c in conflicts(text, case.build(FRR_8_4))]


@pytest.mark.parametrize("statement", [
    "ospf router-id 10.0.0.2", "router-id 10.0.0.2", "network 10.0.0.0/8 area 0",
    "passive-interface default", "passive-interface vmbr0", "passive-interface eno5",
    "redistribute kernel", "redistribute kernel route-map other", "redistribute connected",
    "area 0 stub", "area 0.0.0.0 nssa", "timers throttle lsa all 1000",
    "timers lsa min-arrival 1000"])
def test_contradicting_our_router(statement: str) -> None:
    assert reasons(f"hostname x\nrouter ospf\n {statement}\n") == [(3, statement)]


@pytest.mark.parametrize("statement", [
    "ospf router-id 10.0.0.1", "redistribute kernel route-map pve-ospf", "log-adjacency-changes",
    "redistribute connected metric 5 route-map mine", "redistribute static", "area 1 stub",
    "timers throttle lsa all 100", "max-metric router-lsa administrative", "! network x"])
def test_beside_our_router(statement: str) -> None:
    assert reasons(f"router ospf\n {statement}\nexit\n") == []


@pytest.mark.parametrize("statement", [
    "ip ospf area 1", "ip ospf area 0", "ip ospf hello-interval 10", "ip ospf passive",
    "ip ospf dead-interval 40", "ip ospf dead-interval minimal hello-multiplier 5",
    "ip ospf retransmit-interval 5", "ip ospf hello-interval 1 192.0.2.11"])
def test_contradicting_our_uplink(statement: str) -> None:
    assert reasons(f"interface vmbr0\n {statement}\n") == [(2, statement)]


@pytest.mark.parametrize("statement", [
    "ip ospf area 0.0.0.0", "ip ospf hello-interval 1", "ip ospf cost 5", "ip ospf priority 0",
    "ip ospf authentication message-digest", "description ip ospf area 1"])
def test_beside_our_uplink(statement: str) -> None:
    assert reasons(f"interface vmbr0\n {statement}\n") == []


def test_ospf_on_a_tunnel_or_guest_bridge_is_named() -> None:
    assert reasons("interface vxlan7\n ip ospf area 0\n") == [(2, "ip ospf area 0")]
    assert reasons("interface vmbr1\n ip ospf area 0\n") == [(2, "ip ospf area 0")]
    assert reasons("interface vxlan7\n ip ospf passive\n") == []
    assert reasons("interface eno5\n ip ospf area 0\n") == []


def test_another_cost_of_a_high_cost_tunnel_is_named() -> None:
    assert reasons("interface vxlan7\n ip ospf cost 1\n", COSTLY) == [(2, "ip ospf cost 1")]


def test_max_metric_is_named_where_costs_keep_a_tunnel_away() -> None:
    text = "router ospf\n max-metric router-lsa administrative\n"
    dear = Case("", COSTLY.yaml, (UPLINK, NIC, SECOND_UPLINK, VXLAN))
    assert reasons(text, dear) == [(2, "max-metric router-lsa administrative")]
    assert reasons(text, CASE) == []


@pytest.mark.parametrize(("statement", "fits"), [
    ("ip ospf message-digest-key 1 md5 other", False), ("ip ospf message-digest-key 2 md5 x", True),
    ("ip ospf authentication", False), ("ip ospf authentication message-digest", True),
    ("ip ospf network broadcast", False), ("ip ospf network point-to-point", True),
    ("ip ospf dead-interval 3", False), ("ip ospf hello-interval 7", True),
    ("ip ospf dead-interval minimal hello-multiplier 4", True), ("ip ospf cost 6", False),
    ("ip ospf cost 5", True)])
def test_what_the_configuration_sets_for_an_uplink(statement: str, fits: bool) -> None:
    case = Case("", ALLOW + "authentication: lan\nnetwork: point-to-point\nminimal-hellos: 4\n"
                "cost: 5\n", (UPLINK, NIC, GUESTS))
    assert reasons(f"interface vmbr0\n {statement}\n", case) == (
        [] if fits else [(2, statement)])


def test_a_numbered_instance_is_named_and_a_vrfs_is_not_ours() -> None:
    assert reasons("router ospf 2\n network 10.0.0.0/8 area 0\n") == [(1, "router ospf 2")]
    assert reasons("router ospf vrf red\n network 10.0.0.0/8 area 0\n") == []


def test_passive_interface_is_how_older_versions_say_it() -> None:
    text = "router ospf\n passive-interface eno5\n"
    assert not conflicts(text, CASE.build(FRR_7_5)) and reasons(text)


def test_what_switches_forwarding_off_is_named() -> None:
    """`write memory` writes it where forwarding is off; the next start of FRR obeys."""
    assert reasons("no ip forwarding\nno ipv6 forwarding\n") == [(1, "no ip forwarding")]


def test_what_is_ours_by_name_is_no_conflict() -> None:
    assert reasons("router ospf\n redistribute kernel route-map pve-ospf\n") == []


def test_the_administrators_own_queue() -> None:
    assert sets_work_queue("hostname x\nzebra work-queue 20\n")
    assert not sets_work_queue("! zebra work-queue 20\n")
