"""Pure: what a node tells the others about its tunnels, as text and back.

The link-state database names interfaces by their addresses, and one without a subnet by its
index; what kind of interface it is, only the node itself can know. `apply` writes this:

    router 10.0.1.11
    tunnel vxlan100 index 7 10.255.0.1/24

The first line is there without any tunnel, too: an empty file says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, NetmaskValueError

from .model import Interface


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel's interface on a node."""

    name: str
    index: int
    addresses: tuple[IPv4Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a node said: the router id it has in OSPF, and its tunnels."""

    router_id: IPv4Address
    tunnels: tuple[Tunnel, ...] = ()


def told(router_id: IPv4Address, tunnels: Iterable[Interface]) -> Told:
    """What a node with these tunnels has to say."""
    return Told(router_id, tuple(Tunnel(i.name, i.index, tuple(sorted(i.addresses)))
                                 for i in sorted(tunnels, key=lambda i: i.name)))


def outdated(said: Told | None, now: Told, in_ospf: bool) -> bool:
    """Whether a node has to tell again. Of tunnels out of OSPF the names are enough: a VPN's
    index, say, is another one each time it starts."""
    if said is None or in_ospf:
        return said != now
    return (said.router_id, {t.name for t in said.tunnels}) != (
        now.router_id, {t.name for t in now.tunnels})


def to_text(said: Told) -> str:
    """The file's text, the same for the same tunnels."""
    lines = [f"router {said.router_id}"]
    lines += [" ".join(["tunnel", t.name, "index", str(t.index), *map(str, t.addresses)])
              for t in said.tunnels]
    return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Told | None:
    """What to_text() wrote; None for anything else: then the node has told nothing."""
    first, *rest = text.splitlines() or [""]
    try:
        word, router_id = first.split()
        tunnels = tuple(map(_tunnel, rest))
        return Told(IPv4Address(router_id), tunnels) if word == "router" else None
    except (ValueError, AddressValueError, NetmaskValueError):
        return None


def _tunnel(line: str) -> Tunnel:
    """Raises ValueError."""
    word, name, of, index, *addresses = line.split()
    if (word, of) != ("tunnel", "index"):
        raise ValueError(line)
    return Tunnel(name, int(index), tuple(map(IPv4Interface, addresses)))
