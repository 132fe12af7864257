"""Pure: what the kernel answers on a rtnetlink socket, decoded as far as this project needs it.

pyroute2 decodes every attribute of every message: at 1,000 guests one look at the kernel took
it 2 s and 120 MB (measured), and the agent looks at each change. This reads the same answers
in a few hundredths of a second. Routes and entries are changed with messages made here, too,
many in one go: one by one through pyroute2, 1,000 guests took 2 s and more to be announced,
and the first change of a process 0.3 s for the import. What else is changed goes through it.

Layouts: linux/netlink.h, rtnetlink.h, if_link.h, neighbour.h, if_addr.h; host byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from .routes import MAIN_TABLE, Neighbour, Route

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
NEWNETCONF = 80
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_REPLACE, _DELETE = 0x505, 0x5  # NLM_F_REQUEST | NLM_F_ACK, and for one NLM_F_CREATE | _REPLACE
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
_AF_INET = 2
_SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS
_NESTED = 0x3FFF  # NLA_TYPE_MASK
_RTN_UNICAST = 1
_NTF_PROXY, _NUD_PERMANENT = 0x8, 0x80

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=8BI")
_NDMSG = struct.Struct("=B3xiHBB")
_NEXTHOP = struct.Struct("=HBBi")
_INT = struct.Struct("=I")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 5, 10, 18
_IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 29, 37
_INFO_KIND, _INFO_DATA, _BR_VLAN_FILTERING = 1, 2, 7
_IFA_ADDRESS, _IFA_LOCAL, _IFA_PROTO = 1, 2, 11
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_RTA_MULTIPATH, _RTA_TABLE = 9, 15
_NDA_DST, _NDA_LLADDR, _NDA_PROTOCOL = 1, 2, 12


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message: its type, its flags and what follows the header; `port` is the
    socket of whoever asked for what it tells of, 0 for the kernel itself."""

    kind: int
    flags: int
    body: bytes
    port: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """An interface; `master` and `lower` are indices, 0 for none."""

    index: int
    name: str
    kind: str
    mac: str
    flags: int
    master: int
    lower: int
    vlan_filtering: bool


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address of an interface; `protocol` says who put it there, 0 for nobody."""

    index: int
    address: IPv4Interface
    protocol: int


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a route leads: interface index (0 for none) and gateway."""

    index: int
    gateway: IPv4Address | None


@dataclass(frozen=True, slots=True)
class RouteMessage:
    """An IPv4 route; `kind` is RTN_*, `hops` has one entry, or several of a multipath route."""

    destination: IPv4Network
    table: int
    protocol: int
    scope: int
    kind: int
    priority: int
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """An IPv4 neighbour or proxy entry; `state` is NUD_*, `flags` NTF_*."""

    index: int
    address: IPv4Address | None
    mac: str
    state: int
    flags: int
    protocol: int


class Interrupted(Exception):
    """The kernel's list changed while it was read, so it may be torn: it is to be read again."""


def dump_request(kind: int, table: int = 0, flags: int = 0) -> bytes:
    """A request for a whole list: GETLINK, GETADDR, GETROUTE (`table`) or GETNEIGH (`flags`)."""
    if kind == GETLINK:
        body = _IFINFO.pack(0, 0, 0, 0, 0) + _integer(_IFLA_EXT_MASK, _SKIP_STATISTICS)
    elif kind == GETADDR:
        body = _IFADDR.pack(_AF_INET, 0, 0, 0, 0)
    elif kind == GETROUTE:
        body = _RTMSG.pack(_AF_INET, 0, 0, 0, 0, 0, 0, 0, 0) + _integer(_RTA_TABLE, table)
    else:
        body = _NDMSG.pack(_AF_INET, 0, 0, flags, 0)
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, 1, 0) + body


def _integer(attribute: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(8, attribute) + _INT.pack(value)


def change_request(item: Route | Neighbour, index: int, sequence: int, *,
                   replace: bool) -> bytes:
    """The request that puts or deletes a route or an entry of the interface `index`; the
    kernel acknowledges it with `sequence`."""
    if isinstance(item, Route):
        kind = NEWROUTE if replace else DELROUTE
        body = _RTMSG.pack(_AF_INET, item.destination.prefixlen, 0, 0, MAIN_TABLE, item.protocol,
                           item.scope, _RTN_UNICAST if replace else 0, 0)
        body += packed(_RTA_DST, item.destination.network_address.packed)
        body += _integer(_RTA_OIF, index) + _integer(_RTA_PRIORITY, item.priority)
    else:
        kind = NEWNEIGH if replace else DELNEIGH
        # A proxy entry that is not permanent goes with the uplink's carrier (pneigh_ifdown).
        state, flags = _NUD_PERMANENT, _NTF_PROXY if item.proxy else 0
        body = _NDMSG.pack(_AF_INET, index, state, flags, 0)
        body += packed(_NDA_DST, item.address.packed)
        if item.mac:
            body += packed(_NDA_LLADDR, bytes.fromhex(item.mac.replace(":", "")))
        body += packed(_NDA_PROTOCOL, bytes((item.protocol,)))
    length, flags = _HEADER.size + len(body), _REPLACE if replace else _DELETE
    return _HEADER.pack(length, kind, flags, sequence, 0) + body


def packed(attribute: int, value: bytes) -> bytes:
    """One attribute as it stands in a message."""
    return _ATTRIBUTE.pack(4 + len(value), attribute) + value + b"\0" * (-len(value) % 4)


def acknowledged(data: bytes) -> dict[int, int]:
    """What one datagram of answers says: sequence → errno, 0 for what was done."""
    found = {}
    for message in messages(data):
        if message.kind == _ERROR:
            (code,) = struct.unpack_from("=i", message.body)
            _, _, _, sequence, _ = _HEADER.unpack_from(message.body, 4)
            found[sequence] = -code
    return found


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, _, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield Message(kind, flags, data[offset + _HEADER.size:offset + length], port)
        offset += (length + 3) & ~3


def dumped(data: bytes) -> tuple[list[Message], bool]:
    """The messages of one datagram of a list, and whether the list ends with it.

    Raises Interrupted, and OSError with the kernel's errno.
    """
    found: list[Message] = []
    for message in messages(data):
        if message.flags & _INTERRUPTED:
            raise Interrupted
        if message.kind == _ERROR:
            (code,) = struct.unpack_from("=i", message.body)
            if code:
                raise OSError(-code, "rtnetlink")
        if message.kind in (_ERROR, _DONE):
            return found, True
        found.append(message)
    return found, False


def ends(data: bytes) -> bool:
    """Whether a list ends with this datagram."""
    return any(message.kind in (_ERROR, _DONE) for message in messages(data))


def attributes(body: bytes, offset: int) -> dict[int, bytes]:
    """The attributes from `offset` on by their number; of several the last."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < 4:
            break
        found[kind & _NESTED] = body[offset + 4:offset + length]
        offset += (length + 3) & ~3
    return found


def link(message: Message) -> Link:
    """NEWLINK or DELLINK. A parent in another network namespace counts as none: its index
    means nothing here."""
    return _link(message.body)


@lru_cache(maxsize=4096)
def _link(body: bytes) -> Link:
    # Forty attributes each, and of a thousand links hardly one has changed since the last look.
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = attributes(body, _IFINFO.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""), 0)
    kind = _text(info.get(_INFO_KIND, b""))
    data = attributes(info.get(_INFO_DATA, b""), 0) if kind == "bridge" else {}
    lower = 0 if _IFLA_LINK_NETNSID in found else _number(found.get(_IFLA_LINK))
    return Link(index, _text(found.get(_IFLA_IFNAME, b"")), kind, _mac(found.get(_IFLA_ADDRESS)),
                flags, _number(found.get(_IFLA_MASTER)), lower,
                any(data.get(_BR_VLAN_FILTERING, b"")))


def address(message: Message) -> Address | None:
    """NEWADDR or DELADDR; None for another family."""
    family, length, _, _, index = _IFADDR.unpack_from(message.body)
    found = attributes(message.body, _IFADDR.size)
    local = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if family != _AF_INET or not local:
        return None
    return Address(index, IPv4Interface((local, length)), _byte(found.get(_IFA_PROTO)))


def route(message: Message) -> RouteMessage | None:
    """NEWROUTE or DELROUTE; None for another family."""
    family, length, _, _, table, protocol, scope, kind, _ = _RTMSG.unpack_from(message.body)
    if family != _AF_INET:
        return None
    found = attributes(message.body, _RTMSG.size)
    several = found.get(_RTA_MULTIPATH)
    hops = tuple(_hops(several)) if several else (_hop(_number(found.get(_RTA_OIF)), found),)
    destination = IPv4Network((found.get(_RTA_DST, b"\0\0\0\0"), length))
    return RouteMessage(destination, _number(found.get(_RTA_TABLE)) or table, protocol, scope,
                        kind, _number(found.get(_RTA_PRIORITY)), hops)


def _hops(data: bytes) -> Iterator[Hop]:
    offset = 0
    while offset + _NEXTHOP.size <= len(data):
        length, _, _, index = _NEXTHOP.unpack_from(data, offset)
        if length < _NEXTHOP.size:
            return
        yield _hop(index, attributes(data[:offset + length], offset + _NEXTHOP.size))
        offset += (length + 3) & ~3


def _hop(index: int, found: dict[int, bytes]) -> Hop:
    gateway = found.get(_RTA_GATEWAY)
    return Hop(index, IPv4Address(gateway) if gateway else None)


def entry(message: Message) -> Entry | None:
    """NEWNEIGH; None for another family."""
    family, index, state, flags, _ = _NDMSG.unpack_from(message.body)
    if family != _AF_INET:
        return None
    found = attributes(message.body, _NDMSG.size)
    destination = found.get(_NDA_DST)
    return Entry(index, IPv4Address(destination) if destination else None,
                 _mac(found.get(_NDA_LLADDR)), state, flags, _byte(found.get(_NDA_PROTOCOL)))


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _mac(value: bytes | None) -> str:
    return value.hex(":") if value else ""


def _number(value: bytes | None) -> int:
    return int(_INT.unpack(value)[0]) if value and len(value) == _INT.size else 0


def _byte(value: bytes | None) -> int:
    return value[0] if value else 0
