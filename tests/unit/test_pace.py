"""Changes of one address keep their distance; moves, entries and other addresses do not wait."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from pve_ospf.pace import INTERVAL, Paced, paced, remembered
from pve_ospf.routes import Change, Neighbour, Route
from pve_ospf.sysctls import Sysctl

WEB, OTHER = IPv4Address("198.51.100.7"), IPv4Address("198.51.100.8")
MAC = "02:00:00:00:00:07"


def _route(address: IPv4Address) -> Route:
    return Route(IPv4Network(address), "vmbr1")


def _announce(address: IPv4Address) -> tuple[Change, Change]:
    return (Change("replace", Neighbour(address, "vmbr1", MAC)),
            Change("replace", _route(address)))


def test_what_was_never_changed_may_be_at_once() -> None:
    changes = _announce(WEB)
    assert paced(changes, {}, 100.0) == Paced(changes)


def test_a_second_change_waits_with_its_entries_until_the_first_is_old_enough() -> None:
    found = paced((*_announce(WEB), *_announce(OTHER)), {WEB: 99.5}, 100.0)
    assert found == Paced(_announce(OTHER), 99.5 + INTERVAL)
    assert paced(_announce(WEB), {WEB: 99.5}, 99.5 + INTERVAL).due is None


def test_the_first_of_several_that_wait_is_told() -> None:
    changes = (*_announce(WEB), *_announce(OTHER))
    assert paced(changes, {WEB: 99.9, OTHER: 99.4}, 100.0) == Paced((), 99.4 + INTERVAL)


def test_entries_alone_and_sysctls_do_not_wait() -> None:
    changes = (Change("replace", Neighbour(WEB, "vmbr1", MAC)),
               Change("replace", Sysctl("conf", "vmbr1", "forwarding", 1)))
    assert paced(changes, {WEB: 100.0}, 100.0) == Paced(changes)


def test_routes_that_were_changed_are_remembered_for_as_long_as_it_matters() -> None:
    found = remembered(_announce(WEB), {OTHER: 99.5, IPv4Address("192.0.2.1"): 90.0}, 100.0)
    assert found == {OTHER: 99.5, WEB: 100.0}
    assert remembered((), found, 200.0) == {}


def test_an_entry_is_no_change_of_the_route() -> None:
    assert remembered(_announce(WEB)[:1], {}, 100.0) == {}


def test_the_interval_is_more_than_a_router_needs() -> None:
    assert 1.0 < INTERVAL <= 1.2
