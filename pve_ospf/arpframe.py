"""Pure: ARP frames on Ethernet, what is answered to them, and the kernel filter that lets
through what may be answered (RFC 826, RFC 5227, Linux' socket filter)."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

ETHERTYPE = 0x0806
REQUEST, REPLY = 1, 2
LONGEST_EXACT = 1000
"""Addresses a filter tells apart. A socket of kernels before 6.7 holds 20,480 bytes of filters
(net.core.optmem_max), the old and the new one together while it is replaced."""

_BROADCAST = "ff:ff:ff:ff:ff:ff"
_NO_MAC = "00:00:00:00:00:00"
_NOBODY = IPv4Address(0)
_FRAME = struct.Struct("!6s6sHHHBBH6sI6sI")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, k: struct sock_filter."""


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP packet; MACs are lower-case with colons."""

    operation: int
    sender_mac: str
    sender: IPv4Address
    target_mac: str
    target: IPv4Address

    @property
    def is_probe(self) -> bool:
        """Somebody asks whether the address is free, to take it if nobody answers."""
        return self.operation == REQUEST and self.sender == _NOBODY

    @property
    def is_announcement(self) -> bool:
        """Somebody says that the address is his, and asks nothing."""
        return self.sender == self.target


def parse(frame: bytes) -> Arp | None:
    """The ARP packet in an Ethernet frame, None where there is none for IPv4."""
    if len(frame) < _FRAME.size:
        return None
    (_, _, ethertype, *kind, operation, sender_mac, sender, target_mac,
     target) = _FRAME.unpack_from(frame)
    if ethertype != ETHERTYPE or tuple(kind) != _ETHERNET_IPV4:
        return None
    return Arp(operation, sender_mac.hex(":"), IPv4Address(sender), target_mac.hex(":"),
               IPv4Address(target))


def request(mac: str, sender: IPv4Address, target: IPv4Address) -> bytes:
    """Who has `target`?"""
    return _frame(_BROADCAST, mac, Arp(REQUEST, mac, sender, _NO_MAC, target))


def probe(mac: str, target: IPv4Address) -> bytes:
    """Is `target` free? It leaves nobody's cache changed (RFC 5227, 2.1.1)."""
    return request(mac, _NOBODY, target)


def reply(mac: str, address: IPv4Address, to_mac: str, to: IPv4Address) -> bytes:
    """`address` is at `mac`, said to one who asked."""
    return _frame(to_mac, mac, Arp(REPLY, mac, address, to_mac, to))


def announcement(mac: str, address: IPv4Address) -> tuple[bytes, bytes]:
    """`address` is at `mac` now, said to all: as a request (RFC 5227, 2.3), and as a reply, for
    those that take in nothing else. Linux takes the latter for gratuitous only where sender and
    target have the same MAC too."""
    return (request(mac, address, address),
            _frame(_BROADCAST, mac, Arp(REPLY, mac, address, mac, address)))


def answer(frame: bytes, mac: str, asked: Collection[IPv4Address],
           probed: Collection[IPv4Address]) -> bytes | None:
    """What is said to a frame: for the addresses `asked`, to every question, for those `probed`,
    only to a probe (the kernel's proxy entry answers the rest, but never a probe).

    A probe must be answered: silence means that the address is free, and the host that probes
    takes it. An announcement must not: it asks nothing, and a node of ours to which the guest
    has come home makes one.
    """
    arp = parse(frame)
    if arp is None or arp.operation != REQUEST or arp.is_announcement:
        return None
    if int(arp.sender_mac[:2], 16) & 1:
        return None  # a group's MAC is nobody's: the reply would go to the whole LAN
    if arp.target in asked or (arp.is_probe and arp.target in probed):
        return reply(mac, arp.target, arp.sender_mac, arp.sender)
    return None


def _frame(destination: str, source: str, arp: Arp) -> bytes:
    return _FRAME.pack(_bytes(destination), _bytes(source), ETHERTYPE, *_ETHERNET_IPV4,
                       arp.operation, _bytes(arp.sender_mac), int(arp.sender),
                       _bytes(arp.target_mac), int(arp.target))


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


# Linux' classic BPF (linux/filter.h): load a half or a whole word of the frame, jump, return.
_LDH, _LD, _SUB, _TAX = 0x28, 0x20, 0x14, 0x07
_JA, _JEQ, _JEQ_X, _JGT, _RET = 0x05, 0x15, 0x1D, 0x25, 0x06
_FARTHEST = 255
_WHOLE, _NOTHING = 0x40000, 0
_AT_ETHERTYPE, _AT_KIND, _AT_SIZES, _AT_SENDER, _AT_TARGET = 12, 14, 18, 28, 38


def filter_program(asked: Collection[IPv4Address],
                   probed: Collection[IPv4Address] = ()) -> list[Instruction]:
    """Lets through the ARP requests answer() may answer, and nothing else.

    Of more than LONGEST_EXACT addresses only the lowest and the highest count: answer() looks
    again at what comes through, so that merely wakes the process more often.
    """
    if not asked and not probed:
        return [(_RET, 0, 0, _NOTHING)]
    return [
        *_unless(_LDH, _AT_ETHERTYPE, ETHERTYPE),
        *_unless(_LD, _AT_KIND, 0x00010800),
        *_unless(_LD, _AT_SIZES, 0x06040000 | REQUEST),
        (_LD, 0, 0, _AT_SENDER), (_TAX, 0, 0, 0), (_LD, 0, 0, _AT_TARGET),
        (_JEQ_X, 0, 1, 0), (_RET, 0, 0, _NOTHING),
        *_any_of(asked),
        *_unless(_LD, _AT_SENDER, 0),
        *_any_of(probed),
        (_RET, 0, 0, _NOTHING)]


def _unless(load: int, offset: int, value: int) -> list[Instruction]:
    """Ends here unless the frame has this value there."""
    return [(load, 0, 0, offset), (_JEQ, 1, 0, value), (_RET, 0, 0, _NOTHING)]


def _any_of(addresses: Collection[IPv4Address]) -> Iterator[Instruction]:
    """Ends with the whole frame when its target is one of these.

    Compared is the distance from the lowest: the kernel needs two instructions for a number
    with its highest bit set. Jumps reach 255 instructions, so every so often there is a way
    out that the others step over.
    """
    if not addresses:
        return
    lowest = int(min(addresses))
    distances = sorted(int(a) - lowest for a in set(addresses))
    yield (_LD, 0, 0, _AT_TARGET)
    yield (_SUB, 0, 0, lowest)
    if len(distances) > LONGEST_EXACT:
        yield (_JGT, 1, 0, distances[-1])
        yield (_RET, 0, 0, _WHOLE)
        return
    for start in range(0, len(distances), _FARTHEST):
        group = distances[start:start + _FARTHEST]
        for number, distance in enumerate(group):
            yield (_JEQ, len(group) - number, 0, distance)
        yield (_JA, 0, 0, 1)
        yield (_RET, 0, 0, _WHOLE)
