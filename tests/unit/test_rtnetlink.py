"""Routes that were decoded once are not decoded again, but never under another's name."""

from __future__ import annotations

from ipaddress import IPv4Network

from pve_ospf import rtmessage, rtnetlink
from pve_ospf.model import Interface
from pve_ospf.routes import Route

HOST = IPv4Network("198.51.100.7/32")


def _read(*interfaces: Interface) -> tuple[Route, ...]:
    request = rtmessage.change_request(Route(HOST, "vmbr1"), 7, 1, replace=True)
    (message,) = rtmessage.messages(request)
    return rtnetlink._decoded(message.body, rtnetlink._names(interfaces))


def test_the_same_message_is_the_same_route_while_the_interfaces_are() -> None:
    one, other = Interface(7, "vmbr1"), Interface(8, "vmbr2")
    assert _read(one) == (Route(HOST, "vmbr1"),)
    assert _read(one)[0] is _read(Interface(7, "vmbr1"))[0]
    assert _read(one, other) == (Route(HOST, "vmbr1"),)
    assert _read(Interface(7, "vmbr2")) == (Route(HOST, "vmbr2"),), "its index was given away"
    assert _read(other) == (Route(HOST, ""),)
