"""compare(): each finding from a healthy node on which one thing was changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from pve_ospf import lsdb
from pve_ospf.announce import Desired, Node, desired
from pve_ospf.check import compare, passing
from pve_ospf.config import parse
from pve_ospf.evidence import (
    NEEDED_DAEMONS,
    Daemons,
    Guests,
    Mark,
    Overheard,
    Readings,
    Report,
    Unread,
)
from pve_ospf.guestfilter import FilterState, Permit
from pve_ospf.interfaces import classify
from pve_ospf.lsdb import ExternalLsa, KernelRoute, OspfInterface
from pve_ospf.model import GATEWAY, Finding, Guest, GuestNet, Interface
from pve_ospf.ospfpacket import Said
from pve_ospf.routes import DeviceAddress, KernelState, Neighbour, Route
from pve_ospf.sysctls import Sysctl, watched_sysctls

CONFIG = parse("allow: [198.51.100.0/24, 10.1.0.0/24]\n", "pve-ospf.yaml", "pve1")
MAC = "02:00:00:00:01:01"
WEB, DB, ONLINK = (IPv4Address(a) for a in ("198.51.100.7", "198.51.100.8", "10.1.0.50"))
HERE = IPv4Address("0.0.0.0")  # noqa: S104 (OSPF's "forward to the announcing router")
ME = IPv4Address("10.255.0.1")

ETH0 = Interface(1, "eth0", addresses=(IPv4Interface("10.1.0.1/24"),))
VMBR1 = Interface(2, "vmbr1", "bridge", addresses=(GATEWAY,))
TUN = Interface(3, "vx0", "vxlan", addresses=(IPv4Interface("10.9.0.1/24"),))
INTERFACES = (ETH0, VMBR1, TUN)
ROLES = classify(CONFIG, INTERFACES)


def guest(vmid: int, address: IPv4Address, hookscript: str | None = "local:snippets/pve-ospf",
          **rest: Any) -> Guest:
    net = GuestNet(0, rest.pop("bridge", "vmbr1"), MAC, address)
    return Guest(vmid, "lxc", "pve1", f"guest{vmid}", (net,), hookscript, **rest)


def guests(*own: Guest, **rest: Any) -> Guests:
    running = frozenset(g.vmid for g in own)
    node = Node("pve1", ROLES, INTERFACES, running)
    return Guests(own, running, desired(CONFIG, own, node), **rest)


def route(address: IPv4Address, **rest: Any) -> Route:
    return Route(IPv4Network(address), **{"device": "vmbr1", **rest})


def zebra(address: IPv4Address, device: str = "vmbr1") -> KernelRoute:
    return KernelRoute(IPv4Network(address), device, selected=True, installed=True)


def lsa(prefix: IPv4Address | str) -> ExternalLsa:
    return ExternalLsa(IPv4Network(prefix), ME, 20, 2, HERE, age=5)


def neighbour(number: int, state: str = "Full", role: str = "DR",
              interface: str = "eth0") -> lsdb.Neighbour:
    return lsdb.Neighbour(interface, IPv4Address(f"10.255.0.{number}"),
                          IPv4Address(f"10.1.0.{number}"), state, role, 2.5)


def speaks(name: str, **rest: Any) -> OspfInterface:
    return OspfInterface(name, enabled=True, hello_interval=1, dead_interval=3, cost=10,
                         state="DROther", network_type="BROADCAST", **rest)


def healthy() -> Readings:
    """A node with two announced guests and one on the uplink's own subnet."""
    own = guests(guest(101, WEB), guest(102, DB), guest(103, ONLINK))
    served = (WEB, DB, ONLINK)
    state = KernelState(
        interfaces=INTERFACES,
        routes=frozenset(map(route, served)),
        neighbours=frozenset(Neighbour(a, "vmbr1", MAC) for a in served),
        proxies=frozenset({Neighbour(ONLINK, "eth0")}),
        addresses=frozenset({DeviceAddress("vmbr1", GATEWAY)}),
        sysctls=frozenset(watched_sysctls(ROLES)),
        filter=FilterState(True, ROLES.filtered,
                           frozenset(Permit("vmbr1", MAC, a) for a in served)))
    return Readings(
        node="pve1", config=CONFIG, roles=ROLES, state=state, guests=own,
        zebra=tuple(map(zebra, served)), lsas=(lsa(WEB), lsa(DB)),
        neighbours=(neighbour(2), neighbour(3, "Full", "Backup"),
                    neighbour(4, "2-Way", "DROther")),
        ospf=(speaks("eth0"),),
        daemons=Daemons(frozenset(NEEDED_DAEMONS), frozenset(NEEDED_DAEMONS)), differences="")


def with_state(readings: Readings, **changes: Any) -> Readings:
    return replace(readings, state=replace(readings.state, **changes))


def codes(report: Report) -> list[tuple[str, str]]:
    return [(f.code, f.subject) for f in report.findings]


def marks(report: Report, address: IPv4Address) -> tuple[Mark, Mark, Mark, str]:
    (row,) = (r for r in report.rows if r.address == address)
    return row.kernel, row.zebra, row.lsa, row.verdict


def test_a_healthy_node() -> None:
    report = compare(healthy())
    assert (codes(report), report.unread, report.exit_code) == ([], (), 0)
    assert marks(report, WEB) == ("yes", "yes", "yes", "agrees")
    assert marks(report, ONLINK) == ("yes", "yes", "-", "on-link")
    assert [(r.vmid, r.name, r.bridge) for r in report.rows] == [
        (101, "guest101", "vmbr1"), (102, "guest102", "vmbr1"), (103, "guest103", "vmbr1")]
    assert [fine for _, fine in report.neighbours] == [True, True, True]
    assert report.others == ()


def test_every_finding_has_a_way_out() -> None:
    broken = replace(
        with_state(healthy(), routes=frozenset(), sysctls=frozenset(), addresses=frozenset()),
        ospf=(speaks("eth0", area_kind="nssa"), speaks("vx0"), speaks("vmbr1")),
        neighbours=(neighbour(2, "Init", "-"),), differences="-old\n+new\n",
        daemons=Daemons(frozenset(), frozenset()))
    report = compare(broken)
    assert len(report.findings) > 10
    assert [f for f in report.findings if not f.fix or not f.message] == []


# guest → kernel → zebra → LSA: only the first broken link is a finding.

def test_a_running_guest_without_kernel_route() -> None:
    readings = with_state(healthy(), routes=frozenset({route(DB), route(ONLINK)}))
    report = compare(replace(readings, zebra=(zebra(DB), zebra(ONLINK)), lsas=(lsa(DB),)))
    assert codes(report) == [("missing-route", str(WEB))]
    assert marks(report, WEB) == ("no", "no", "no", "missing")
    assert "guest 101" in report.findings[0].message
    assert report.exit_code == 1


def test_a_route_on_the_wrong_bridge() -> None:
    routes = frozenset({route(WEB, device="vmbr9"), route(DB), route(ONLINK)})
    report = compare(with_state(healthy(), routes=routes))
    assert codes(report) == [("missing-route", str(WEB))]
    assert marks(report, WEB)[0] == "no"


def test_a_route_of_the_administrator_in_the_way() -> None:
    routes = frozenset({route(WEB, protocol=4), route(DB), route(ONLINK)})
    report = compare(with_state(healthy(), routes=routes))
    assert codes(report)[0] == ("foreign", str(WEB))
    assert marks(report, WEB)[3] == "missing"


def test_zebra_lacks_a_route() -> None:
    report = compare(replace(healthy(), zebra=(zebra(DB), zebra(ONLINK)), lsas=(lsa(DB),)))
    assert codes(report) == [("missing-zebra", str(WEB))]
    assert marks(report, WEB) == ("yes", "no", "no", "missing")


@pytest.mark.parametrize("stale", [
    zebra(WEB, "vmbr9"), replace(zebra(WEB), selected=False)], ids=["elsewhere", "not selected"])
def test_zebra_has_it_otherwise(stale: KernelRoute) -> None:
    readings = replace(healthy(), zebra=(stale, zebra(DB), zebra(ONLINK)), lsas=(lsa(DB),))
    assert codes(compare(readings)) == [("missing-zebra", str(WEB))]


def test_a_route_without_lsa() -> None:
    report = compare(replace(healthy(), lsas=(lsa(DB),)))
    assert codes(report) == [("missing-lsa", str(WEB))]
    assert marks(report, WEB) == ("yes", "yes", "no", "missing")


def test_an_lsa_without_guest() -> None:
    stray = IPv4Address("198.51.100.66")
    report = compare(replace(healthy(), lsas=(lsa(WEB), lsa(DB), lsa(stray))))
    assert codes(report) == [("extra-lsa", str(stray))]
    assert marks(report, stray) == ("no", "no", "yes", "extra")
    assert "restart frr" in report.findings[0].fix


def test_an_lsa_for_a_route_of_the_administrator_names_the_route() -> None:
    stray = IPv4Address("198.51.100.66")
    readings = with_state(healthy(), routes=healthy().state.routes | {route(stray, protocol=4)})
    report = compare(replace(readings, zebra=(*map(zebra, (WEB, DB, ONLINK, stray)),),
                             lsas=(lsa(WEB), lsa(DB), lsa(stray))))
    assert codes(report) == [("extra-lsa", str(stray))]
    assert "route 198.51.100.66/32 dev vmbr1 that is not ours" in report.findings[0].message
    assert marks(report, stray) == ("yes", "yes", "yes", "extra")


def test_a_kernel_route_without_guest() -> None:
    stray = IPv4Address("198.51.100.66")
    readings = with_state(healthy(), routes=healthy().state.routes | {route(stray)})
    report = compare(replace(readings, zebra=(*map(zebra, (WEB, DB, ONLINK, stray)),),
                             lsas=(lsa(WEB), lsa(DB), lsa(stray))))
    assert codes(report) == [("extra-route", str(stray))]
    assert marks(report, stray) == ("yes", "yes", "yes", "extra")


def test_zebra_keeps_what_the_kernel_dropped() -> None:
    stray = IPv4Address("198.51.100.66")
    report = compare(replace(healthy(), zebra=(*map(zebra, (WEB, DB, ONLINK, stray)),),
                             lsas=(lsa(WEB), lsa(DB), lsa(stray))))
    assert codes(report) == [("extra-zebra", str(stray))]
    assert report.findings[0].fix == (
        "ip route add 198.51.100.66/32 dev vmbr1 && ip route del 198.51.100.66/32 dev vmbr1")


def test_an_on_link_address_is_not_to_be_announced() -> None:
    report = compare(replace(healthy(), lsas=(lsa(WEB), lsa(DB), lsa(ONLINK))))
    assert codes(report) == [("extra-lsa", str(ONLINK))]
    assert marks(report, ONLINK) == ("yes", "yes", "yes", "extra")


def test_the_administrators_own_redistribution_is_named_and_no_finding() -> None:
    # The last one is a subnet inside `allow`: no guest's, so not ours either.
    prefixes = ("172.16.0.0/12", "192.0.2.1/32", "198.51.100.64/28")
    report = compare(replace(healthy(), lsas=(lsa(WEB), lsa(DB), *map(lsa, prefixes))))
    assert (codes(report), report.exit_code) == ([], 0)
    assert [str(e.prefix) for e in report.others] == list(prefixes)
    assert len(report.rows) == 3


def test_kernel_routes_of_others_are_nobodys_business() -> None:
    foreign = IPv4Address("192.0.2.77")
    readings = with_state(healthy(), routes=healthy().state.routes | {route(foreign, protocol=4)})
    report = compare(replace(readings, zebra=(*readings.zebra, zebra(foreign))))  # type: ignore[misc]
    assert codes(report) == []


def test_guests_that_are_refused_are_listed() -> None:
    own = guests(guest(101, WEB), guest(102, DB), guest(103, ONLINK),
                 guest(104, IPv4Address("192.0.2.1")),
                 guest(105, IPv4Address("198.51.100.99"), bridge="eth0"))
    report = compare(replace(healthy(), guests=own))
    assert codes(report) == [("not-allowed", "guest 104"), ("uplink-bridge", "guest 105")]
    assert marks(report, IPv4Address("192.0.2.1")) == ("-", "-", "-", "refused")
    assert {r.vmid for r in report.rows_of("refused")} == {104, 105}


def test_guests_that_are_not_attached_or_do_not_run_are_not() -> None:
    own = guests(guest(101, WEB), guest(102, DB), guest(103, ONLINK), guest(104, WEB, None))
    stopped = guest(105, IPv4Address("198.51.100.99"))
    report = compare(replace(healthy(), guests=replace(own, own=(*own.own, stopped))))
    assert {r.vmid for r in report.rows} == {101, 102, 103}


# What a sync would do is what is wrong in the kernel.

@pytest.mark.parametrize(("changes", "expected"), [
    ({"neighbours": frozenset()},
     [("missing-entry", str(a)) for a in (ONLINK, WEB, DB)]),
    ({"proxies": frozenset()}, [("missing-entry", str(ONLINK))]),
    ({"addresses": frozenset()}, [("missing-gateway", "vmbr1")]),
    ({"filter": FilterState()}, [("missing-filter", "guest filter")]),
    ({"filter": FilterState(True, frozenset({"vmbr1"}), frozenset(
        Permit("vmbr1", MAC, a) for a in (WEB, DB, IPv4Address("198.51.100.66"))))},
     [("missing-permit", str(ONLINK)), ("extra-permit", "198.51.100.66")]),
    ({"sysctls": frozenset(s for s in watched_sysctls(ROLES) if s.device != "eth0")},
     [("forwarding-off", "eth0"), ("proxy-delay", "eth0")]),
    ({"sysctls": frozenset(s for s in watched_sysctls(ROLES) if s.device == "eth0")},
     [("forwarding-off", "vmbr1"), ("proxy-arp-off", "vmbr1"), ("proxy-delay", "vmbr1")]),
], ids=["neighbours", "proxies", "gateway", "filter", "permits", "uplink's sysctls",
        "bridge's sysctls"])
def test_the_rest_of_the_kernel(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert codes(compare(with_state(healthy(), **changes))) == expected


@pytest.mark.parametrize("device", ["eth0", "all"])
def test_an_uplink_that_answers_for_others(device: str) -> None:
    """An administrator's, or left over by whatever: a sync does not change it."""
    on = Sysctl("conf", device, "proxy_arp", 1)
    sysctls = healthy().state.sysctls - {replace(on, value=0)} | {on}
    report = compare(with_state(healthy(), sysctls=sysctls))
    assert codes(report) == [("proxy-arp-on", device)]
    assert f"sysctl -w net.ipv4.conf.{device}.proxy_arp=0" in report.findings[0].fix
    ours = frozenset({replace(on, value=0)}) if device != "all" else frozenset()
    (finding,) = compare(replace(with_state(healthy(), sysctls=sysctls), before=ours)).findings
    assert finding.fix == "pve-ospf sync" or device == "all"


def test_a_bridge_that_keeps_what_it_was_given_as_a_guest_bridge() -> None:
    before = frozenset({Sysctl("conf", "vmbr9", "proxy_arp", 0),
                        Sysctl("neigh", "vmbr9", "proxy_delay", 50)})
    state = with_state(healthy(), interfaces=(*INTERFACES, Interface(9, "vmbr9", "bridge")))
    assert codes(compare(replace(state, before=before))) == [
        ("proxy-arp-on", "vmbr9"), ("proxy-delay", "vmbr9")]


def test_entries_left_over() -> None:
    stray = IPv4Address("198.51.100.66")
    changes = {"neighbours": healthy().state.neighbours | {Neighbour(stray, "vmbr1", MAC)}}
    assert codes(compare(with_state(healthy(), **changes))) == [("extra-entry", str(stray))]


# OSPF.

@pytest.mark.parametrize(("state", "role", "own", "fine"), [
    ("Full", "DR", "DROther", True),
    ("Full", "-", "Point-To-Point", True),
    ("2-Way", "DROther", "DROther", True),
    ("2-Way", "DROther", "Backup", False),
    ("2-Way", "DROther", "Waiting", False),
    ("2-Way", "DR", "DROther", False),
    ("Init", "DROther", "DROther", False),
    ("ExStart", "-", "Point-To-Point", False),
    ("Exchange", "DR", "Backup", False),
])
def test_which_neighbours_are_fine(state: str, role: str, own: str, fine: bool) -> None:
    readings = replace(healthy(), neighbours=(neighbour(2), neighbour(9, state, role)),
                       ospf=(replace(speaks("eth0"), state=own),))
    report = compare(readings)
    assert codes(report) == ([] if fine else [("neighbour-state", "10.255.0.9")])
    assert [ok for _, ok in report.neighbours] == [True, fine]


def test_two_way_alone_is_not_enough_for_an_uplink() -> None:
    readings = replace(healthy(), neighbours=(neighbour(4, "2-Way", "DROther"),))
    report = compare(readings)
    assert codes(report) == [("no-neighbour", "eth0")]
    assert "hello 1 s and dead 3 s" in report.findings[0].fix


def test_a_full_neighbour_on_another_interface_does_not_count() -> None:
    readings = replace(healthy(), neighbours=(neighbour(2, interface="vx0"),))
    assert codes(compare(readings)) == [("no-neighbour", "eth0")]


def test_an_uplink_without_a_link() -> None:
    """ospfd does not list it any more: that is no reason to call for another configuration."""
    readings = replace(healthy(), ospf=(), lsas=(), neighbours=())
    down = classify(CONFIG, (replace(ETH0, up=False), VMBR1, TUN))
    for broken in (replace(readings, roles=down),
                   replace(readings, unplugged=frozenset({"eth0"}))):
        report = compare(broken)
        assert codes(report) == [("uplink-down", "eth0")]
        assert marks(report, WEB)[3] == "missing"


@pytest.mark.parametrize(("ospf", "expected"), [
    ((), ("uplink-without-ospf", "eth0")),
    ((speaks("eth9"),), ("uplink-without-ospf", "eth0")),
    ((speaks("eth0", passive=True),), ("uplink-without-ospf", "eth0")),
    ((speaks("eth0"), speaks("vx0")), ("tunnel-in-ospf", "vx0")),
    ((speaks("eth0"), speaks("vx0", passive=True)), ("tunnel-in-ospf", "vx0")),
    ((speaks("eth0"), speaks("vmbr1")), ("guest-bridge-in-ospf", "vmbr1")),
    ((speaks("eth0"), speaks("vmbr1", passive=True)), ("guest-bridge-in-ospf", "vmbr1")),
    ((speaks("eth0"), speaks("eth1", area_kind="nssa")), ("nssa-area", "eth1")),
    ((speaks("eth0"), speaks("eth1", area_kind="stub")), ("stub-area", "eth1")),
])
def test_ospf_where_it_must_be_and_must_not(ospf: tuple[OspfInterface, ...],
                                            expected: tuple[str, str]) -> None:
    readings = replace(healthy(), ospf=ospf, neighbours=(neighbour(2),))
    assert codes(compare(readings)) == [expected]


def test_interfaces_out_of_ospf_are_not_trespassing() -> None:
    ospf = (speaks("eth0"), OspfInterface("vx0", enabled=False), speaks("eth7"))
    assert codes(compare(replace(healthy(), ospf=ospf))) == []


def test_a_guest_bridge_that_is_an_uplink_by_name_speaks_ospf() -> None:
    config = parse("allow: [198.51.100.0/24, 10.1.0.0/24]\nguest-bridges: [auto, eth0]\n"
                   "uplinks: [eth0]\n", "pve-ospf.yaml", "pve1")
    roles = classify(config, INTERFACES)
    assert roles.is_guest_bridge("eth0")
    assert roles.is_uplink("eth0")
    assert codes(compare(replace(healthy(), config=config, roles=roles))) == []


@pytest.mark.parametrize(("cost", "expected"), [
    (60000, []), (59999, [("tunnel-cost", "vx0")])])
def test_a_tunnel_of_high_cost(cost: int, expected: list[tuple[str, str]]) -> None:
    config = parse("allow: [198.51.100.0/24, 10.1.0.0/24]\n"
                   "tunnels: {policy: high-cost, cost: 60000}\n", "pve-ospf.yaml", "pve1")
    ospf = (speaks("eth0"), replace(speaks("vx0"), cost=cost))
    assert codes(compare(replace(healthy(), config=config, ospf=ospf))) == expected


@pytest.mark.parametrize("listed", [(lsa(WEB), lsa(DB)), ()], ids=["8.4 lists it", "10.7 not"])
@pytest.mark.parametrize("kind", ["nssa", "stub"])
def test_an_area_that_carries_no_type_5_is_not_falsely_green(
        kind: Any, listed: tuple[ExternalLsa, ...]) -> None:
    """FRR lists a type-5 that nobody outside gets to see; the one finding names the area."""
    report = compare(replace(healthy(), ospf=(speaks("eth0", area_kind=kind),), lsas=listed))
    assert codes(report) == [(f"{kind}-area", "eth0")]
    assert marks(report, WEB) == ("yes", "yes", "no", "missing")


def test_without_router_ospf_there_is_one_finding_not_one_a_guest() -> None:
    report = compare(replace(healthy(), ospf=None, lsas=(), neighbours=()))
    assert codes(report) == [("no-ospf", "FRR")]
    assert {r.verdict for r in report.rows} == {"missing", "on-link"}


@pytest.mark.parametrize(("daemons", "expected"), [
    (Daemons(frozenset({"zebra"}), frozenset(NEEDED_DAEMONS)), ("daemon-disabled", "ospfd")),
    (Daemons(frozenset(NEEDED_DAEMONS), frozenset(NEEDED_DAEMONS), at_boot=False),
     ("frr-disabled", "FRR")),
    (Daemons(frozenset({"zebra"}), frozenset({"zebra"})), ("daemon-disabled", "ospfd")),
    (Daemons(frozenset(NEEDED_DAEMONS), frozenset({"ospfd"})), ("daemon-stopped", "zebra")),
])
def test_daemons(daemons: Daemons, expected: tuple[str, str]) -> None:
    assert codes(compare(replace(healthy(), daemons=daemons))) == [expected]


def test_a_configuration_that_differs() -> None:
    report = compare(replace(healthy(), differences="+ ip ospf area 0\n"))
    assert codes(report) == [("configuration-differs", "FRR's configuration")]
    assert "pve-ospf apply" in report.findings[0].fix


def test_no_agent() -> None:
    readings = replace(healthy(), agent=False)
    (finding,) = compare(readings).findings
    assert (finding.code, finding.fix) == ("agent", "systemctl start pve-ospf")
    assert compare(readings, lasting=()).findings == (), "systemd is starting it again"
    assert codes(compare(readings, lasting=passing(compare(readings)))) == [
        ("agent", "pve-ospf.service")]


def test_findings_of_others_are_passed_on() -> None:
    hook = Finding("hookscript", "/var/lib/vz/snippets/pve-ospf", "does not exist", "link it")
    bad = Finding("unparsable", "/etc/pve/nodes/pve1/lxc/101.conf:3", "net0: ?", "correct it")
    own = replace(guests(guest(101, WEB), guest(102, DB), guest(103, ONLINK)), findings=(bad,))
    report = compare(replace(healthy(), guests=own, node_findings=(hook,)))
    assert report.findings == (bad, hook)


# "Cannot tell" is not "absent".

GONE = Unread("it", "not to be had")


@pytest.mark.parametrize("part", ["guests", "zebra", "lsas", "neighbours", "ospf", "daemons",
                                  "differences"])
def test_what_cannot_be_read_makes_no_finding(part: str) -> None:
    report = compare(replace(healthy(), **{part: GONE}))  # type: ignore[arg-type]
    assert (codes(report), report.unread, report.exit_code) == ([], (GONE,), 3)


def test_a_filter_that_cannot_be_read_is_cannot_tell() -> None:
    report = compare(with_state(healthy(), filter=FilterState(problem="why")))
    assert (codes(report), report.exit_code) == ([], 3)
    assert [(u.what, u.reason) for u in report.unread] == [("guest filter", "why")]


def test_a_filter_that_was_turned_off_is_missed_by_nobody() -> None:
    off = replace(ROLES, filtered=frozenset())
    readings = replace(healthy(), roles=off)
    assert codes(compare(readings)) == [("extra-filter", "guest filter")]
    assert not codes(compare(with_state(readings, filter=FilterState())))


def test_unread_parts_show_in_the_rows() -> None:
    assert marks(compare(replace(healthy(), zebra=GONE)), WEB) == ("yes", "?", "yes", "unknown")
    assert marks(compare(replace(healthy(), lsas=GONE)), WEB) == ("yes", "yes", "?", "unknown")
    assert marks(compare(replace(healthy(), lsas=GONE)), ONLINK) == ("yes", "yes", "?", "unknown")
    report = compare(replace(healthy(), guests=GONE))
    assert marks(report, WEB) == ("yes", "yes", "yes", "unknown")
    assert {r.verdict for r in report.rows} == {"unknown"}
    assert len(report.rows) == 3
    stray = replace(healthy(), guests=GONE, lsas=(lsa(WEB), lsa(DB), lsa("198.51.100.66/32")))
    assert marks(compare(stray), IPv4Address("198.51.100.66")) == ("no", "no", "yes", "unknown")


def test_a_missing_route_stays_missing_when_frr_cannot_be_read() -> None:
    readings = replace(with_state(healthy(), routes=frozenset({route(DB), route(ONLINK)})),
                       zebra=GONE, lsas=GONE, ospf=GONE, neighbours=GONE)
    report = compare(readings)
    assert codes(report) == [("missing-route", str(WEB))]
    assert marks(report, WEB) == ("no", "?", "?", "missing")
    assert report.exit_code == 3  # and not 1, though there is a finding
    assert len(report.unread) == 1  # four times the same is one


def test_a_guest_file_that_cannot_be_opened_is_cannot_tell() -> None:
    unreadable = Finding("unreadable", "/etc/pve/nodes/pve1/lxc/101.conf", "EIO", "look")
    own = replace(guests(guest(101, WEB), guest(102, DB), guest(103, ONLINK)),
                  findings=(unreadable,))
    report = compare(replace(healthy(), guests=own))
    assert (codes(report), report.exit_code) == ([], 3)
    assert report.unread == (Unread("/etc/pve/nodes/pve1/lxc/101.conf", "EIO", "look"),)


def test_what_may_be_an_unreadable_guests_is_kept_and_no_finding() -> None:
    own = guests(guest(102, DB), guest(103, ONLINK))
    unknown = Desired(own.desired.announcements, claimed=own.desired.claimed, unknown=True)
    report = compare(replace(healthy(), guests=replace(own, desired=unknown)))
    assert codes(report) == []
    assert marks(report, WEB) == ("yes", "yes", "yes", "unknown")


# What is just happening.

def test_what_did_not_last_does_not_count() -> None:
    readings = replace(healthy(), lsas=(lsa(DB),))
    assert passing(compare(readings)) == {("missing-lsa", str(WEB))}
    report = compare(readings, lasting=frozenset())
    assert (codes(report), report.exit_code) == ([], 0)
    assert marks(report, WEB) == ("yes", "yes", "no", "settling")
    assert codes(compare(readings, lasting={("missing-lsa", str(WEB))})) == [
        ("missing-lsa", str(WEB))]


@pytest.mark.parametrize("change", [
    lambda r: replace(r, ospf=(speaks("eth0"), speaks("vx0"))),
    lambda r: with_state(r, sysctls=frozenset()),
    lambda r: replace(r, differences="+x\n")], ids=["tunnel", "sysctls", "differences"])
def test_what_does_not_pass_by_itself_always_counts(
        change: Callable[[Readings], Readings]) -> None:
    assert compare(change(healthy()), lasting=frozenset()).findings


def test_five_thousand_guests_in_a_second() -> None:
    import time  # noqa: PLC0415
    own = guests(*(guest(100 + n, IPv4Address("198.18.0.0") + n) for n in range(5000)))
    started = time.perf_counter()
    compare(replace(healthy(), guests=own))
    assert time.perf_counter() - started < 1


def said(**values: Any) -> Said:
    return replace(Said(IPv4Address("10.1.0.9"), IPv4Address("10.255.0.9"), IPv4Address(0),
                        mask=IPv4Address("255.255.255.0"), hello=1, dead=3), **values)


def alone(*heard: Said, state: str = "", **values: Any) -> Finding:
    """The finding of a node with no Full neighbour that has listened."""
    there = (neighbour(9, state),) if state else ()
    readings = replace(healthy(), neighbours=there,
                       overheard={"eth0": Overheard(heard, **values)})
    code = "neighbour-state" if state else "no-neighbour"
    return next(f for f in compare(readings).findings if f.code == code)


def test_what_differs_from_a_router_is_named_with_both_values() -> None:
    found = alone(said(hello=10, dead=40))
    assert found.message == (
        "is an uplink, but has no neighbour that is Full: of router 10.255.0.9 (10.1.0.9) the "
        "dead-interval is 40 s there, 3 s here, the hello-interval is 10 s there, 1 s here")
    assert "generate --router" in found.fix
    found = alone(said(), said(mtu=9000), state="ExStart", mtu=1500)
    assert found.message.endswith("stays in ExStart: of router 10.255.0.9 (10.1.0.9) the MTU is "
                                  "9000 there, 1500 here")


def test_a_router_whose_area_keeps_guests_to_itself() -> None:
    found = alone(said(area_kind="stub"))
    assert "area's kind is stub there, normal here" in found.message
    assert "cannot leave a stub area or an NSSA" in found.fix


def test_a_router_that_fits_and_is_not_taken() -> None:
    found = alone(said())
    assert "OSPF of router 10.255.0.9 comes in and fits, but FRR does not take it" in found.message
    assert "macro OSPF" in found.fix and "keys" not in found.fix
    found = alone(said(authentication="MD5", key_id=1), authentication="MD5", key_id=1)
    assert "the keys must be the same" in found.fix


def test_nobody_there() -> None:
    assert alone().message.endswith("Full: no router is heard there")
