"""The only user of pyroute2: the node's interfaces, routes and entries, read and changed.

pyroute2 is imported when first needed: it costs a quarter of a second (facts), and commands
that print a version or refuse a configuration need none of it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from socket import AF_INET
from typing import Any

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
    Sysctl,
    watched_sysctls,
)

_IFF_UP = 0x1
_NTF_PROXY = 0x8
_NUD_PERMANENT = 0x80
_RTN_TYPES = {1: "", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_ATTEMPTS = 50
_NO_MASTER = 0


@cache
def _pyroute2() -> Any:
    """pyroute2 with the attributes it does not know on Debian 12 and 13 added to its maps.

    linux/neighbour.h: NDA_PROTOCOL is 12; linux/if_addr.h: IFA_PROTO is 11. The maps number
    attributes by position, so the gap is filled with the kernel's names.
    """
    import pyroute2  # noqa: PLC0415
    from pyroute2.netlink.rtnl import ifaddrmsg, ndmsg  # noqa: PLC0415

    _extend(ndmsg.ndmsg, [("NDA_LINK_NETNSID", "int32"), ("NDA_SRC_VNI", "uint32"),
                          ("NDA_PROTOCOL", "uint8")], 12)
    _extend(ifaddrmsg.ifaddrmsg, [("IFA_RT_PRIORITY", "uint32"),
                                  ("IFA_TARGET_NETNSID", "int32"), ("IFA_PROTO", "uint8")], 11)
    return pyroute2


def _extend(message: Any, attributes: list[tuple[str, str]], last: int) -> None:
    missing = last + 1 - len(message.nla_map)
    if missing > 0:
        message.nla_map = (*message.nla_map, *attributes[-missing:])


@contextmanager
def _netlink() -> Iterator[Any]:
    netlink = _pyroute2().IPRoute()
    try:
        yield netlink
    finally:
        netlink.close()


def _dump(listing: Callable[[], Iterable[Any]]) -> list[Any]:
    """One listing of the kernel's, whole. Raises CannotTell.

    Links that come and go interrupt a dump, and pyroute2 raises then: with 60 links and one
    change every 20 ms, nine of ten reads failed, and a lost withdrawal is lost for good.
    Each listing is short, so it is taken again by itself.
    """
    for _ in range(_ATTEMPTS):
        try:
            return list(listing())
        except _pyroute2().NetlinkError as error:
            reason = str(error.args[-1] if error.args else error)
            time.sleep(0.005)
    raise CannotTell(f"the kernel's lists could not be read in {_ATTEMPTS} attempts: {reason}")


def interfaces() -> tuple[Interface, ...]:
    """The node's interfaces with their IPv4 addresses, in the order of their index."""
    with _netlink() as netlink:
        return _interfaces(netlink)[0]


def read_state(roles_of: Callable[[tuple[Interface, ...]], Roles]) -> KernelState:
    """Everything the kernel holds that concerns us.

    `roles_of` says which interfaces are guest bridges and uplinks: only their sysctls are
    read. Raises CannotTell when a sysctl of an interface that is there cannot be read.
    """
    with _netlink() as netlink:
        found, addresses = _interfaces(netlink)
        names = {i.index: i.name for i in found}
        return KernelState(
            interfaces=found,
            routes=frozenset(_routes(netlink, names)),
            neighbours=frozenset(_entries(netlink, names, 0)),
            proxies=frozenset(_entries(netlink, names, _NTF_PROXY)),
            addresses=addresses,
            sysctls=frozenset(_sysctls(roles_of(found))))


def apply(changes: Iterable[Change]) -> list[tuple[Change, str]]:
    """Carries out the changes in their order; a step that fails is returned with the kernel's
    reason and never stops the rest. What is gone already counts as deleted."""
    failed = []
    with _netlink() as netlink:
        for change in changes:
            try:
                _apply(netlink, change)
            except OSError as error:
                failed.append((change, error.strerror or str(error)))
            except _pyroute2().NetlinkError as error:
                if not (change.action == "delete" and error.code in _GONE):
                    failed.append((change, str(error.args[-1])))
    return failed


_GONE = (errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV)


def _apply(netlink: Any, change: Change) -> None:
    item: Item = change.item
    verb = "replace" if change.action == "replace" else "del"
    if isinstance(item, Sysctl):
        with open(item.path, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(f"{item.value}\n")
        return
    index = _index(netlink, item.device)
    if isinstance(item, BridgeMac):
        netlink.link("set", index=index, address=item.mac)
    elif isinstance(item, Route):
        netlink.route(verb, dst=str(item.destination), oif=index, proto=item.protocol,
                      scope=item.scope, priority=item.priority, table=MAIN_TABLE,
                      family=AF_INET)
    elif isinstance(item, DeviceAddress):
        netlink.addr(verb, index=index, family=AF_INET, address=str(item.address.ip),
                     prefixlen=item.address.network.prefixlen, scope=253, IFA_PROTO=PROTOCOL)
    elif item.proxy:
        netlink.neigh(verb, dst=str(item.address), ifindex=index, family=AF_INET,
                      flags=_NTF_PROXY, NDA_PROTOCOL=item.protocol)
    else:
        netlink.neigh(verb, dst=str(item.address), ifindex=index, family=AF_INET,
                      lladdr=item.mac, state=_NUD_PERMANENT, NDA_PROTOCOL=item.protocol)


def _index(netlink: Any, device: str) -> int:
    found = netlink.link_lookup(ifname=device)
    if not found:
        raise OSError(errno.ENODEV, f"{device} does not exist")
    return int(found[0])


def _interfaces(netlink: Any) -> tuple[tuple[Interface, ...], frozenset[DeviceAddress]]:
    links = _dump(netlink.get_links)
    names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in links}
    addresses: dict[int, list[DeviceAddress]] = {index: [] for index in names}
    for message in _dump(partial(netlink.get_addr, family=AF_INET)):
        local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if message["index"] in names:
            addresses[message["index"]].append(DeviceAddress(
                names[message["index"]], IPv4Interface(f"{local}/{message['prefixlen']}"),
                message.get_attr("IFA_PROTO") or 0))
    found = tuple(_interface(link, names, addresses[link["index"]])
                  for link in sorted(links, key=lambda link: int(link["index"])))
    return found, frozenset(a for several in addresses.values() for a in several)


def _interface(link: Any, names: dict[int, str], addresses: list[DeviceAddress]) -> Interface:
    info = link.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    # A parent in another network namespace has an index that means nothing here.
    lower = None if link.get_attr("IFLA_LINK_NETNSID") is not None else link.get_attr("IFLA_LINK")
    kind = (info.get_attr("IFLA_INFO_KIND") if info else "") or _devtype(names[link["index"]])
    filtering = bool(kind == "bridge" and data and data.get_attr("IFLA_BR_VLAN_FILTERING"))
    return Interface(
        index=link["index"], name=names[link["index"]], kind=kind,
        mac=link.get_attr("IFLA_ADDRESS") or "", up=bool(link["flags"] & _IFF_UP),
        addresses=tuple(sorted(a.address for a in addresses)),
        master=names.get(link.get_attr("IFLA_MASTER") or _NO_MASTER),
        lower=names.get(lower or 0), vlan_filtering=filtering,
        mac_stays=kind != "bridge" or _mac_stays(names[link["index"]]))


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


def _routes(netlink: Any, names: dict[int, str]) -> Iterator[Route]:
    for message in _dump(partial(netlink.get_routes, family=AF_INET, table=MAIN_TABLE)):
        if message["type"] not in _RTN_TYPES:
            continue
        destination = IPv4Network(f"{message.get_attr('RTA_DST') or IPv4Address(0)}"
                                  f"/{message['dst_len']}")
        for hop in message.get_attr("RTA_MULTIPATH") or [message]:
            index = hop["oif"] if "oif" in hop else hop.get_attr("RTA_OIF")
            gateway = hop.get_attr("RTA_GATEWAY")
            yield Route(destination, names.get(index, ""), message["proto"], message["scope"],
                        message.get_attr("RTA_PRIORITY") or 0,
                        IPv4Address(gateway) if gateway else None,
                        _RTN_TYPES[message["type"]])


def _entries(netlink: Any, names: dict[int, str], flags: int) -> Iterator[Neighbour]:
    # Not get_neighbours(): it takes `flags` for a filter on the answer, and the kernel lists
    # proxy entries only when the request itself carries NTF_PROXY.
    listing = partial(netlink.neigh, "dump", family=AF_INET, flags=flags, match={})
    for message in _dump(listing):
        address, mac = message.get_attr("NDA_DST"), message.get_attr("NDA_LLADDR") or ""
        if address is None or message["ifindex"] not in names or (not mac and not flags):
            continue
        yield Neighbour(IPv4Address(address), names[message["ifindex"]], mac,
                        message.get_attr("NDA_PROTOCOL") or 0,
                        bool(flags or message["state"] & _NUD_PERMANENT))


def _sysctls(roles: Roles) -> Iterator[Sysctl]:
    for wanted in watched_sysctls(roles):
        try:
            with open(wanted.path, encoding="ascii") as file:  # noqa: PTH123
                yield Sysctl(wanted.tree, wanted.device, wanted.name, int(file.read()))
        except FileNotFoundError:
            continue  # the interface went away since it was listed
        except OSError as error:
            raise CannotTell(f"{wanted.path}: {error.strerror}") from error
