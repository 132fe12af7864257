"""The guest filter's text, and what is told from it as the kernel holds it.

The capture is of a table for vmbr1 (two permits) and vmbr2, written by nft 1.0.6, beside another
netdev table that is not ours; Linux 6.18.
"""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pve_ospf import nfmessage, rtmessage
from pve_ospf.announce import Desired
from pve_ospf.guestfilter import (
    Chain,
    Contents,
    FilterState,
    GuestFilter,
    Permit,
    drops,
    makes,
    render,
    state,
)
from pve_ospf.interfaces import Roles
from pve_ospf.model import GATEWAY, Announcement, Interface
from pve_ospf.pace import paced
from pve_ospf.routes import (
    Change,
    DeviceAddress,
    KernelState,
    Neighbour,
    Plan,
    Route,
    describe,
    plan,
    removal,
)
from pve_ospf.rtmessage import Message
from pve_ospf.sysctls import bridge_sysctls

GOLDEN = Path(__file__).with_name("golden") / "guest-filter.nft"
CAPTURE = Path(__file__).with_name("captures") / "kernel/nftables.json"
ONE = Permit("vmbr1", "bc:24:11:00:00:01", IPv4Address("198.51.100.7"))
TWO = Permit("vmbr1", "bc:24:11:00:00:02", IPv4Address("203.0.113.9"))
TABLE = GuestFilter(frozenset({"vmbr1", "vmbr2"}), frozenset({ONE, TWO}))
WRITTEN = FilterState(True, TABLE.bridges, TABLE.permits)


def _messages(name: str) -> list[Message]:
    found: list[Message] = []
    for lines in json.loads(CAPTURE.read_text())[name]:
        found += rtmessage.dumped(bytes.fromhex("".join(lines)))[0]
    return found


@pytest.fixture
def contents() -> Contents:
    """What the kernel holds, decoded."""
    comments: dict[str, tuple[str, ...]] = {}
    for chain, comment in map(nfmessage.rule, _messages("rules")):
        comments[chain] = (*comments.get(chain, ()), comment)
    sets = dict(filter(None, map(nfmessage.named_set, _messages("sets"))))
    return Contents(
        tuple(filter(None, map(nfmessage.chain, _messages("chains")))), comments, sets,
        {name: tuple(element for part in _messages(name) for element in nfmessage.elements(part))
         for name in sets})


def test_the_text() -> None:
    assert render(TABLE) == GOLDEN.read_text()


def test_as_the_kernel_holds_it_it_is_what_was_written(contents: Contents) -> None:
    assert state(contents) == WRITTEN
    assert [chain.name for chain in contents.chains] == ["from-vmbr1", "from-vmbr2"]
    assert nfmessage.generation(_messages("generation")[0]) > 0


@pytest.mark.parametrize("change", [
    {"device": "eth0"}, {"priority": 0}, {"policy": 0}, {"hook": 1}, {"kind": "nat"},
    {"device": ""}, {"name": "from-vmbr3"}])
def test_a_chain_that_is_other_than_written_counts_as_none(
        contents: Contents, change: dict[str, str | int]) -> None:
    first, second = contents.chains
    altered = replace(contents, chains=(replace(first, **change), second))  # type: ignore[arg-type]
    found = state(altered)
    assert found.bridges == {"vmbr2"}
    assert found.foreign
    assert makes(TABLE, found) == [TABLE]


@pytest.mark.parametrize("comments", [(), ("no OSPF",), "reversed"])
def test_rules_gone_or_changed_or_in_another_order_are_written_anew(
        contents: Contents, comments: tuple[str, ...] | str) -> None:
    there = contents.comments["from-vmbr1"]
    altered = there[::-1] if isinstance(comments, str) else comments
    found = state(replace(contents, comments={**contents.comments, "from-vmbr1": altered}))
    assert found.bridges == {"vmbr2"}
    assert makes(TABLE, found) == [TABLE]


def test_a_chain_or_set_that_somebody_added_is_written_over(contents: Contents) -> None:
    chain = Chain("mine", "", "", 0, 0, 0)
    for altered in (replace(contents, chains=(*contents.chains, chain)),
                    replace(contents, sets={**contents.sets, "mine": 4})):
        assert makes(TABLE, state(altered)) == [TABLE]


def test_the_set_that_a_chain_leaves_behind_is_nobodys_concern(contents: Contents) -> None:
    """Before Linux 6.16 the chain goes with its bridge."""
    gone = replace(contents, chains=contents.chains[:1])
    assert state(gone) == FilterState(True, frozenset({"vmbr1"}), TABLE.permits)
    less = GuestFilter(frozenset({"vmbr1"}), TABLE.permits)
    assert makes(less, state(gone), ["vmbr1"]) == []
    assert makes(TABLE, state(gone), ["vmbr1", "vmbr2"]) == [TABLE], "it has come back"


def test_a_set_of_another_type_is_written_anew(contents: Contents) -> None:
    found = state(replace(contents, sets={**contents.sets, "from-vmbr1": 4}))
    assert makes(TABLE, found) == [TABLE]


def test_written_as_a_whole_it_keeps_what_it_permits_until_that_is_taken_out() -> None:
    """Its route may not be withdrawn yet."""
    now = replace(WRITTEN, foreign=True)
    table = replace(TABLE, permits=frozenset({ONE}))
    assert makes(table, now) == [TABLE]
    assert drops(table, now) == [TWO]


def test_a_bridge_more_or_less() -> None:
    less = GuestFilter(frozenset({"vmbr1"}), TABLE.permits)
    assert makes(less, WRITTEN, ["vmbr1"]) == [], "what waits for a bridge does no harm"
    assert makes(less, WRITTEN, ["vmbr1", "vmbr2"]) == [less], "it has a NIC now"
    assert drops(less, WRITTEN) == []
    assert makes(TABLE, replace(WRITTEN, bridges=less.bridges)) == [TABLE]


def test_what_cannot_be_read_is_not_changed() -> None:
    unread = FilterState(problem="the kernel has no nf_tables")
    assert makes(TABLE, unread) == []
    assert drops(TABLE, unread) == []
    assert drops(GuestFilter(), unread) == []


def test_a_message_puts_in_what_the_kernel_then_shows() -> None:
    request = nfmessage.element(ONE, 7, add=True)
    (message,) = rtmessage.messages(request)
    assert nfmessage.elements(message) == [(ONE.mac, ONE.address)]
    begin, put, end = rtmessage.messages(nfmessage.batch([request]))
    assert (begin.kind, put.kind, end.kind) == (0x10, 10 << 8 | 12, 0x11)


# -- in the plan -----------------------------------------------------------------------------

ROLES = Roles(guest_bridges=(Interface(2, "vmbr1", "bridge"),), filtered=frozenset({"vmbr1"}))
READY = KernelState(addresses=frozenset({DeviceAddress("vmbr1", GATEWAY)}),
                    sysctls=frozenset(bridge_sysctls(ROLES)),
                    filter=FilterState(True, frozenset({"vmbr1"})))
WANTED = Desired((Announcement(ONE.address, "vmbr1", ONE.mac, 101),),
                 claimed=frozenset({(ONE.address, ONE.mac)}))
SERVING = replace(
    READY, routes=frozenset({Route(ROUTE.destination, "vmbr1") for ROUTE in (
        change.item for change in plan(WANTED, ROLES, READY).changes)
        if isinstance(ROUTE, Route)}),
    neighbours=frozenset({Neighbour(ONE.address, "vmbr1", ONE.mac)}),
    filter=replace(READY.filter, permits=frozenset({ONE})))


def _kinds(planned: Plan) -> list[tuple[str, type]]:
    return [(change.action, type(change.item)) for change in planned.changes]


def test_the_permit_comes_before_the_route_and_goes_after_it() -> None:
    assert _kinds(plan(WANTED, ROLES, READY)) == [
        ("replace", Permit), ("replace", Neighbour), ("replace", Route)]
    assert _kinds(plan(Desired(), ROLES, SERVING)) == [
        ("delete", Route), ("delete", Neighbour), ("delete", Permit)]
    assert not plan(WANTED, ROLES, SERVING).changes


def test_a_withdrawal_that_has_to_wait_keeps_its_permit() -> None:
    changes = plan(Desired(), ROLES, SERVING).changes
    assert paced(changes, {ONE.address: 100.0}, 100.5).now == ()


def test_what_may_be_an_unreadable_guests_is_kept() -> None:
    assert not plan(Desired(unknown=True), ROLES, SERVING).changes


def test_turned_off_the_table_goes_and_is_not_missed() -> None:
    off = replace(ROLES, filtered=frozenset())
    assert plan(WANTED, off, SERVING).changes == (Change("delete", GuestFilter()),)
    assert not plan(WANTED, off, replace(SERVING, filter=FilterState())).changes


def test_removal_takes_it_away() -> None:
    assert Change("delete", GuestFilter()) in removal(SERVING).changes
    assert "filter" not in str(removal(replace(SERVING, filter=FilterState())).changes)


def test_an_unread_filter_is_told_and_keeps_nothing_else_from_being_done() -> None:
    unread = replace(READY, filter=FilterState(problem="the nft table cannot be read: why"))
    planned = plan(WANTED, ROLES, unread)
    assert [f.code for f in planned.findings] == ["filter-unread"]
    assert _kinds(planned) == [("replace", Neighbour), ("replace", Route)]


def test_the_words() -> None:
    assert describe(TABLE) == "guest filter on vmbr1, vmbr2 (nft table netdev pve-ospf)"
    assert describe(ONE) == "permit 198.51.100.7 from bc:24:11:00:00:01 on vmbr1"
