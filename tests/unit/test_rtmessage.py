"""rtnetlink's answers, decoded: lists of a real kernel, and what may come cut short.

The capture is of a network namespace with vmbr1 (a bridge, with 169.254.1.1), a guest's veth in
it, eth0 with 10.0.1.11/24, and routes and entries of several kinds, ours among them.
"""

from __future__ import annotations

import json
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from pve_ospf import rtmessage
from pve_ospf.rtmessage import Address, Entry, Hop, Link, Message, RouteMessage

CAPTURE = Path(__file__).with_name("captures") / "kernel/rtnetlink.json"
HEADER = struct.Struct("=IHHII")


def _datagrams(name: str) -> list[bytes]:
    return [bytes.fromhex("".join(lines)) for lines in json.loads(CAPTURE.read_text())[name]]


def _messages(name: str) -> list[Message]:
    found: list[Message] = []
    for data in _datagrams(name):
        found += rtmessage.dumped(data)[0]
    return found


def _error(code: int) -> bytes:
    return HEADER.pack(20, 2, 0, 1, 0) + struct.pack("=i", code)


def test_links() -> None:
    found = {link.name: link for link in map(rtmessage.link, _messages("links"))}
    bridge, far = found["vmbr1"], found["eth0"]
    assert bridge.kind == "bridge"
    assert bridge.mac == "02:00:00:00:00:01"
    assert bridge.flags & 1, "up"
    assert not bridge.vlan_filtering
    assert found["lo"] == Link(1, "lo", "", "00:00:00:00:00:00", found["lo"].flags, 0, 0, False)
    guest = found["veth101i0"]
    assert (guest.kind, guest.master, guest.lower) == ("veth", bridge.index, far.index)


def test_addresses_say_whose_they_are() -> None:
    found = {a for a in map(rtmessage.address, _messages("addresses")) if a}
    assert Address(2, IPv4Interface("169.254.1.1/32"), 205) in found
    assert Address(3, IPv4Interface("10.0.1.11/24"), 0) in found


def test_routes_of_every_kind() -> None:
    found = {str(r.destination): r for r in map(rtmessage.route, _messages("routes")) if r}
    assert found["198.51.100.7/32"] == RouteMessage(
        IPv4Network("198.51.100.7/32"), 254, 205, 253, 1, 0, (Hop(2, None),))
    assert found["0.0.0.0/0"].hops == (Hop(3, IPv4Address("10.0.1.1")),)
    assert found["192.0.2.0/24"].kind == 6, "blackhole"
    several = found["203.0.113.0/24"]
    assert several.priority == 20
    assert several.hops == (Hop(3, IPv4Address("10.0.1.1")), Hop(3, IPv4Address("10.0.1.2")))


def test_entries() -> None:
    ours = Entry(2, IPv4Address("198.51.100.7"), "02:00:00:00:00:07", 0x80, 0, 205)
    assert ours in map(rtmessage.entry, _messages("neighbours"))
    assert list(map(rtmessage.entry, _messages("proxies"))) == [
        Entry(3, IPv4Address("10.0.1.9"), "", 0, 8, 205)]


@pytest.mark.parametrize("name", ["links", "addresses", "routes", "neighbours", "proxies"])
def test_a_list_ends_with_its_last_datagram_only(name: str) -> None:
    *before, last = _datagrams(name)
    assert rtmessage.ends(last)
    assert not any(map(rtmessage.ends, before))
    assert rtmessage.dumped(last)[1]


def test_another_family_is_none() -> None:
    ipv6 = bytes([10]) + bytes(31)
    assert rtmessage.address(Message(rtmessage.NEWADDR, 0, ipv6)) is None
    assert rtmessage.route(Message(rtmessage.NEWROUTE, 0, ipv6)) is None
    assert rtmessage.entry(Message(rtmessage.NEWNEIGH, 0, ipv6)) is None


def test_a_list_that_changed_while_it_was_read_is_interrupted() -> None:
    torn = HEADER.pack(16, rtmessage.NEWROUTE, 0x10, 1, 0)
    with pytest.raises(rtmessage.Interrupted):
        rtmessage.dumped(torn)


def test_the_kernels_errors() -> None:
    assert rtmessage.dumped(_error(0)) == ([], True)
    with pytest.raises(OSError, match="rtnetlink") as raised:
        rtmessage.dumped(_error(-1))
    assert raised.value.errno == 1


@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\0" * 16, b"\xff" * 15])
def test_what_is_no_message_is_none(data: bytes) -> None:
    assert list(rtmessage.messages(data)) == []


def test_a_message_cut_anywhere_ends_the_list_and_never_hangs() -> None:
    (whole, *_) = _datagrams("routes")
    for length in range(len(whole)):
        for message in rtmessage.messages(whole[:length]):
            assert len(message.body) <= length


def test_requests_say_what_they_ask_for() -> None:
    for kind in (rtmessage.GETLINK, rtmessage.GETADDR, rtmessage.GETROUTE, rtmessage.GETNEIGH):
        request = rtmessage.dump_request(kind, table=254, flags=8)
        length, said, flags, _, _ = HEADER.unpack_from(request)
        assert (length, said, flags) == (len(request), kind, 0x301)
