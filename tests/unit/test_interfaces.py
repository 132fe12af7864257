"""Which interfaces are uplinks, guest bridges and tunnels."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from pve_ospf.config import Config, NameList, Tunnels
from pve_ospf.interfaces import STACKED, TUNNEL_KINDS, Roles, classify, faces_guests
from pve_ospf.model import GATEWAY, Interface

CONFIG = Config(allow=())


def _interface(name: str, *addresses: str, kind: str = "", **more: str | bool) -> Interface:
    return replace(Interface(index=1, name=name, kind=kind,
                             addresses=tuple(map(IPv4Interface, addresses))), **more)  # type: ignore[arg-type]


LO = _interface("lo", "127.0.0.1/8")
NIC = _interface("eno1", master="vmbr0")
VMBR0 = _interface("vmbr0", "10.0.1.11/24", kind="bridge")
VMBR1 = _interface("vmbr1", kind="bridge")
NODE = (LO, NIC, VMBR0, VMBR1)


def _names(roles: Roles) -> tuple[list[str], list[str], list[str]]:
    return ([i.name for i in roles.uplinks], [i.name for i in roles.guest_bridges],
            [i.name for i in roles.tunnels])


def test_proxmox_default_with_a_bridge_for_guests() -> None:
    assert _names(classify(CONFIG, NODE)) == (["vmbr0"], ["vmbr1"], [])


def test_our_own_gateway_does_not_turn_a_guest_bridge_into_an_uplink() -> None:
    bridge = replace(VMBR1, addresses=(GATEWAY,))
    assert _names(classify(CONFIG, (LO, NIC, VMBR0, bridge))) == (["vmbr0"], ["vmbr1"], [])


@pytest.mark.parametrize("port", ["veth101i0", "tap100i1", "fwpr101p0"])
def test_guests_that_run_change_nothing(port: str) -> None:
    running = (*NODE, _interface(port, kind="veth", master="vmbr1"),
               _interface("veth102i0", kind="veth", master="vmbr0"))
    assert _names(classify(CONFIG, running)) == _names(classify(CONFIG, NODE))


def test_a_bridge_with_a_nic_or_an_address_is_no_guest_bridge() -> None:
    nic = (*NODE, _interface("vmbr2", kind="bridge"), _interface("eno2", master="vmbr2"))
    assert _names(classify(CONFIG, nic)) == (["vmbr0"], ["vmbr1"], [])
    storage = (*NODE, _interface("vmbr3", "10.9.9.1/24", kind="bridge"),
               _interface("eno2", master="vmbr3"))
    assert _names(classify(CONFIG, storage)) == (["vmbr0", "vmbr3"], ["vmbr1"], [])


@pytest.mark.parametrize("ports", [(), ("veth101i0", "tap100i1", "fwpr102p0")])
def test_a_bridge_with_an_address_that_leads_nowhere_is_neither(ports: tuple[str, ...]) -> None:
    """Proxmox's way to NAT: OSPF there would be spoken with guests alone."""
    nat = (*NODE, _interface("vmbr2", "10.10.10.1/24", kind="bridge"),
           _interface("vmbr1.7", "10.10.11.1/24", kind="vlan", lower="vmbr1"),
           *(_interface(port, kind="veth", master="vmbr2") for port in ports))
    assert _names(classify(CONFIG, nat)) == (["vmbr0"], ["vmbr1"], [])
    named = replace(CONFIG, uplinks=NameList(False, ("vmbr2",)))
    assert _names(classify(named, nat))[0] == ["vmbr2"]


def test_the_firewalls_bridges_are_nobodys() -> None:
    chain = (*NODE, _interface("fwbr101i0", kind="bridge"),
             _interface("fwln101i0", kind="veth", master="fwbr101i0"),
             _interface("veth101i0", kind="veth", master="fwbr101i0"),
             _interface("fwpr101p0", kind="veth", master="vmbr1"))
    assert _names(classify(CONFIG, chain)) == (["vmbr0"], ["vmbr1"], [])


@pytest.mark.parametrize("kind", sorted(TUNNEL_KINDS))
def test_a_tunnel_is_found_by_its_kind_and_is_no_uplink(kind: str) -> None:
    found = (*NODE, _interface("t0", "10.255.0.1/24", kind=kind))
    assert _names(classify(CONFIG, found)) == (["vmbr0"], ["vmbr1"], ["t0"])


def test_a_guests_tap_is_no_tunnel() -> None:
    found = (*NODE, _interface("tap100i0", kind="tun", master="vmbr1"))
    assert _names(classify(CONFIG, found)) == (["vmbr0"], ["vmbr1"], [])


def test_what_is_stacked_on_a_tunnel_is_one_and_its_underlay_is_not() -> None:
    found = (*NODE, _interface("vx1", kind="vxlan", master="vmbr9", lower="vmbr0"),
             _interface("vmbr9", "10.255.0.1/24", kind="bridge"),
             _interface("vmbr9.5", "10.254.0.1/24", kind="vlan", lower="vmbr9"))
    assert _names(classify(CONFIG, found)) == (
        ["vmbr0"], ["vmbr1"], ["vmbr9", "vmbr9.5", "vx1"])


def test_a_tunnel_named_by_pattern_and_one_that_the_administrator_wants_as_uplink() -> None:
    found = (*NODE, _interface("ipsec1", "10.255.0.1/24"), _interface("wg0", "10.8.0.1/24",
                                                                      kind="wireguard"))
    config = replace(CONFIG, tunnels=Tunnels(interfaces=NameList(True, ("ipsec*",))))
    assert _names(classify(config, found)) == (["vmbr0"], ["vmbr1"], ["ipsec1", "wg0"])
    config = replace(CONFIG, uplinks=NameList(False, ("vmbr0", "wg0")))
    assert _names(classify(config, (*found[:-2], found[-1]))) == (
        ["vmbr0", "wg0"], ["vmbr1"], [])


def test_a_tunnel_with_a_ring_on_it_is_kept_out_whatever_is_named() -> None:
    found = (*NODE, _interface("tun0", "10.255.0.1/24", kind="tun"))
    config = replace(CONFIG, tunnels=Tunnels(interfaces=NameList(False, ("wg*",))))
    assert _names(classify(config, found)) == (["tun0", "vmbr0"], ["vmbr1"], [])
    ring = [IPv4Network("10.255.0.1/32")]
    assert _names(classify(config, found, ring)) == (["vmbr0"], ["vmbr1"], ["tun0"])
    assert _names(classify(config, NODE, [IPv4Network("10.0.1.11/32")]))[2] == []


def test_the_network_for_migrations_counts_as_a_ring_does() -> None:
    found = (*NODE, _interface("tun0", "10.255.0.1/24", kind="tun"))
    config = replace(CONFIG, tunnels=Tunnels(interfaces=NameList(False, ("wg*",))))
    assert _names(classify(config, found, [IPv4Network("10.255.0.0/24")]))[2] == ["tun0"]


@pytest.mark.parametrize("kind", sorted(STACKED))
def test_another_name_for_a_tunnel_is_one(kind: str) -> None:
    found = (*NODE, _interface("vx1", kind="vxlan", lower="vmbr0"),
             _interface("over", "10.254.0.1/24", kind=kind, lower="vx1"))
    assert _names(classify(CONFIG, found))[2] == ["over", "vx1"]


@pytest.mark.parametrize(("name", "why"), [
    ("veth101i0", "a guest's own"), ("tap100i1", "a guest's own"), ("fwbr101i0", "a guest's own"),
    ("fwln101i0", "a guest's own"), ("fwpr101p0", "a guest's own"), ("eno1", "a port of vmbr0"),
    ("vmbr1", "no port but guests'"), ("vmbr1.30", "no port but guests'")])
def test_the_guests_side(name: str, why: str) -> None:
    vlan = _interface("vmbr1.30", "10.3.0.1/24", kind="vlan", lower="vmbr1")
    assert why in faces_guests(name, (*NODE, vlan))
    assert not faces_guests("vmbr0", NODE)
    assert not faces_guests("eno7", NODE), "there is none"
    bonded = (_interface("eno2", master="bond0"), _interface("bond0", kind="bond"))
    assert not faces_guests("eno2", bonded)


def test_a_vpns_tap_in_the_lans_bridge_makes_the_lan_no_tunnel() -> None:
    found = (*NODE, _interface("tap0", kind="tun", master="vmbr0"))
    assert _names(classify(CONFIG, found)) == (["vmbr0"], ["vmbr1"], ["tap0"])


def test_a_named_guest_bridge_that_leads_to_the_network_stays_an_uplink() -> None:
    config = replace(CONFIG, guest_bridges=NameList(True, ("vmbr0",)))
    assert _names(classify(config, NODE)) == (["vmbr0"], ["vmbr0", "vmbr1"], [])


def test_a_named_guest_bridge_with_an_address_but_no_nic_is_no_uplink() -> None:
    routed = (*NODE, _interface("vmbr2", "192.168.5.1/24", kind="bridge"))
    config = replace(CONFIG, guest_bridges=NameList(False, ("vmbr2",)))
    assert _names(classify(config, routed)) == (["vmbr0"], ["vmbr2"], [])


def _closed(config: Config, *interfaces: Interface) -> list[str]:
    return [b.name for b in classify(config, interfaces).closed_bridges]


BOTH = replace(CONFIG, guest_bridges=NameList(True, ("vmbr0", "vmbr0.40", "vmbr0v40")))


def test_a_guest_bridge_is_the_guests_alone_without_nic_address_and_uplink() -> None:
    assert _closed(CONFIG, *NODE) == ["vmbr1"]
    assert _closed(BOTH, *NODE) == ["vmbr1"]
    by_name = replace(BOTH, uplinks=NameList(False, ("eno2",)))
    assert _closed(by_name, *NODE, _interface("eno2", "10.2.0.1/24")) == ["vmbr1"], "no uplink"
    trunk = (LO, NIC, replace(VMBR0, addresses=()), VMBR1,
             _interface("vmbr0.5", "10.0.1.11/24", kind="vlan", lower="vmbr0"),
             _interface("vmbr0.40", kind="vlan", lower="vmbr0"),
             _interface("vmbr0v40", kind="bridge"),
             _interface("eno1.40", kind="vlan", lower="eno1", master="vmbr0v40"))
    assert _closed(BOTH, *trunk) == ["vmbr1"], "the node's address is on a VLAN of it"
    assert _closed(BOTH, LO, VMBR0, VMBR1) == ["vmbr1"], "its NIC is away for the moment"
    named = replace(BOTH, uplinks=NameList(False, ("vmbr0.5",)))
    assert _closed(named, *(i for i in trunk if i.name != "eno1")) == ["vmbr1"]
    assert _closed(BOTH, replace(VMBR0, addresses=(GATEWAY,)), VMBR1) == ["vmbr0", "vmbr1"]


def _filtered(config: Config, *interfaces: Interface) -> set[str]:
    return set(classify(config, interfaces).filtered)


def test_guests_are_filtered_where_nobody_but_they_speaks() -> None:
    assert _filtered(CONFIG, *NODE) == {"vmbr1"}
    assert _filtered(replace(CONFIG, guest_filter=False), *NODE) == set()
    assert _filtered(BOTH, *NODE) == {"vmbr1"}, "routers speak on vmbr0"
    by_name = replace(BOTH, uplinks=NameList(False, ("eno2",)))
    assert _filtered(by_name, *NODE, _interface("eno2", "10.2.0.1/24")) == {"vmbr1"}, "hosts do"
    nat = replace(CONFIG, guest_bridges=NameList(True, ("vmbr2",)))
    bridge = _interface("vmbr2", "192.168.5.1/24", kind="bridge")
    assert _filtered(nat, *NODE, bridge) == {"vmbr1", "vmbr2"}
    vlans = (_interface("vmbr1.30", kind="vlan", lower="vmbr1"),
             _interface("vmbr0.40", kind="vlan", lower="vmbr0"))
    assert _filtered(BOTH, *NODE, *vlans) == {"vmbr1", "vmbr1.30"}
    leading = _interface("vmbr1.31", "10.3.0.1/24", kind="vlan", lower="vmbr1")
    uplink = replace(CONFIG, uplinks=NameList(False, ("vmbr1.31",)))
    assert _filtered(uplink, *NODE, *vlans, leading) == set(), "its routers come that way"


def test_a_vlan_of_a_guest_bridge_serves_guests_too() -> None:
    found = (*NODE, _interface("vmbr1.30", kind="vlan", lower="vmbr1"),
             _interface("vmbr0.40", kind="vlan", lower="vmbr0"))
    assert _names(classify(CONFIG, found)) == (["vmbr0"], ["vmbr1", "vmbr1.30"], [])


def test_the_uplink_that_holds_an_address() -> None:
    roles = classify(CONFIG, NODE)
    held = roles.uplink_holding(IPv4Address("10.0.1.99"))
    assert held is not None
    assert held.name == "vmbr0"
    assert roles.uplink_holding(IPv4Address("10.0.2.99")) is None


def test_a_link_local_address_makes_no_uplink() -> None:
    found = (*NODE, _interface("eno3", "169.254.7.7/16"))
    assert _names(classify(CONFIG, found))[0] == ["vmbr0"]
