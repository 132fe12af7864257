"""What is ours in the kernel, and the steps from what is to what should be."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from pve_ospf.announce import Desired
from pve_ospf.interfaces import Roles
from pve_ospf.model import GATEWAY, GATEWAY_MAC, Announcement, Interface
from pve_ospf.routes import (
    BridgeMac,
    Change,
    DeviceAddress,
    Item,
    KernelState,
    Neighbour,
    Route,
    is_ours,
    plan,
    removal,
)
from pve_ospf.sysctls import Sysctl, before, first, in_use, watched_sysctls

MAC = "bc:24:11:00:00:01"
ADDRESS = IPv4Address("198.51.100.7")
HOST = IPv4Network("198.51.100.7/32")
ROLES = Roles(uplinks=(Interface(1, "vmbr0", "bridge"),),
              guest_bridges=(Interface(2, "vmbr1", "bridge"),))
BRIDGE = (Sysctl("conf", "vmbr0", "forwarding", 1), Sysctl("conf", "vmbr1", "forwarding", 1),
          Sysctl("conf", "vmbr1", "proxy_arp", 1), Sysctl("neigh", "vmbr1", "proxy_delay", 0))
READY = KernelState(addresses=frozenset({DeviceAddress("vmbr1", GATEWAY)}),
                    sysctls=frozenset(BRIDGE))
SERVING = replace(READY, routes=frozenset({Route(HOST, "vmbr1")}),
                  neighbours=frozenset({Neighbour(ADDRESS, "vmbr1", MAC)}))
ONE = Desired((Announcement(ADDRESS, "vmbr1", MAC, 101),), claimed=frozenset({(ADDRESS, MAC)}))


def _changes(desired: Desired, state: KernelState, roles: Roles = ROLES) -> list[Change]:
    return list(plan(desired, roles, state).changes)


@pytest.mark.parametrize(("item", "ours"), [
    (Route(HOST, "vmbr1"), True), (Route(HOST, "vmbr1", protocol=3), False),
    (Route(HOST, "vmbr1", protocol=188), False),
    (Neighbour(ADDRESS, "vmbr1", MAC), True), (Neighbour(ADDRESS, "vmbr1", MAC, 0), False),
    (DeviceAddress("vmbr1", GATEWAY), True), (DeviceAddress("vmbr1", GATEWAY, 0), False),
])
def test_ours_is_what_carries_our_protocol(item: Route | Neighbour | DeviceAddress,
                                           ours: bool) -> None:
    assert is_ours(item) is ours


def test_from_nothing_the_bridge_comes_first_and_the_neighbour_before_the_route() -> None:
    assert [c.item for c in _changes(ONE, KernelState())] == [
        DeviceAddress("vmbr1", GATEWAY), *BRIDGE, Neighbour(ADDRESS, "vmbr1", MAC),
        Route(HOST, "vmbr1")]


def test_a_tunnel_that_is_let_into_ospf_forwards() -> None:
    roles = replace(ROLES, tunnels=(Interface(4, "wg0", "wireguard"),), dear=frozenset({"wg0"}))
    assert [c.item for c in _changes(ONE, SERVING, roles)] == [
        Sysctl("conf", "wg0", "forwarding", 1)]
    assert not _changes(ONE, SERVING, replace(roles, dear=frozenset()))


def test_what_is_right_is_left_alone() -> None:
    assert _changes(ONE, SERVING) == []


def test_a_withdrawal_takes_the_route_first() -> None:
    assert _changes(Desired(), SERVING) == [
        Change("delete", Route(HOST, "vmbr1")),
        Change("delete", Neighbour(ADDRESS, "vmbr1", MAC))]


def test_a_guest_on_another_bridge_is_replaced_never_deleted_first() -> None:
    roles = replace(ROLES, guest_bridges=(*ROLES.guest_bridges, Interface(3, "vmbr2", "bridge")))
    moved = replace(ONE, announcements=(Announcement(ADDRESS, "vmbr2", MAC, 101),))
    changes = [c for c in _changes(moved, SERVING, roles) if isinstance(c.item, Route | Neighbour)]
    assert changes == [
        Change("replace", Neighbour(ADDRESS, "vmbr2", MAC)),
        Change("replace", Route(HOST, "vmbr2")),
        Change("delete", Neighbour(ADDRESS, "vmbr1", MAC))]


@pytest.mark.parametrize("spoilt", [
    replace(SERVING, routes=frozenset({Route(HOST, "vmbr1", scope=0)})),
    replace(SERVING, routes=frozenset()),
])
def test_a_route_that_is_not_as_it_should_be_is_replaced(spoilt: KernelState) -> None:
    assert _changes(ONE, spoilt) == [Change("replace", Route(HOST, "vmbr1"))]


@pytest.mark.parametrize("spoilt", [
    Neighbour(ADDRESS, "vmbr1", "bc:24:11:00:00:99"),
    Neighbour(ADDRESS, "vmbr1", MAC, protocol=0, permanent=False),
])
def test_a_stolen_or_learned_neighbour_entry_is_replaced(spoilt: Neighbour) -> None:
    state = replace(SERVING, neighbours=frozenset({spoilt}))
    assert _changes(ONE, state) == [Change("replace", Neighbour(ADDRESS, "vmbr1", MAC))]


@pytest.mark.parametrize("sysctl", BRIDGE)
def test_a_sysctl_that_something_took_away_is_put_back(sysctl: Sysctl) -> None:
    state = replace(SERVING, sysctls=frozenset(BRIDGE) - {sysctl}
                    | {replace(sysctl, value=1 - sysctl.value)})
    assert _changes(ONE, state) == [Change("replace", sysctl)]


def test_a_bridge_gets_the_mac_all_have_and_keeps_it() -> None:
    """Setting it makes the kernel drop the bridge's entries, so they follow anew."""
    roles = replace(ROLES, guest_bridges=(
        Interface(2, "vmbr1", "bridge", mac="02:00:00:00:00:01", mac_stays=False),))
    assert _changes(ONE, SERVING, roles) == [
        Change("replace", BridgeMac("vmbr1", GATEWAY_MAC)),
        Change("replace", Neighbour(ADDRESS, "vmbr1", MAC))]


def test_the_gateway_is_put_back_and_the_administrators_own_counts() -> None:
    gone = replace(SERVING, addresses=frozenset())
    assert _changes(ONE, gone) == [Change("replace", DeviceAddress("vmbr1", GATEWAY))]
    his = replace(SERVING, addresses=frozenset({DeviceAddress("vmbr1", GATEWAY, 0)}))
    assert _changes(ONE, his) == []


def test_a_bridge_that_serves_guests_no_more_gives_back_what_it_was_given_last_of_all() -> None:
    """One that got a NIC would answer ARP for that LAN; and with the address the kernel drops
    the routes without a word."""
    assert _changes(Desired(), SERVING, replace(ROLES, guest_bridges=())) == [
        Change("delete", Route(HOST, "vmbr1")),
        Change("delete", Neighbour(ADDRESS, "vmbr1", MAC)),
        Change("replace", Sysctl("conf", "vmbr1", "proxy_arp", 0)),
        Change("replace", Sysctl("neigh", "vmbr1", "proxy_delay", 80)),
        Change("delete", DeviceAddress("vmbr1", GATEWAY))]


def test_on_link_gets_a_proxy_entry_on_the_uplink() -> None:
    address = IPv4Address("10.0.1.99")
    on_link = Desired((Announcement(address, "vmbr1", MAC, 101, "vmbr0"),))
    assert [c.item for c in _changes(on_link, READY)] == [
        Neighbour(address, "vmbr1", MAC), Route(IPv4Network("10.0.1.99/32"), "vmbr1"),
        Neighbour(address, "vmbr0"), Sysctl("neigh", "vmbr0", "proxy_delay", 0)]
    state = replace(READY, proxies=frozenset({Neighbour(address, "vmbr0")}))
    assert _changes(Desired(), state) == [Change("delete", Neighbour(address, "vmbr0"))]


def test_an_uplink_never_answers_for_others() -> None:
    both = Roles(uplinks=(Interface(1, "vmbr0", "bridge"),),
                 guest_bridges=(Interface(1, "vmbr0", "bridge"),))
    items: list[Item] = [c.item for c in _changes(Desired(), KernelState(), both)]
    assert items == [Sysctl("conf", "vmbr0", "forwarding", 1)]


@pytest.mark.parametrize("foreign", [
    {"routes": frozenset({Route(HOST, "eth9", protocol=3)})},
    {"routes": frozenset({Route(HOST, "", protocol=3, kind="blackhole")})},
    {"neighbours": frozenset({Neighbour(ADDRESS, "vmbr1", "02:00:00:00:00:01", protocol=0)})},
])
def test_what_somebody_else_made_is_named_and_kept(foreign: dict[str, frozenset[object]]) -> None:
    planned = plan(ONE, ROLES, replace(READY, **foreign))  # type: ignore[arg-type]
    assert planned.changes == ()
    (finding,) = planned.findings
    assert finding.code == "foreign"
    assert "that is not ours" in finding.message


def test_an_ospf_route_to_the_old_node_is_in_nobodys_way() -> None:
    learned = Route(HOST, "vmbr0", protocol=188, priority=20, gateway=IPv4Address("10.0.1.1"))
    assert Change("replace", Route(HOST, "vmbr1")) in _changes(
        ONE, replace(READY, routes=frozenset({learned})))


def test_nothing_is_withdrawn_because_a_guest_could_not_be_read() -> None:
    assert _changes(Desired(unknown=True), SERVING) == []


def test_not_even_when_a_clone_elsewhere_claims_the_address() -> None:
    clone = Desired(unknown=True, claimed=frozenset({(ADDRESS, "bc:24:11:00:00:77")}))
    assert _changes(clone, SERVING) == []


def test_but_what_a_stopped_guest_claims_is() -> None:
    stopped = Desired(unknown=True, claimed=frozenset({(ADDRESS, MAC)}))
    assert Change("delete", Route(HOST, "vmbr1")) in _changes(stopped, SERVING)


def test_others_routes_and_entries_stay() -> None:
    others = KernelState(
        routes=frozenset({Route(IPv4Network("192.0.2.1/32"), "vmbr1", protocol=4)}),
        neighbours=frozenset({Neighbour(IPv4Address("192.0.2.1"), "vmbr1", MAC, 0)}),
        proxies=frozenset({Neighbour(IPv4Address("10.0.1.50"), "vmbr0", protocol=0)}),
        addresses=frozenset({*READY.addresses,
                             DeviceAddress("vmbr0", IPv4Interface("10.0.1.11/24"), 0)}),
        sysctls=READY.sysctls)
    assert _changes(Desired(), others) == []
    assert all(isinstance(c.item, DeviceAddress | Sysctl) and c.item.device == "vmbr1"
               for c in removal(others).changes)


def test_a_removal_takes_everything_of_ours() -> None:
    changes = removal(SERVING).changes
    assert [c.item for c in changes[:2]] == [
        Route(HOST, "vmbr1"), Neighbour(ADDRESS, "vmbr1", MAC)]
    assert changes[-1].item == DeviceAddress("vmbr1", GATEWAY)
    assert Change("replace", Sysctl("conf", "vmbr1", "proxy_arp", 0)) in changes


REDIRECTS = [Sysctl("conf", "vmbr0", "send_redirects", 0),
             Sysctl("conf", "all", "send_redirects", 0)]


def _sending(*devices: str) -> KernelState:
    """READY with redirects on at these, off at the rest."""
    return replace(SERVING, interfaces=ROLES.uplinks, sysctls=READY.sysctls | {
        replace(sysctl, value=int(sysctl.device in devices)) for sysctl in REDIRECTS})


def test_redirects_are_off_while_an_address_is_away_and_both_values_are_watched() -> None:
    assert set(REDIRECTS) <= set(watched_sysctls(ROLES))
    assert plan(ONE, ROLES, _sending("vmbr0", "all")).changes == ()
    changes = plan(ONE, ROLES, _sending("vmbr0", "all"), away={"vmbr0"}).changes
    assert [c.item for c in changes] == REDIRECTS
    assert plan(ONE, ROLES, _sending(), away={"vmbr0"}).changes == ()


def test_and_on_again_only_where_we_turned_them_off() -> None:
    made = plan(ONE, ROLES, _sending("vmbr0"), away={"vmbr0"}).changes
    kept = _before(made, _sending("vmbr0"))
    back = Change("replace", Sysctl("conf", "vmbr0", "send_redirects", 1))
    assert kept == {back.item}, "`all` was the administrator's"
    assert plan(ONE, ROLES, _sending(), away={"vmbr0"}, kept=kept).changes == ()
    assert plan(ONE, ROLES, _sending(), kept=kept).changes == (back,)
    assert back in removal(_sending(), kept).changes
    assert plan(ONE, ROLES, _sending("vmbr0"), kept=kept).changes == (), "the second does nothing"
    gone = {replace(sysctl, device="gone0") for sysctl in kept}
    assert plan(ONE, ROLES, _sending(), kept=gone).changes == ()
    assert back not in removal(_sending()).changes


# What is given back.

def _before(changes: Iterable[Change], state: KernelState) -> frozenset[Sysctl]:
    items = [c.item for c in changes]
    return before([i for i in items if isinstance(i, Sysctl)],
                  {i.device for i in items if isinstance(i, DeviceAddress)}, state.sysctls)


VMBR0, VMBR1 = Interface(1, "vmbr0", "bridge"), Interface(2, "vmbr1", "bridge")
OFF = (Sysctl("conf", "vmbr1", "proxy_arp", 0), Sysctl("neigh", "vmbr1", "proxy_delay", 50))
FRESH = KernelState(interfaces=(VMBR0, VMBR1), sysctls=frozenset(
    (*OFF, Sysctl("conf", "vmbr0", "forwarding", 0), Sysctl("conf", "vmbr1", "forwarding", 0))))
"""As it was before the first sync."""
NO_GATEWAY = replace(READY, interfaces=FRESH.interfaces, addresses=frozenset())
"""ifupdown2 took the address away."""


@pytest.mark.parametrize("roles", [
    replace(ROLES, guest_bridges=()),
    Roles(uplinks=(VMBR0, VMBR1), guest_bridges=(VMBR1,)),
    replace(ROLES, shared=frozenset({"vmbr1"})),
], ids=["no guest bridge", "uplink", "with a NIC"])
def test_a_bridge_gives_back_what_it_was_given_though_the_address_is_gone(roles: Roles) -> None:
    kept = _before(plan(Desired(), ROLES, FRESH).changes, FRESH)
    assert kept == set(OFF), "forwarding stays"
    back = [Change("replace", sysctl) for sysctl in OFF]
    changes = plan(Desired(), roles, NO_GATEWAY, kept=kept).changes
    # An uplink's proxy_delay does nothing by itself and stays until it is none.
    expected = back[:1] if roles.is_uplink("vmbr1") else back
    assert [c for c in changes if getattr(c.item, "device", "") == "vmbr1"] == expected
    assert list(removal(NO_GATEWAY, kept).changes) == back


def test_what_an_administrator_has_set_stays_as_it_is() -> None:
    his = replace(FRESH, sysctls=FRESH.sysctls - set(OFF) | set(BRIDGE[2:]))
    kept = _before(plan(Desired(), ROLES, his).changes, his)
    closed = replace(READY, interfaces=FRESH.interfaces)
    for changes in (plan(Desired(), replace(ROLES, guest_bridges=()), closed, kept=kept).changes,
                    removal(closed, kept).changes):
        assert [c.item for c in changes] == [DeviceAddress("vmbr1", GATEWAY)]


def test_what_a_value_was_first_counts() -> None:
    later = replace(OFF[0], value=1)
    assert first(frozenset(OFF), {later}) == frozenset(OFF)
    assert in_use({*OFF, Sysctl("conf", "gone0", "proxy_arp", 0)}, ROLES, ()) == frozenset(OFF)


def test_without_memory_our_address_says_that_the_bridge_was_ours() -> None:
    """/run was cleared: the kernel's defaults it is."""
    defaults = (OFF[0], replace(OFF[1], value=80))
    there = replace(READY, interfaces=FRESH.interfaces)
    assert [c.item for c in removal(there).changes] == [
        *defaults, DeviceAddress("vmbr1", GATEWAY)]
    kept = frozenset(OFF[1:])
    assert [c.item for c in removal(there, kept).changes] == [
        OFF[1], DeviceAddress("vmbr1", GATEWAY)], "proxy_arp was on before"


NIC, VETH = (Interface(8, "eno1", mac="52:54:00:00:00:08", master="vmbr1"),
             Interface(9, "veth101i0", "veth", mac="fe:24:11:00:00:01", master="vmbr1"))


@pytest.mark.parametrize(("ports", "mac"), [
    ((NIC, VETH), NIC.mac), ((VETH,), VETH.mac), ((), "")])
def test_the_common_mac_leaves_with_the_guest_bridge(
        ports: tuple[Interface, ...], mac: str) -> None:
    """On a LAN it would be the MAC of several nodes."""
    bridge = replace(VMBR1, mac=GATEWAY_MAC)
    roles = replace(ROLES, guest_bridges=(bridge,), shared=frozenset({"vmbr1"}))
    state = replace(SERVING, interfaces=(VMBR0, bridge, *ports), addresses=frozenset())
    given = Change("replace", BridgeMac("vmbr1", mac))
    changes = _changes(ONE, state, roles)
    assert changes[0] == given
    assert Change("replace", Neighbour(ADDRESS, "vmbr1", MAC)) in changes
    assert given in removal(state).changes
    assert given not in _changes(ONE, state, replace(ROLES, guest_bridges=(bridge,)))


def test_a_bridge_with_an_address_and_guests_alone_keeps_the_mac_it_has() -> None:
    bridge = replace(VMBR1, mac=VETH.mac, mac_stays=False)
    roles = replace(ROLES, guest_bridges=(bridge,), shared=frozenset({"vmbr1"}))
    state = replace(SERVING, interfaces=(VMBR0, bridge, VETH), addresses=frozenset())
    assert _changes(Desired(), state, roles)[0] == Change(
        "replace", BridgeMac("vmbr1", VETH.mac))
    wired = replace(state, interfaces=(*state.interfaces, NIC))
    assert not [c for c in _changes(Desired(), wired, roles) if isinstance(c.item, BridgeMac)]
