"""Pure: what guests may send to their node, as the text of an nft table of our own.

A guest must not speak to any router. Without the filter one held a router's neighbour in Init
with spoofed hellos that this node forwarded, whatever rp_filter said (measured). So what comes
up a guest bridge is dropped before it is routed when it is OSPF or BFD, and when its source is
no announced address of that bridge, with the MAC of the guest that has it.

The chain hangs at the ingress of the bridge itself: it sees what guests send to the node or
through it. What the bridge passes from one guest to another never comes there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from zlib import crc32

TABLE = "pve-ospf"
"""Of the family netdev. All of it is ours, and nothing of ours is in any other."""

PRIORITY = -150
KEY_LENGTH = 12
"""Bytes of a set's key: a MAC, filled up to eight, and an address."""

_PREFIX = "from-"
_RULES = (
    ("meta l4proto 89 counter drop", "no OSPF"),
    ("udp dport { 3784, 3785, 4784 } counter drop", "no BFD"),
    # A VLAN of the bridge has a chain of its own where it serves guests. Number 0 is none:
    # the kernel takes such a frame for one without a tag, also when it has two.
    ("vlan id 1-4095 accept", "another VLAN"),
    ("meta protocol { 8021q, 8021ad } counter drop", "tags in tags"),
    ("ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept", "DHCP"),
    ("ether saddr . ip saddr @{name} accept", "announced"),
    ("meta protocol ip counter drop", "any other source"),
)
"""In their order, each with why. ARP passes, and IPv6 but for the first two."""


@dataclass(frozen=True, slots=True, order=True)
class Permit:
    """A guest may send from this address, with this MAC, on this bridge."""

    device: str
    mac: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class GuestFilter:
    """The whole table: a chain and a set for each bridge, and what is in the sets."""

    bridges: frozenset[str] = frozenset()
    permits: frozenset[Permit] = frozenset()


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of our table as the kernel has it; `device` "" for none, or for several."""

    name: str
    device: str
    kind: str
    hook: int
    priority: int
    policy: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What the kernel holds in our table: its chains, their rules' comments in order, the
    length of each set's key, and each set's elements."""

    chains: tuple[Chain, ...] = ()
    comments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, int] = field(default_factory=dict)
    elements: Mapping[str, tuple[tuple[str, IPv4Address], ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilterState:
    """The table as it is: the bridges whose part of it is as we write it, and what they permit.

    `foreign`: there is something else in it. `problem`: it could not be read, and why; then
    nothing is known of it, and nothing is changed.
    """

    present: bool = False
    bridges: frozenset[str] = frozenset()
    permits: frozenset[Permit] = frozenset()
    foreign: bool = False
    problem: str = ""


def set_name(bridge: str) -> str:
    """The name of the bridge's chain, and of its set."""
    return f"{_PREFIX}{bridge}"


def render(table: GuestFilter) -> str:
    """What `nft -f` reads: the table is replaced in one step, and no packet slips through."""
    parts = [f"add table netdev {TABLE}\n", f"delete table netdev {TABLE}\n",
             f"table netdev {TABLE} {{\n"]
    for bridge in sorted(table.bridges):
        name = set_name(bridge)
        elements = ",\n\t\t\t".join(f"{p.mac} . {p.address}" for p in sorted(table.permits)
                                    if p.device == bridge)
        parts += [f"\tset {name} {{\n\t\ttype ether_addr . ipv4_addr\n",
                  f"\t\telements = {{\n\t\t\t{elements}\n\t\t}}\n" if elements else "",
                  f"\t}}\n\tchain {name} {{\n\t\ttype filter hook ingress device \"{bridge}\" "
                  f"priority {PRIORITY}; policy accept;\n",
                  *(f"\t\t{rule} comment \"{comment}\"\n" for rule, comment in _rules(name)),
                  "\t}\n"]
    return "".join((*parts, "}\n"))


def _rules(name: str) -> Iterator[tuple[str, str]]:
    """Each rule and its comment, in which a number made from the rule says what it was
    written as: nft does not list a rule as it read it, and each version its own way."""
    for text, why in _RULES:
        rule = text.replace("{name}", name)
        yield rule, f"{why} ({crc32(rule.encode()):08x})"


def state(contents: Contents) -> FilterState:
    """The table's state from what the kernel holds in it."""
    bridges = frozenset(c.device for c in contents.chains if _as_written(c, contents))
    ours = {set_name(bridge) for bridge in bridges}
    permits = frozenset(Permit(bridge, mac, address) for bridge in bridges
                        for mac, address in contents.elements.get(set_name(bridge), ()))
    chains = {chain.name for chain in contents.chains}
    # Before Linux 6.16 a chain goes with its bridge, and leaves its set behind.
    left = {name for name, length in contents.sets.items()
            if name not in chains and name.startswith(_PREFIX) and length == KEY_LENGTH}
    return FilterState(True, bridges, permits,
                       foreign=bool({*contents.sets, *chains} - ours - left))


def _as_written(chain: Chain, contents: Contents) -> bool:
    written = Chain(set_name(chain.device), chain.device, "filter", hook=0, priority=PRIORITY,
                    policy=1)
    return (chain == written and contents.sets.get(chain.name) == KEY_LENGTH
            and contents.comments.get(chain.name) == tuple(c for _, c in _rules(chain.name)))


def makes(wanted: GuestFilter, now: FilterState,
          interfaces: Collection[str] = ()) -> list[GuestFilter | Permit]:
    """What has to be put in. A table that is not as it should be is written as a whole, with
    what it permits now: it is taken out afterwards, in its order (see drops).

    A chain too many is one of an interface that is there. From Linux 6.16 on that of a bridge
    that has gone waits for it, does no harm, and filters from the first moment of its return.
    """
    if now.problem or not wanted.bridges:
        return []
    surplus = (now.bridges - wanted.bridges) & set(interfaces)
    if not wanted.bridges <= now.bridges or surplus or now.foreign:
        kept = {p for p in now.permits if p.device in wanted.bridges}
        return [GuestFilter(wanted.bridges, wanted.permits | kept)]
    return [*sorted(wanted.permits - now.permits)]


def drops(wanted: GuestFilter, now: FilterState) -> list[GuestFilter | Permit]:
    """What has to be taken out, when routes have been withdrawn."""
    if now.problem:
        return []
    if not wanted.bridges:
        return [GuestFilter()] if now.present else []
    return [*sorted(p for p in now.permits - wanted.permits if p.device in wanted.bridges)]


def wanted(bridges: Collection[str], permits: Collection[Permit]) -> GuestFilter:
    """The table for these bridges; permits on others need none."""
    return GuestFilter(frozenset(bridges), frozenset(p for p in permits if p.device in bridges))
