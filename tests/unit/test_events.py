"""Which of the kernel's messages concern the agent, and whose doing they tell of."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest

from pve_ospf import rtmessage, rtnetlink
from pve_ospf.events import Events
from pve_ospf.routes import Route

SOMEONE = 4711
ADDRESSES = [IPv4Address(f"198.51.100.{n}") for n in (7, 8, 9)]
LINK = struct.pack("=IHHII", 32, rtmessage.NEWLINK, 0, 0, 0) + bytes(16)


def _told(address: IPv4Address, port: int, *, gone: bool = False, protocol: int = 205) -> bytes:
    """What the kernel tells of a route: the request for it, with the port of its author."""
    route = Route(IPv4Network(address), "vmbr1", protocol)
    request = bytearray(rtmessage.change_request(route, 7, 1, replace=not gone))
    request[12:16] = port.to_bytes(4, "little")
    return bytes(request)


def test_what_this_process_did_is_no_news() -> None:
    events, own = Events(), rtnetlink.port()
    assert own
    assert own == rtnetlink.port(), "it stays the same"
    assert not events.concerns(_told(ADDRESSES[0], own) + _told(ADDRESSES[0], own, gone=True))
    assert events.deleted == {}


def test_every_route_that_somebody_else_deletes_keeps_the_pace() -> None:
    events = Events()
    flushed = b"".join(_told(a, SOMEONE, gone=True) for a in ADDRESSES)
    assert events.concerns(flushed)
    assert list(events.deleted) == ADDRESSES
    assert events.concerns(LINK + _told(ADDRESSES[0], 0, gone=True)), "the kernel itself, too"


@pytest.mark.parametrize("protocol", [11, 188])
def test_others_routes_count_only_where_ours_belongs(protocol: int) -> None:
    events = Events()
    assert not events.concerns(_told(ADDRESSES[0], SOMEONE, protocol=protocol))
    events.hosts = frozenset(ADDRESSES[:1])
    assert events.concerns(_told(ADDRESSES[0], SOMEONE, protocol=protocol))
    assert not events.concerns(_told(ADDRESSES[1], SOMEONE, gone=True, protocol=protocol))
    assert events.deleted == {}


def test_the_kernel_names_the_port_that_changes_are_made_on() -> None:
    """Of a route over an interface that is not there nothing is changed, but answered."""
    route = rtmessage.change_request(Route(IPv4Network("192.0.2.1/32"), "none"), 1 << 30, 5,
                                     replace=True)
    changer = rtnetlink._changer()
    changer.send(route)
    (answer,) = rtmessage.messages(changer.recv(4096))
    assert answer.port == rtnetlink.port()
