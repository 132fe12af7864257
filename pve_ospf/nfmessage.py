"""Pure: the messages in which the kernel tells of our nft table, and takes elements of its sets.

The table is written by nft, from text. It is read, and a guest's address put in and out, by
messages of our own: a start of nft costs 10 ms and more, hooks of a hundred guests may wait for
each other, and what it lists depends on its version (1.0.6 says no chain's device in JSON).

Layouts: linux/netfilter/nfnetlink.h and nf_tables.h; numbers in network byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

from .guestfilter import TABLE, Chain, Permit, set_name
from .rtmessage import Message, attributes, packed

NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
GETCHAIN, GETRULE, GETSET = 4, 7, 10
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
GETGEN = 16

_NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NETDEV = 5  # NFPROTO_NETDEV
_REQUEST, _ACK, _DUMP, _CREATE = 0x1, 0x4, 0x300, 0x400
_NESTED = 0x8000
_ANONYMOUS = 0x1  # NFT_SET_ANONYMOUS

_HEADER = struct.Struct("=IHHII")
_NFGENMSG = struct.Struct(">BBH")
_NUMBER = struct.Struct(">I")
_SIGNED = struct.Struct(">i")
_KEY = struct.Struct("6s2x4s")

_NAME, _TABLE_OF_CHAIN, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 1, 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY, _HOOK_DEVICE = 1, 2, 3
_RULE_CHAIN, _RULE_USERDATA = 2, 7
_SET_NAME, _SET_FLAGS, _SET_KEY_LENGTH = 2, 3, 5
_ELEMENTS_SET, _ELEMENTS = 2, 3
_LIST_ELEMENT, _ELEMENT_KEY, _DATA_VALUE, _GENERATION = 1, 1, 1, 1


def request(kind: int, *, dump: bool = False, of_set: str = "") -> bytes:
    """A question about our table, or with `dump` for a list: GETCHAIN gives every netdev
    table's chains, all others what is in ours. GETSETELEM: of the set named."""
    body = _text(_NAME, TABLE) if kind not in (GETCHAIN, GETGEN) else b""
    body += _text(_ELEMENTS_SET, of_set) if of_set else b""
    family = 0 if kind == GETGEN else _NETDEV
    # The acknowledgement ends a single answer, as a list ends by itself.
    flags = _REQUEST | (_DUMP if dump else _ACK)
    return _message(_NFTABLES << 8 | kind, flags, 1, family, 0, body)


def batch(messages: Iterable[bytes]) -> bytes:
    """Changes that are made together, or not at all. The batch's own number is 0."""
    begin, end = (_message(kind, _REQUEST, 0, 0, _NFTABLES, b"")
                  for kind in (_BATCH_BEGIN, _BATCH_END))
    return b"".join((begin, *messages, end))


def delete_table(sequence: int) -> bytes:
    """Takes the table away with all that is in it."""
    return _message(_NFTABLES << 8 | DELTABLE, _REQUEST | _ACK, sequence, _NETDEV, 0,
                    _text(_NAME, TABLE))


def element(permit: Permit, sequence: int, *, add: bool) -> bytes:
    """Puts a permit into its set, where it may be already, or takes it out."""
    key = _KEY.pack(bytes.fromhex(permit.mac.replace(":", "")), permit.address.packed)
    nested = packed(_ELEMENT_KEY | _NESTED, packed(_DATA_VALUE, key))
    body = (_text(_NAME, TABLE) + _text(_ELEMENTS_SET, set_name(permit.device))
            + packed(_ELEMENTS | _NESTED, packed(_LIST_ELEMENT | _NESTED, nested)))
    kind, flags = (NEWSETELEM, _CREATE) if add else (DELSETELEM, 0)
    return _message(_NFTABLES << 8 | kind, _REQUEST | _ACK | flags, sequence, _NETDEV, 0, body)


def _message(kind: int, flags: int, sequence: int, family: int, resource: int,
             body: bytes) -> bytes:
    length = _HEADER.size + _NFGENMSG.size + len(body)
    return (_HEADER.pack(length, kind, flags, sequence, 0)
            + _NFGENMSG.pack(family, 0, resource) + body)


def _text(attribute: int, value: str) -> bytes:
    return packed(attribute, value.encode() + b"\0")


def chain(message: Message) -> Chain | None:
    """A chain of our table; None for another table's."""
    found = _attributes(message)
    if _string(found.get(_TABLE_OF_CHAIN)) != TABLE:
        return None
    hook = attributes(found.get(_CHAIN_HOOK, b""), 0)
    priority = hook.get(_HOOK_PRIORITY, b"")
    return Chain(_string(found.get(_CHAIN_NAME)), _string(hook.get(_HOOK_DEVICE)),
                 _string(found.get(_CHAIN_TYPE)), _number(hook.get(_HOOK_NUMBER)),
                 int(_SIGNED.unpack(priority)[0]) if len(priority) == _SIGNED.size else 0,
                 _number(found.get(_CHAIN_POLICY)))


def rule(message: Message) -> tuple[str, str]:
    """A rule's chain and its comment, "" for none: the first of what nft keeps beside it."""
    found = _attributes(message)
    data = found.get(_RULE_USERDATA, b"")
    comment = data[2:2 + data[1]] if len(data) > 2 and data[0] == 0 else b""
    return _string(found.get(_RULE_CHAIN)), _string(comment)


def named_set(message: Message) -> tuple[str, int] | None:
    """A set's name and the length of its key; None for one that belongs to a rule."""
    found = _attributes(message)
    if _number(found.get(_SET_FLAGS)) & _ANONYMOUS:
        return None
    return _string(found.get(_SET_NAME)), _number(found.get(_SET_KEY_LENGTH))


def elements(message: Message) -> list[tuple[str, IPv4Address]]:
    """MACs and addresses in a part of a set."""
    body, found = _attributes(message).get(_ELEMENTS, b""), []
    offset = 0
    while offset + 4 <= len(body):
        (length,) = struct.unpack_from("=H", body, offset)
        if length < 4:
            break
        key = attributes(attributes(body[offset + 4:offset + length], 0)
                         .get(_ELEMENT_KEY, b""), 0).get(_DATA_VALUE, b"")
        if len(key) == _KEY.size:
            mac, address = _KEY.unpack(key)
            found.append((mac.hex(":"), IPv4Address(address)))
        offset += (length + 3) & ~3
    return found


def generation(message: Message) -> int:
    """The number of the ruleset, which every change of any table raises."""
    return _number(_attributes(message).get(_GENERATION))


def _attributes(message: Message) -> dict[int, bytes]:
    return attributes(message.body, _NFGENMSG.size)


def _string(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode("utf-8", "replace")


def _number(value: bytes | None) -> int:
    return int(_NUMBER.unpack(value)[0]) if value and len(value) == _NUMBER.size else 0
