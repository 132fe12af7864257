"""Requests for changes of routes and entries: read back by what reads the kernel's answers."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

from pve_ospf import rtmessage
from pve_ospf.routes import Neighbour, Route

ROUTE = Route(IPv4Network("198.51.100.7/32"), "vmbr1")
ENTRY = Neighbour(IPv4Address("198.51.100.7"), "vmbr1", "bc:24:11:00:00:01")
PROXY = Neighbour(IPv4Address("10.0.1.50"), "vmbr0")


def request(item: Route | Neighbour, *, replace: bool) -> rtmessage.Message:
    (message,) = rtmessage.messages(rtmessage.change_request(item, 7, 1, replace=replace))
    return message


def test_a_route() -> None:
    message = request(ROUTE, replace=True)
    assert (message.kind, message.flags) == (rtmessage.NEWROUTE, 0x505)
    route = rtmessage.route(message)
    assert route
    assert (route.destination, route.table, route.protocol) == (ROUTE.destination, 254, 205)
    assert (route.scope, route.kind, route.priority) == (253, 1, 0)
    assert route.hops == (rtmessage.Hop(7, None),)


def test_an_entry_and_a_proxy_entry() -> None:
    entry, proxy = (rtmessage.entry(request(item, replace=True)) for item in (ENTRY, PROXY))
    assert entry == rtmessage.Entry(7, ENTRY.address, ENTRY.mac, 0x80, 0, 205)
    assert proxy == rtmessage.Entry(7, PROXY.address, "", 0x80, 0x8, 205)


def test_a_deletion_creates_nothing() -> None:
    assert request(ROUTE, replace=False).kind == rtmessage.DELROUTE
    assert request(ENTRY, replace=False).kind == rtmessage.DELNEIGH
    assert request(ENTRY, replace=False).flags == 0x5


def test_answers_by_sequence() -> None:
    def answer(sequence: int, code: int) -> bytes:
        body = struct.pack("=i", code) + struct.pack("=IHHII", 16, 24, 0, sequence, 0)
        return struct.pack("=IHHII", 16 + len(body), 2, 0, sequence, 0) + body

    assert rtmessage.acknowledged(answer(3, 0) + answer(4, -19)) == {3: 0, 4: 19}
