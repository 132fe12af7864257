"""Pure: what the running ospfd lets out of the kernel's routes, of `show running-config`.

ospfd evaluates exactly this text, whatever files and pve-ospf.yaml say meanwhile, so it says
which of zebra's routes must have an LSA now. Semantics: FRR's lib/routemap.c, lib/plist.c and
ospfd/ospf_zebra.c (ospf_redistribute_check) of 8.4.4 to 10.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from .frrconf import Statement, statements
from .ospfd import NAMESPACE

_OURS = re.compile(rf"redistribute kernel( \S+ \d+)* route-map ({NAMESPACE}\S*)")
_ELSEWHERE = re.compile(r"redistribute |distribute-list |summary-address ")
_RULE = re.compile(r"ip prefix-list (\S+) seq (\d+) (permit|deny) (\S+)"
                   r"(?: ge (\d+))?(?: le (\d+))?")
_ENTRY = re.compile(r"route-map (\S+) (permit|deny) (\d+)")
_INTERFACE, _LIST = "match interface ", "match ip address prefix-list "
_PLAIN = re.compile(r"set (metric|metric-type|tag) |description ")


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """An entry of a prefix-list, as far as it concerns hosts."""

    seq: int
    permit: bool
    prefix: IPv4Network
    hosts: bool
    """Whether its lengths take in 32."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """An entry of the route-map; all its matches must hold, "" stands for none."""

    seq: int
    permit: bool
    interface: str = ""
    prefix_list: str = ""


@dataclass(frozen=True, slots=True)
class Redistribution:
    """`redistribute kernel` through a route-map of ours.

    `entries` is None where the rest of `router ospf` or the route-map has something in it
    that may decide otherwise (a summary, another redistribution, a match not known here):
    then nothing can be said of LSAs. `bridges` are the interfaces the map lets out at all.
    `optimized`: FRR looks entries up in a table of the prefix-lists, instead of in order.
    """

    route_map: str
    optimized: bool
    bridges: frozenset[str]
    entries: tuple[Entry, ...] | None
    lists: Mapping[str, tuple[Rule, ...]]

    @property
    def decidable(self) -> bool:
        return self.entries is not None

    def permits(self, address: IPv4Address, device: str) -> bool:
        """Whether a kernel route to this host by that device is to have an LSA."""
        for entry in self.entries or ():
            if entry.interface in ("", device) and self._listed(entry.prefix_list, address):
                return entry.permit
        return False

    def _listed(self, name: str, address: IPv4Address) -> bool:
        """An undefined list matches nothing."""
        if not name:
            return True
        return next((rule.permit for rule in self.lists.get(name, ())
                     if rule.hosts and address in rule.prefix), False)


def read(config: str) -> Redistribution | None:
    """None where FRR is not set up to announce for us: no `router ospf`, or one that does not
    redistribute the kernel's routes through a route-map of ours."""
    every = statements(config)
    ospf = [s.text for s in every if s.stanza == "router ospf"]
    ours = [found[2] for found in map(_OURS.fullmatch, ospf) if found]
    if len(ours) != 1:
        return None
    of_map = [s for s in every if s.stanza.startswith(f"route-map {ours[0]} ")]
    # Statements alone do not show an entry that matches everything and sets nothing.
    opened = {" ".join(line.split()) for line in config.splitlines()
              if line.startswith(f"route-map {ours[0]} ")}
    entries = _entries(opened, of_map)
    strange = [text for text in ospf if _ELSEWHERE.match(text) and not _OURS.fullmatch(text)]
    bridges = frozenset(s.text.removeprefix(_INTERFACE) for s in of_map
                        if s.text.startswith(_INTERFACE))
    optimized = f"no route-map {ours[0]} optimization" not in {s.text for s in every}
    return Redistribution(ours[0], optimized, bridges, None if strange else entries,
                          _lists(every))


def _entries(opened: set[str], said: list[Statement]) -> tuple[Entry, ...] | None:
    found = []
    for opener in opened:
        head = _ENTRY.fullmatch(opener)
        interface = prefix_list = ""
        for text in (s.text for s in said if s.stanza == opener):
            if text.startswith(_INTERFACE):
                interface = text.removeprefix(_INTERFACE)
            elif text.startswith(_LIST):
                prefix_list = text.removeprefix(_LIST)
            elif not _PLAIN.match(text):
                return None
        if not head:
            return None
        found.append(Entry(int(head[3]), head[2] == "permit", interface, prefix_list))
    return tuple(sorted(found))


def _lists(every: frozenset[Statement]) -> Mapping[str, tuple[Rule, ...]]:
    lists: dict[str, list[Rule]] = {}
    for found in filter(None, (_RULE.fullmatch(s.text) for s in every)):
        rule = _rule(found)
        if rule:
            lists.setdefault(found[1], []).append(rule)
    return {name: tuple(sorted(rules)) for name, rules in lists.items()}


def _rule(found: re.Match[str]) -> Rule | None:
    try:
        prefix = IPv4Network("0.0.0.0/0" if found[4] == "any" else found[4], strict=False)
    except (AddressValueError, NetmaskValueError):
        return None
    lengths = "ge" if found[5] else "le" if found[6] or found[4] == "any" else ""
    hosts = {"": prefix.prefixlen == 32,
             "ge": not found[6] or int(found[6]) == 32,
             "le": found[4] == "any" or int(found[6] or 0) == 32}[lengths]
    return Rule(int(found[2]), found[3] == "permit", prefix, hosts)
