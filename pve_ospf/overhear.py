"""What routers say on an uplink, heard with a packet socket: before any firewall of ours.

Needs CAP_NET_RAW. Nothing is sent, but that the NIC is asked to let multicast through.
"""

from __future__ import annotations

import array
import errno
import select
import socket
import struct
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack

from . import ospfpacket
from .errors import CannotTell
from .ospfpacket import Said

PATIENCE = 11.0
"""Seconds: one more than the interval of most routers' hellos, FRR's too."""
LINGER = 0.5
"""Seconds after the last uplink was heard, for a second router and for its MTU."""

_SO_ATTACH_FILTER = 26
_SOL_PACKET, _ADD_MEMBERSHIP, _ALL_MULTICAST = 263, 1, 2
_IPV4 = 0x0800
_PACKET = 2048
_GONE = (errno.ENODEV, errno.ENXIO, errno.ENETDOWN)


def listen(uplinks: Collection[str], databases: Collection[str] = (),
           patience: float = PATIENCE) -> Mapping[str, tuple[Said, ...]]:
    """Uplink → what was said on it, each thing once, until something was on all of them: on
    those of `databases` a database description, too, which alone tells the MTU.

    Raises CannotTell without CAP_NET_RAW; an interface that is gone is not among them.
    """
    heard: dict[str, dict[Said, None]] = {}
    with ExitStack() as opened:
        ears = {}
        for name in uplinks:
            ear = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0))
            if _open(ear, name):
                ears[ear] = name
                heard[name] = {}
        until = time.monotonic() + patience
        while ears and (left := until - time.monotonic()) > 0:
            for ear in select.select(ears, [], [], left)[0]:
                packet, (_, _, kind, *_) = ear.recvfrom(_PACKET)
                said = ospfpacket.parse(packet)
                if said and kind not in (socket.PACKET_OUTGOING, socket.PACKET_OTHERHOST):
                    heard[ears[ear]][said] = None
                    if all(any(s.mtu is None for s in said) for said in heard.values()) and all(
                            any(s.mtu for s in heard.get(name, ())) for name in databases):
                        until = min(until, time.monotonic() + LINGER)
    return {name: tuple(said) for name, said in heard.items()}


def _open(ear: socket.socket, name: str) -> bool:
    program = array.array("B", b"".join(struct.pack("HBBI", *step) for step in ospfpacket.FILTER))
    pointer = struct.pack("HP", len(ospfpacket.FILTER), program.buffer_info()[0])
    try:
        ear.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
        index = socket.if_nametoindex(name)
        ear.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP,
                       struct.pack("iHH8s", index, _ALL_MULTICAST, 0, b""))
        ear.bind((name, _IPV4))
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise CannotTell(f"{name}: no packet socket: {error.strerror}",
                         "pve-ospf needs CAP_NET_RAW") from error
    return True
