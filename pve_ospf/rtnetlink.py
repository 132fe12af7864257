"""The only door to the kernel's rtnetlink: interfaces, routes and entries, read and changed.

Routes and entries, of which there may be thousands, are read and changed with the messages of
rtmessage.py; what else is changed goes through pyroute2. It is imported with the first such
change: that costs a quarter of a second (facts), and hardly anybody needs it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import groupby
from socket import AF_INET
from typing import Any

from . import rtmessage
from .errors import CannotTell
from .interfaces import Roles
from .model import Interface
from .routes import (
    MAIN_TABLE,
    PROTOCOL,
    BridgeMac,
    Change,
    DeviceAddress,
    Item,
    KernelState,
    Neighbour,
    Route,
)
from .rtmessage import Message
from .sysctls import Sysctl, watched_sysctls

_IFF_UP = 0x1
_NTF_PROXY = 0x8
_NUD_PERMANENT = 0x80
_RTN_TYPES = {1: "", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_ATTEMPTS = 50
_SOL_NETLINK, _STRICT = 270, 12  # NETLINK_GET_STRICT_CHK
_LARGEST = 1 << 17
_AT_ONCE = 64
"""Changes in one datagram: their answers fit into what a socket holds by default."""


@cache
def _pyroute2() -> Any:
    """pyroute2 with the attributes it does not know on Debian 12 and 13 added to its map.

    linux/if_addr.h: IFA_PROTO is 11. The map numbers attributes by position, so the gap is
    filled with the kernel's names.
    """
    import pyroute2  # noqa: PLC0415
    from pyroute2.netlink.rtnl import ifaddrmsg  # noqa: PLC0415

    _extend(ifaddrmsg.ifaddrmsg, [("IFA_RT_PRIORITY", "uint32"),
                                  ("IFA_TARGET_NETNSID", "int32"), ("IFA_PROTO", "uint8")], 11)
    return pyroute2


def _extend(message: Any, attributes: list[tuple[str, str]], last: int) -> None:
    missing = last + 1 - len(message.nla_map)
    if missing > 0:
        message.nla_map = (*message.nla_map, *attributes[-missing:])


@cache
def _writer() -> Any:
    """pyroute2's socket for changes, opened once: opening costs more than most changes."""
    return _pyroute2().IPRoute()


@cache
def _changer() -> socket.socket:
    """The socket on which routes and entries are changed, kept for its port()."""
    changer = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    changer.bind((0, 0))
    return changer


def port() -> int:
    """What the kernel names as the author of this process's changes of routes."""
    return int(_changer().getsockname()[0])


@contextmanager
def _reader() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as reader:
        # The kernel then filters by table itself: a router may hold the Internet's routes.
        reader.setsockopt(_SOL_NETLINK, _STRICT, 1)
        yield reader


def _list(reader: socket.socket, kind: int, table: int = 0, flags: int = 0) -> list[Message]:
    """One list of the kernel's, whole. Raises CannotTell.

    Links that come and go interrupt a list: with 60 links and one change every 20 ms, nine of
    ten reads of everything failed, and a lost withdrawal is lost for good. Each list is short,
    so it is taken again by itself.
    """
    for _ in range(_ATTEMPTS):
        reader.send(rtmessage.dump_request(kind, table, flags))
        try:
            return answer(reader)
        except rtmessage.Interrupted:
            time.sleep(0.005)
        except OSError as error:
            if kind == rtmessage.GETROUTE and error.errno == errno.ENOENT:
                return []  # the kernel makes a table with its first route
            raise CannotTell(f"the kernel's lists cannot be read: {error.strerror}") from error
    raise CannotTell(f"the kernel's lists changed during each of {_ATTEMPTS} attempts to read "
                     "them")


def answer(reader: socket.socket) -> list[Message]:
    """What the kernel answers to one question, to its end. Raises Interrupted and OSError."""
    found: list[Message] = []
    interrupted = ended = False
    while not ended:
        data = reader.recv(_LARGEST)
        try:
            part, ended = rtmessage.dumped(data)
        except rtmessage.Interrupted:
            # To its end all the same: the rest would be taken for the next list's.
            part, interrupted = [], True
            ended = rtmessage.ends(data)
        found += part
    if interrupted:
        raise rtmessage.Interrupted
    return found


def index(name: str) -> int:
    """The index an interface has at this moment, 0 when there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def interfaces() -> tuple[Interface, ...]:
    """The node's interfaces with their IPv4 addresses, in the order of their index."""
    with _reader() as reader:
        return _interfaces(reader)[0]


def routes() -> frozenset[Route]:
    """The routes of read_state(), for who needs nothing else."""
    with _reader() as reader:
        return frozenset(_routes(reader, _names(_interfaces(reader)[0])))


def read_state(roles_of: Callable[[tuple[Interface, ...]], Roles]) -> KernelState:
    """Everything the kernel holds that concerns us.

    `roles_of` says which interfaces are guest bridges and uplinks: only their sysctls are
    read. Raises CannotTell when a list or a sysctl of an interface that is there cannot be
    read.
    """
    with _reader() as reader:
        found, addresses = _interfaces(reader)
        names = _names(found)
        return KernelState(
            interfaces=found,
            routes=frozenset(_routes(reader, names)),
            neighbours=frozenset(_entries(reader, names, 0)),
            proxies=frozenset(_entries(reader, names, _NTF_PROXY)),
            addresses=addresses,
            sysctls=frozenset(_sysctls(roles_of(found))))


def apply(changes: Iterable[Change]) -> list[tuple[Change, str]]:
    """Carries out the changes in their order; a step that fails is returned with the kernel's
    reason and never stops the rest. What is gone already counts as deleted."""
    failed: list[tuple[Change, str]] = []
    for many, group in groupby(changes, lambda c: isinstance(c.item, Route | Neighbour)):
        some = list(group)
        failed += _apply_many(some) if many else _apply_each(some)
    return failed


def _apply_many(changes: list[Change]) -> list[tuple[Change, str]]:
    codes: list[int] = []
    answered = False
    try:
        for start in range(0, len(changes), _AT_ONCE):
            codes += _together(_changer(), changes[start:start + _AT_ONCE])
        answered = True
    finally:
        if not answered:  # what is still to come would be taken for the next one's answers
            _changer().close()
            _changer.cache_clear()
    return [(change, os.strerror(code)) for change, code in zip(changes, codes, strict=True)
            if code and not (change.action == "delete" and code in _GONE)]


def _together(kernel: socket.socket, changes: list[Change]) -> list[int]:
    """The errno of each. The kernel takes them in their order, and none stops the rest."""
    codes = dict.fromkeys(range(len(changes)), errno.ENODEV)
    requests = {}
    for number, change in enumerate(changes):
        item = change.item
        if isinstance(item, Route | Neighbour):
            with contextlib.suppress(OSError):  # the interface is gone: ENODEV it stays
                requests[number] = rtmessage.change_request(
                    item, socket.if_nametoindex(item.device), number,
                    replace=change.action == "replace")
    if requests:
        kernel.send(b"".join(requests.values()))
    while requests:
        for number, code in rtmessage.acknowledged(kernel.recv(_LARGEST)).items():
            codes[number] = code
            requests.pop(number, None)
    return list(codes.values())


def _apply_each(changes: Iterable[Change]) -> list[tuple[Change, str]]:
    failed = []
    for change in changes:
        try:
            _apply(change)
        except OSError as error:
            if not (change.action == "delete" and error.errno in _GONE):
                failed.append((change, error.strerror or str(error)))
        except _pyroute2().NetlinkError as error:
            if not (change.action == "delete" and error.code in _GONE):
                failed.append((change, str(error.args[-1])))
    return failed


_GONE = (errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV)


def _apply(change: Change) -> None:
    item: Item = change.item
    verb = "replace" if change.action == "replace" else "del"
    if isinstance(item, Sysctl):
        with open(item.path, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(f"{item.value}\n")
        return
    if isinstance(item, BridgeMac):
        _writer().link("set", index=socket.if_nametoindex(item.device),
                       address=item.mac or _any_mac())
    elif isinstance(item, DeviceAddress):
        _writer().addr(verb, index=socket.if_nametoindex(item.device), family=AF_INET,
                       address=str(item.address.ip), scope=253, IFA_PROTO=PROTOCOL,
                       prefixlen=item.address.network.prefixlen)


def _any_mac() -> str:
    """A unicast MAC, locally administered, that nobody else has."""
    return ":".join(f"{byte:02x}" for byte in (0x02, *os.urandom(5)))


def _interfaces(reader: socket.socket) -> tuple[tuple[Interface, ...],
                                                frozenset[DeviceAddress]]:
    links = [rtmessage.link(m) for m in _list(reader, rtmessage.GETLINK)]
    names = {link.index: link.name for link in links}
    addresses: dict[int, list[DeviceAddress]] = {}
    for found in map(rtmessage.address, _list(reader, rtmessage.GETADDR)):
        if found and found.index in names:
            addresses.setdefault(found.index, []).append(
                DeviceAddress(names[found.index], found.address, found.protocol))
    links.sort(key=lambda link: link.index)
    return (tuple(_interface(link, names, addresses.get(link.index, [])) for link in links),
            frozenset(a for several in addresses.values() for a in several))


def _interface(link: rtmessage.Link, names: dict[int, str],
               addresses: list[DeviceAddress]) -> Interface:
    kind = link.kind or _devtype(link.name)
    return Interface(
        index=link.index, name=link.name, kind=kind, mac=link.mac,
        up=bool(link.flags & _IFF_UP), addresses=tuple(sorted(a.address for a in addresses)),
        master=names.get(link.master), lower=names.get(link.lower),
        vlan_filtering=link.vlan_filtering,
        mac_stays=kind != "bridge" or _mac_stays(link.name))


def _devtype(name: str) -> str:
    """What names a driver without IFLA_INFO_KIND (l2tpeth, ppp), "" for a NIC."""
    try:
        with open(f"/sys/class/net/{name}/uevent", encoding="utf-8") as file:  # noqa: PTH123
            return next((line[8:].strip() for line in file if line.startswith("DEVTYPE=")), "")
    except OSError:
        return ""


def _mac_stays(bridge: str) -> bool:
    """Whether the bridge's MAC was set, rather than taken from a port (NET_ADDR_SET is 3)."""
    try:
        with open(f"/sys/class/net/{bridge}/addr_assign_type", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip() == "3"
    except OSError:
        return True  # it went away, or sysfs is not there: nothing is known to be wrong


class _Names(dict[int, str]):
    """Index → name of each interface, equal to nothing but itself: a key that costs nothing."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


_named = _Names()


def _names(found: tuple[Interface, ...]) -> _Names:
    """The same object as long as the interfaces are the same."""
    global _named  # noqa: PLW0603
    names = {i.index: i.name for i in found}
    if dict(_named) != names:
        _named = _Names(names)
    return _named


def _routes(reader: socket.socket, names: _Names) -> Iterator[Route]:
    for message in _list(reader, rtmessage.GETROUTE, MAIN_TABLE):
        yield from _decoded(message.body, names)


@lru_cache(maxsize=4096)
def _decoded(body: bytes, names: _Names) -> tuple[Route, ...]:
    # Of a thousand routes hardly one has changed since the last look.
    route = rtmessage.route(Message(rtmessage.NEWROUTE, 0, body))
    if not route or route.table != MAIN_TABLE or route.kind not in _RTN_TYPES:
        return ()
    return tuple(Route(route.destination, names.get(hop.index, ""), route.protocol, route.scope,
                       route.priority, hop.gateway, _RTN_TYPES[route.kind])
                 for hop in route.hops)


def _entries(reader: socket.socket, names: dict[int, str], flags: int) -> Iterator[Neighbour]:
    # The kernel lists proxy entries only when the request itself carries NTF_PROXY.
    for entry in map(rtmessage.entry, _list(reader, rtmessage.GETNEIGH, flags=flags)):
        if (entry and entry.address is not None and entry.index in names
                and (entry.mac or flags)):
            yield Neighbour(entry.address, names[entry.index], "" if flags else entry.mac,
                            entry.protocol, bool(flags or entry.state & _NUD_PERMANENT))


def _sysctls(roles: Roles) -> Iterator[Sysctl]:
    for wanted in watched_sysctls(roles):
        try:
            with open(wanted.path, encoding="ascii") as file:  # noqa: PTH123
                yield Sysctl(wanted.tree, wanted.device, wanted.name, int(file.read()))
        except FileNotFoundError:
            continue  # the interface went away since it was listed
        except OSError as error:
            raise CannotTell(f"{wanted.path}: {error.strerror}") from error
