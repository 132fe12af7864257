"""Areas made by hand for the tests of the path audit: routers a, b, … by number."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pve_ospf.area import Area, Group, Link, Network, Origin, Router, Stub
from pve_ospf.tunnels import Told, Tunnel

NAMES = {IPv4Address(f"10.255.0.{number}"): letter
         for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz", start=1)}


def router_id(name: str) -> IPv4Address:
    return next(r for r, letter in NAMES.items() if letter == name)


class Map:
    """An area in the making. Each link gets a subnet of its own, 10.N.0.0/24, in which router
    a has the address 10.N.0.1, b 10.N.0.2, and so on."""

    def __init__(self, routers: str) -> None:
        self.links: dict[str, list[Link]] = {r: [] for r in routers}
        self.stubs: dict[str, list[Stub]] = {r: [] for r in routers}
        self.networks: list[Network] = []
        self.tunnels: dict[str, list[Tunnel]] = defaultdict(list)
        self.asbrs = set(routers)
        self.silent: set[str] = set()
        self._subnets = 0

    def link(self, one: str, other: str, cost: int = 10, back: int | None = None, *,
             numbered: bool = True, one_way: bool = False) -> int:
        """A point-to-point link; its number, which is also its interfaces' index."""
        self._subnets += 1
        ends = ((one, other, cost), (other, one, cost if back is None else back))
        for here, there, price in ends[:1] if one_way else ends:
            data = int(self.address(here, self._subnets)) if numbered else self._subnets
            self.links[here].append(Link("router", router_id(there), data, price))
            if numbered:
                self.stubs[here].append(Stub(self.subnet(self._subnets), price))
        return self._subnets

    def lan(self, routers: str, cost: int = 10, *, not_listed: str = "",
            not_linked: str = "") -> int:
        """A network; its designated router is the first."""
        self._subnets += 1
        dr = self.address(routers[0], self._subnets)
        for r in routers:
            if r not in not_linked:
                data = int(self.address(r, self._subnets))
                self.links[r].append(Link("network", dr, data, cost))
        self.networks.append(Network(dr, self.subnet(self._subnets), frozenset(
            router_id(r) for r in routers if r not in not_listed)))
        return self._subnets

    def stub(self, router: str, prefix: str, cost: int = 10) -> None:
        self.stubs[router].append(Stub(IPv4Network(prefix), cost))

    def tunnel(self, number: int, *ends: str) -> None:
        """The routers `ends` tell that this link is a tunnel of theirs."""
        for r in ends:
            self.tunnels[r].append(Tunnel(
                f"tun{number}", number, (IPv4Interface(f"{self.address(r, number)}/24"),)))

    def address(self, router: str, number: int) -> IPv4Address:
        return IPv4Address(f"10.{number}.0.{int(router_id(router)) & 255}")

    def subnet(self, number: int) -> IPv4Network:
        return IPv4Network(f"10.{number}.0.0/24")

    def area(self) -> Area:
        return Area("0.0.0.0", tuple(  # noqa: S104 (the backbone area)
            Router(router_id(r), r in self.asbrs, tuple(links), tuple(self.stubs[r]))
            for r, links in self.links.items()), tuple(self.networks))

    def told(self) -> dict[str, Told]:
        return {r: Told(router_id(r), tuple(self.tunnels[r]))
                for r in self.links if r not in self.silent}


def group(first: str, *origins: str | Origin, count: int = 1) -> Group:
    """`count` addresses from `first` on, announced by these (E2) routers."""
    return Group(tuple(Origin(router_id(o)) if isinstance(o, str) else o for o in origins),
                 tuple(IPv4Address(first) + n for n in range(count)))
