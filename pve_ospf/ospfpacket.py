"""Pure: what a router says of itself in OSPF's packets, and where that is not what we say.

FRR drops a packet that does not fit and keeps nothing of it, so the other side's values can
only be heard (RFC 2328, appendix A.3; RFC 3101 for the N bit; RFC 5709 for HMAC-SHA).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from .frrconf import Statement
from .lsdb import OspfInterface
from .model import Interface

PROTOCOL = 89
FILTER = ((0x30, 0, 0, 9), (0x15, 0, 1, PROTOCOL), (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0))
"""Linux' classic BPF: the byte at 9 of an IP packet is 89? Then all of it, else nothing."""

_IP = struct.Struct("!BxxxxxxxxB2xI4x")
_HEADER = struct.Struct("!BBH4s4sHH8s")
_HELLO = struct.Struct("!4sHBBI")
_MTU = struct.Struct("!H")
_TYPE_HELLO, _TYPE_DATABASE = 1, 2
_EXTERNAL, _NSSA = 0x02, 0x08
_CRYPTOGRAPHIC = 2
NONE = "none"
_PASSWORD = "a plain password"  # noqa: S105 (that is what it is called)
DIGESTS = {16: "MD5", 20: "HMAC-SHA-1", 32: "HMAC-SHA-256", 48: "HMAC-SHA-384", 64: "HMAC-SHA-512"}
"""By their length in bytes: the packet does not say it otherwise."""

Area = Literal["normal", "stub", "nssa"]


@dataclass(frozen=True, slots=True)
class Said:
    """What one packet of a router says. `mtu` is of a database description, and what is below
    it of a hello. Intervals are seconds; a hello interval of 0 means several a second."""

    source: IPv4Address
    router_id: IPv4Address
    area: IPv4Address
    authentication: str = NONE
    key_id: int | None = None
    mtu: int | None = None
    mask: IPv4Address | None = None
    hello: int = 0
    dead: int = 0
    area_kind: Area = "normal"


@dataclass(frozen=True, slots=True)
class Ours:
    """What this node says on an interface: OSPF's view, the authentication in Said's words,
    the MTU in bytes."""

    ospf: OspfInterface
    interface: Interface
    authentication: str = NONE
    key_id: int | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """Something two routers have to agree on, and do not."""

    router: str
    what: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        return f"{self.what} is {self.theirs} there, {self.ours} here"


def parse(packet: bytes) -> Said | None:
    """A hello or database description in an IPv4 packet; None for anything else."""
    if len(packet) < _IP.size:
        return None
    first, protocol, source = _IP.unpack_from(packet)
    start = (first & 0xF) * 4
    if first >> 4 != 4 or protocol != PROTOCOL or len(packet) < start + _HEADER.size:
        return None
    version, kind, _, router, area, _, authentication, key = _HEADER.unpack_from(packet, start)
    body = packet[start + _HEADER.size:]
    if version != 2:
        return None
    head = (IPv4Address(source), IPv4Address(router), IPv4Address(area),
            *_authentication(authentication, key))
    if kind == _TYPE_DATABASE and len(body) >= _MTU.size:
        return Said(*head, mtu=_MTU.unpack_from(body)[0])
    if kind == _TYPE_HELLO and len(body) >= _HELLO.size:
        mask, hello, options, _, dead = _HELLO.unpack_from(body)
        return Said(*head, mask=IPv4Address(mask), hello=hello, dead=dead,
                    area_kind=_area_kind(options))
    return None


def configured(interface: str, statements: Collection[Statement]) -> tuple[str, int | None]:
    """Authentication and key id of an interface by FRR's configuration."""
    here = {s.text for s in statements if s.stanza == f"interface {interface}"}
    said = next((t.removeprefix("ip ospf authentication") for t in here
                 if t.startswith("ip ospf authentication") and "-key " not in t), " null").strip()
    if said == "message-digest":
        return DIGESTS[16], _number(here, r"ip ospf message-digest-key (\d+) md5 .*")
    if said.startswith("key-chain "):
        chain = {s.text for s in statements if s.stanza == said.replace("-", " ", 1)}
        algorithm = next((t.split()[1] for t in chain if t.startswith("cryptographic-")), "")
        return algorithm.upper(), _number(chain, r"key (\d+)")
    return NONE if said == "null" else _PASSWORD, None


def differences(said: Iterable[Said], ours: Ours) -> tuple[Difference, ...]:
    """Each thing a router on the interface and this node do not agree on, once."""
    return tuple(sorted({
        Difference(f"{one.router_id} ({one.source})", what, theirs, mine)
        for one in said for what, theirs, mine in _compared(one, ours) if theirs != mine}))


def _area_kind(options: int) -> Area:
    if options & _EXTERNAL:
        return "normal"
    return "nssa" if options & _NSSA else "stub"


def _compared(said: Said, ours: Ours) -> Iterator[tuple[str, str, str]]:
    """What has to agree, theirs and ours (RFC 2328, 8.2 and 10.5; the MTU: 10.6)."""
    yield "area", str(said.area), str(ours.ospf.area)
    yield "authentication", said.authentication, ours.authentication
    if said.key_id is not None and ours.key_id is not None:
        yield "key's id", str(said.key_id), str(ours.key_id)
    if said.mtu is not None:
        # An interface without an MTU of its own says 0 (virtual links); nobody compares that.
        yield "MTU", str(said.mtu), str(ours.mtu if said.mtu and ours.mtu else said.mtu)
        return
    yield "area's kind", said.area_kind, ours.ospf.area_kind
    yield "dead-interval", f"{said.dead} s", f"{ours.ospf.dead_interval} s"
    if not (said.hello == 0 and ours.ospf.hello_interval < 1):
        yield "hello-interval", _interval(said.hello), _interval(ours.ospf.hello_interval)
    mask = next((str(a.netmask) for a in ours.interface.addresses if said.source in a.network),
                "no network with that address")
    if ours.ospf.network_type != "POINTOPOINT":
        yield "mask", str(said.mask), mask


def _authentication(kind: int, key: bytes) -> tuple[str, int | None]:
    """Of a packet's header (RFC 2328, D.3): what it is, and the key's id."""
    if kind == _CRYPTOGRAPHIC:
        return DIGESTS.get(key[3], "an unknown digest"), key[2]
    return {0: NONE, 1: _PASSWORD}.get(kind, "unknown"), None


def _number(texts: Iterable[str], pattern: str) -> int | None:
    """The only number that the pattern finds; None when there are several."""
    found = {int(match[1]) for match in (re.fullmatch(pattern, text) for text in texts) if match}
    return found.pop() if len(found) == 1 else None


def _interval(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else "several a second"
