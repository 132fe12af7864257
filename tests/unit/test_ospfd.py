"""The generator: golden texts, and what the typed model refuses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from pve_ospf.errors import Refused
from pve_ospf.frrconf import Statement, statements
from pve_ospf.ospfd import PrefixList, RouteMapEntry, Rule, render, router_side
from tests.unit.golden_cases import (
    ALLOW,
    CASES,
    CURRENT,
    FRR_7_5,
    FRR_8_4,
    FRR_10_3,
    GOLDEN,
    GUESTS,
    LOOPBACK,
    MORE_GUESTS,
    NIC,
    QUAGGA,
    SECOND_UPLINK,
    UPLINK,
    VXLAN,
    Case,
    interface,
)

GOLDEN_TEXTS = [pytest.param(path, text, id=str(path.relative_to(GOLDEN)))
                for case in CASES for path, text in case.texts()]


@pytest.mark.parametrize(("path", "text"), GOLDEN_TEXTS)
def test_golden(path: Path, text: str) -> None:
    assert text == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    expected = {path for case in CASES for path, _ in case.texts()}
    assert set(GOLDEN.rglob("*.conf")) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_text_serves_8_4_to_10_7(case: Case) -> None:
    texts = {render(case.build(dialect)) for dialect in CURRENT if case.speaks(dialect)}
    assert len(texts) == 1


@pytest.mark.parametrize("case", [c for c in CASES if c.oldest != QUAGGA], ids=lambda c: c.name)
def test_a_dialect_that_lacks_it_is_refused(case: Case) -> None:
    for dialect in (QUAGGA, FRR_7_5, *CURRENT):
        if not case.speaks(dialect):
            with pytest.raises(Refused, match=r"vmbr0: (Quagga has no BFD|hmac-sha-256 needs)"):
                case.build(dialect)


def text_of(yaml: str, *interfaces: object, dialect: object = FRR_8_4) -> str:
    return render(Case("", yaml, (NIC, *interfaces)).build(dialect))  # type: ignore[arg-type]


def prefix_list(text: str, name: str) -> dict[str, str]:
    """Rule → sequence number of a prefix-list in a text."""
    rules = {}
    for line in text.splitlines():
        words = line.split()
        if words[:3] == ["ip", "prefix-list", name]:
            rules[" ".join(words[5:])] = words[4]
    return rules


def test_permits_follow_every_deny_and_nothing_follows_them() -> None:
    entries = Case("", ALLOW, (UPLINK, NIC, GUESTS, MORE_GUESTS)).build(FRR_8_4).route_map
    assert [entry.action for entry in entries] == ["deny", "permit", "permit"]
    assert all(entry.seq > entries[0].seq for entry in entries[1:])
    assert {entry.interface for entry in entries[1:]} == {"vmbr1", "vmbr2"}


def test_a_permit_takes_hosts_only() -> None:
    rules = prefix_list(text_of(ALLOW, UPLINK, GUESTS), "pve-ospf-allow-vmbr1")
    assert set(rules) == {"permit 198.51.100.0/24 ge 32", "permit 203.0.113.7/32"}


def test_the_nodes_own_subnets_are_denied() -> None:
    storage = interface("eno7", "", "10.7.0.1/16")
    yaml = ALLOW + "uplinks: [vmbr0]\nrouter-id: 10.0.0.1\n"
    denied = prefix_list(text_of(yaml, LOOPBACK, UPLINK, storage, VXLAN), "pve-ospf-deny")
    assert {"permit 192.0.2.0/24 le 32", "permit 10.7.0.0/16 le 32", "permit 10.99.0.0/24 le 32",
            "permit 10.0.0.1/32", "permit 127.0.0.0/8 le 32"} <= set(denied)


def test_of_a_guest_bridges_own_subnet_only_the_node_itself_is_denied() -> None:
    guests = interface("vmbr1", "bridge", "198.51.100.1/24")
    text = text_of(ALLOW + "guest-bridges: [vmbr1]\nuplinks: [vmbr0]\n", UPLINK, guests)
    denied = prefix_list(text, "pve-ospf-deny")
    assert "permit 198.51.100.1/32" in denied
    assert "permit 198.51.100.0/24 le 32" not in denied


def test_numbers_stay_when_neighbours_come_and_go() -> None:
    """A number that comes to stand for another prefix takes its guests down in a reload."""
    few = text_of("allow: [198.51.100.0/24]", UPLINK, MORE_GUESTS)
    many = text_of("allow: [10.0.0.0/8, 198.51.100.0/24, 203.0.113.0/24]",
                   UPLINK, GUESTS, MORE_GUESTS)
    name = "pve-ospf-allow-vmbr2"
    assert prefix_list(few, name).items() <= prefix_list(many, name).items()
    entry = next(line for line in few.splitlines() if line.startswith("route-map pve-ospf permit"))
    assert entry in many.splitlines()


def test_another_length_is_another_number() -> None:
    lists = [PrefixList("x", (Rule(IPv4Network(p), "hosts"),)).entries()
             for p in ("198.51.100.0/24", "198.51.100.0/25", "198.51.100.0/32")]
    assert len({entries[0][0] for entries in lists}) == 3


def test_numbers_of_a_list_are_distinct_and_below_2_31() -> None:
    rules = tuple(Rule(IPv4Network((n, 32)), "hosts") for n in range(2**31, 2**31 + 5000))
    entries = PrefixList("x", rules).entries()
    numbers = [seq for seq, _ in entries]
    assert len(set(numbers)) == len(rules) and {rule for _, rule in entries} == set(rules)
    assert min(numbers) >= 1 and max(numbers) < 2**31


def test_nothing_allowed_announces_nothing_and_leaves_no_list_empty() -> None:
    for text in (text_of("allow: []", UPLINK, GUESTS), text_of(ALLOW, UPLINK),
                 text_of("allow: [{prefix: 10.0.0.0/8, bridges: [vmbr9]}]", UPLINK, GUESTS)):
        assert "route-map pve-ospf permit" not in text
        assert "allow" not in text and "redistribute kernel route-map pve-ospf" in text


def test_tunnels_are_passive_without_an_area() -> None:
    tunnel = text_of(ALLOW, UPLINK, VXLAN).partition("interface vxlan7\n")[2]
    assert tunnel.startswith(" ip ospf passive\nexit\n")
    legacy = text_of(ALLOW, UPLINK, VXLAN, dialect=FRR_7_5)
    assert " passive-interface vxlan7\n" in legacy and "ip ospf passive" not in legacy


def test_quagga_gets_what_quagga_knows() -> None:
    text = text_of(ALLOW, UPLINK, GUESTS, VXLAN, dialect=QUAGGA)
    assert "work-queue" not in text and "exit" not in text
    assert " ip ospf retransmit-interval 3\n" in text  # it takes 3-65535


def test_ospf_is_on_the_uplinks_only() -> None:
    text = text_of(ALLOW, LOOPBACK, UPLINK, NIC, GUESTS, VXLAN)
    assert text.count("ip ospf area") == 1 and "network " not in text


def test_ospf_starts_at_the_last_line_of_an_interface() -> None:
    """8.4 begins to wait at `area`, 40 s on a broadcast interface whose timers come after it."""
    for dialect in (FRR_8_4, FRR_7_5, QUAGGA):
        stanzas = text_of(ALLOW, UPLINK, VXLAN, dialect=dialect).split("interface ")[1:]
        lines = stanzas[0].splitlines()
        assert lines[lines.index(" ip ospf area 0.0.0.0") + 1] in ("exit", "!")


def test_no_uplink_is_refused_with_what_to_set() -> None:
    with pytest.raises(Refused) as error:
        text_of(ALLOW, LOOPBACK, GUESTS)
    assert "uplinks: [NAME]" in error.value.hint


def test_an_uplink_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Refused, match="eno9"):
        text_of(ALLOW + "uplinks: [vmbr0, eno9]", UPLINK)


def test_an_uplink_without_an_address_is_refused() -> None:
    with pytest.raises(Refused, match=r"eno9 has no IPv4 address"):
        text_of(ALLOW + "uplinks: [vmbr0, eno9]", UPLINK, interface("eno9", ""))


def test_an_uplink_on_the_guests_side_is_refused_with_the_reason() -> None:
    for uplink, why, more in (
            ("tap100i0", "a guest's own", interface("tap100i0", "tun", "192.0.2.9/24")),
            ("vmbr7", "no port but guests'", interface("vmbr7", "bridge", "192.0.2.9/24")),
            ("eno1", "a port of vmbr0", interface("lo", ""))):
        with pytest.raises(Refused, match=why):
            text_of(ALLOW + f"uplinks: [vmbr0, {uplink}]", UPLINK, more)


HOSTILE = ["tun 0", "tun0\n ip ospf area 0", "!tun0", "#tun0", "-tun0", "default", "tun?", "a|b",
           "tun0;x", '"tun0"', "sixteen-letters0", ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_frr_would_misread_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="interface name"):
        text_of(ALLOW, UPLINK, interface(name, "vxlan"))
    with pytest.raises(Refused, match="interface name"):
        text_of(ALLOW, UPLINK, interface(name, "bridge"))
    with pytest.raises(Refused, match="interface name"):
        text_of(ALLOW, interface(name, "", "192.0.2.1/24"))


def test_an_empty_prefix_list_is_refused() -> None:
    with pytest.raises(Refused, match="permits everything"):
        PrefixList("pve-ospf-x", ())


def test_a_prefix_list_that_is_not_there_is_refused() -> None:
    config = Case("", ALLOW, (UPLINK, NIC, GUESTS)).build(FRR_8_4)
    entry = RouteMapEntry(20, "permit", "pve-ospf-gone", "vmbr1")
    with pytest.raises(Refused, match="pve-ospf-gone"):
        replace(config, route_map=(*config.route_map, entry))


def test_the_router_id_is_the_first_uplinks_first_address() -> None:
    first = interface("eno1", "", "169.254.7.7/16", "192.0.2.5/32", "192.0.2.6/32")
    config = Case("", ALLOW, (UPLINK, first)).build(FRR_8_4)
    assert config.router_id == IPv4Address("192.0.2.5")


def test_what_the_routers_need() -> None:
    yaml = ALLOW + ("authentication: lan\nbfd: true\ncost: 7\n"
                    "uplinks: [vmbr0, {name: bond0.20, authentication: site, "
                    "network: point-to-point, minimal-hellos: 4, bfd: false}]\n")
    case = Case("", yaml, (UPLINK, NIC, SECOND_UPLINK, GUESTS, VXLAN))
    text = router_side(case.build(FRR_10_3), (UPLINK, SECOND_UPLINK))
    assert statements(text) == {Statement(stanza, line) for stanza, lines in {
        "": ["zebra work-queue 0"],
        "router ospf": ["timers lsa min-arrival 100"],
        "key chain pve-ospf-site": ["key 7", "key-string ****",
                                    "cryptographic-algorithm hmac-sha-256"],
        "interface IFNAME": [
            "ip ospf network point-to-point", "ip ospf authentication key-chain pve-ospf-site",
            "ip ospf dead-interval minimal hello-multiplier 4", "ip ospf retransmit-interval 1",
            "ip ospf area 0.0.0.0", "ip ospf authentication message-digest",
            "ip ospf message-digest-key 1 md5 ****", "ip ospf dead-interval 3",
            "ip ospf hello-interval 1", "ip ospf bfd"],
    }.items() for line in lines}
    assert "192.0.2.128/26" in text and 'key "lan"' in text
    assert max(map(len, text.splitlines())) <= 80
