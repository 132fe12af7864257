"""What the kernel tells of itself: links, addresses, routes and forwarding that change."""

from __future__ import annotations

import socket
import time
from ipaddress import IPv4Address

from . import rtmessage, rtnetlink
from .routes import MAIN_TABLE, PROTOCOL

_LINK, _ADDRESS, _ROUTE, _NETCONF = 1, 5, 7, 24
"""RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_NETCONF (linux/rtnetlink.h)."""
_SOL_NETLINK, _ADD_MEMBERSHIP, _NO_ENOBUFS = 270, 1, 5
_BUFFER = 1 << 20


class Events:
    """A subscription. Only that something changed counts; what is, is read anew, and what this
    process changed itself is no news. `hosts` are addresses of which others' routes count too;
    `deleted` collects when (seconds of the monotonic clock) somebody else took a route of ours
    away, for whoever empties it."""

    def __init__(self) -> None:
        self.hosts: frozenset[IPv4Address] = frozenset()
        self.deleted: dict[IPv4Address, float] = {}
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK,
                                     socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((0, 0))
        for group in (_LINK, _ADDRESS, _ROUTE, _NETCONF):
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        """Reads what is there; whether any of it can concern us. An overrun does: something
        was lost. Other daemons' routes do not: on a router they come by the thousand."""
        concerns = False
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return concerns
            except OSError:  # ENOBUFS
                return True
            concerns = self.concerns(data) or concerns

    def concerns(self, data: bytes) -> bool:
        """Whether any message of a datagram does. Each is looked at: of several routes that
        were flushed only the first kept the pace once."""
        found = [self._concerns(message) for message in rtmessage.messages(data)]
        return any(found)

    def _concerns(self, message: rtmessage.Message) -> bool:
        if message.kind not in (rtmessage.NEWROUTE, rtmessage.DELROUTE):
            return True
        if message.port == rtnetlink.port():
            return False
        route = rtmessage.route(message)
        if route and route.protocol == PROTOCOL and message.kind == rtmessage.DELROUTE:
            self.deleted[route.destination.network_address] = time.monotonic()
        return bool(route and route.table == MAIN_TABLE and (
            route.protocol == PROTOCOL or (route.destination.prefixlen == 32
                                           and route.destination.network_address in self.hosts)))
