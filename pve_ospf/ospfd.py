"""Pure: configuration and interfaces → `OspfdConfig` → the text FRR (or Quagga) reads.

The text is written the way `show running-config` writes it, defaults left out, so that a
second reload finds nothing to do: each difference would be taken away and added again, and
some of them withdraw every guest for seconds (facts/frr.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from typing import Literal
from zlib import crc32

import jinja2

from .config import Config, Speaking
from .errors import Refused
from .interfaces import Roles, faces_guests, own_addresses
from .keys import Key
from .model import Interface
from .secrecy import hidden

NAMESPACE = "pve-ospf"
"""Route-map and prefix-lists of this name, or beginning with it and a dash, are ours."""

DENY_LIST = f"{NAMESPACE}-deny"
DENY_ENTRY = 10
PERMIT_ENTRIES = range(1000, 60000)
"""Sequence numbers of the permits, one a guest bridge; room is left for entries of roles."""

NEVER = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))
"""Announced by nobody: this network, loopback, link-local, multicast and beyond."""

DEFAULT_HELLO = 10
DEFAULT_COST = 10
"""FRR's, where it does not know an interface's speed."""
RETRANSMIT = 1
LEGACY_RETRANSMIT = 3
"""Seconds. Both make up for a receiver that drops what changed within a second, and 1 does
it best, but Quagga takes 3-65535 only."""

_NAME = re.compile(r"[A-Za-z0-9_.:][A-Za-z0-9_.:-]{0,14}")
_RESERVED = frozenset({"default", "vrf", "any", "all"})

Part = Literal["zebra", "ospfd"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the installed version understands; never found out by trial.

    `ip ospf passive` on FRR 7.5 is silently read as `ipv6 ospf6 passive`, and
    `passive-interface` from 8.1 on makes each reload turn the tunnel active for a moment.
    """

    version: tuple[int, ...]

    @property
    def quagga(self) -> bool:
        """Quagga's last version was 1.2.4, FRR's first 2.0."""
        return self.version < (2,)

    @property
    def legacy(self) -> bool:
        """Quagga, and FRR before 8.1."""
        return self.version < (8, 1)

    @property
    def key_chains(self) -> bool:
        """Whether OSPF can authenticate with the key of a key chain (HMAC-SHA)."""
        return self.version >= (9, 1)


@dataclass(frozen=True, slots=True)
class OspfInterface:
    """An interface OSPF speaks on. Intervals are seconds; None leaves a thing to FRR.

    With `minimal`, hellos a second, `hello` says nothing: such a hello carries an interval of
    0, and no router compares it.
    """

    name: str
    area: IPv4Address
    hello: int
    dead: int
    retransmit: int
    cost: int | None = None
    minimal: int | None = None
    network: Literal["broadcast", "point-to-point"] | None = None
    bfd: bool = False
    key: Key | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """An entry of a prefix-list; `hosts` limits it to /32, `more` takes in all longer ones."""

    prefix: IPv4Network
    match: Literal["hosts", "more"]
    action: Literal["permit", "deny"] = "permit"

    def __str__(self) -> str:
        if self.prefix.prefixlen == 32:
            return f"{self.action} {self.prefix}"
        return f"{self.action} {self.prefix} {'ge' if self.match == 'hosts' else 'le'} 32"


@dataclass(frozen=True, slots=True)
class PrefixList:
    """An `ip prefix-list` that always has an entry: an empty one permits everything."""

    name: str
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise Refused(f"prefix-list {self.name} would be empty, which permits everything")

    def entries(self) -> list[tuple[int, Rule]]:
        """Rules by sequence number, each number made from its rule alone.

        frr-reload adds the new entries and then removes the old ones; a number that stood
        for another prefix before would be removed with it, and guests withdrawn. Numbers
        stay below 2^31: FRR sorts greater ones as negative (8.4.4 to 10.7.1). Where there are
        denials they come first.
        """
        taken: dict[int, Rule] = {}
        denials = any(rule.action == "deny" for rule in self.rules)
        for rule in sorted(self.rules):
            numbers = (range(10_000_000, 20_000_000) if denials and rule.action == "permit"
                       else range(1, 10_000_000))
            taken[_free(crc32(str(rule).encode()), numbers, taken)] = rule
        return sorted(taken.items())


@dataclass(frozen=True, slots=True)
class RouteMapEntry:
    """An entry of our route-map; all its matches must hold."""

    seq: int
    action: Literal["permit", "deny"]
    prefix_list: str
    interface: str | None = None

    def __post_init__(self) -> None:
        if self.interface is not None:
            _check_name(self.interface)


@dataclass(frozen=True, slots=True)
class OspfdConfig:
    """Everything our part of a node's OSPF configuration says.

    Raises Refused for what FRR would accept and misread: a name it takes for a keyword or
    cuts off, a list it takes for "everything", a list that is not there.
    """

    dialect: Dialect
    area: IPv4Address
    router_id: IPv4Address
    interfaces: tuple[OspfInterface, ...]
    passive: tuple[str, ...]
    prefix_lists: tuple[PrefixList, ...]
    route_map: tuple[RouteMapEntry, ...]
    max_metric: bool = False
    work_queue: int | None = 0
    """Milliseconds zebra holds each route back; None leaves it to FRR (10) or to a line of
    the administrator's."""

    def __post_init__(self) -> None:
        for name in self.passive:
            _check_name(name)
        # An undefined prefix-list passes every validator of FRR and matches nothing.
        defined = {prefixes.name for prefixes in self.prefix_lists}
        for entry in self.route_map:
            if entry.prefix_list not in defined:
                raise Refused(f"route-map {NAMESPACE} {entry.seq} names the prefix-list "
                              f"{entry.prefix_list}, which is not defined")

    @property
    def chains(self) -> tuple[Key, ...]:
        """The keys that need a key chain, each once."""
        keys = {i.key.name: i.key for i in self.interfaces if i.key and i.key.chain}
        return tuple(keys[name] for name in sorted(keys))

    @property
    def daemons(self) -> tuple[str, ...]:
        """FRR's daemons that have to run beside zebra, which always does."""
        return ("bfdd", "ospfd") if any(i.bfd for i in self.interfaces) else ("ospfd",)

    def interface(self, name: str) -> OspfInterface | None:
        """The interface OSPF speaks on by that name."""
        return next((i for i in self.interfaces if i.name == name), None)


def build(config: Config, roles: Roles, dialect: Dialect,
          interfaces: Collection[Interface] = (),
          keys: Mapping[str, Key] | None = None) -> OspfdConfig:
    """What this node's OSPF has to be; `interfaces` are all of the node's, for their subnets.

    Raises Refused, with what to set, when there is no uplink, no router id or no key to be
    had, or the dialect lacks something that is called for.
    """
    _check_uplinks(config, roles, interfaces)
    # One that is named may not exist yet: Proxmox makes vmbr0v5 when its first guest starts.
    bridges = sorted({*(b.name for b in roles.guest_bridges), *config.guest_bridges.names})
    lists = {bridge: _allowed(config, bridge) for bridge in bridges}
    permits = {name: prefixes for name, prefixes in lists.items() if prefixes}
    uplinks = [_speaking(config, config.speaking_on(i.name), dialect, i.name, keys or {})
               for i in roles.uplinks]
    costs = {i.name: config.tunnels.cost_of(i.name) for i in roles.tunnels}
    tunnels = [_speaking(config, replace(config.speaking, cost=cost, network=None), dialect, name,
                         keys or {}) for name, cost in costs.items() if cost]
    closed = len(uplinks) > 1 and not config.transit
    # FRR takes its own router LSA for its own routes, too: told max-metric, it finds all its
    # links equally far, uplinks and tunnels. Where that matters, only the uplinks are dear.
    choosing = bool(tunnels) or any(i.cost for i in uplinks)
    if closed and choosing:
        uplinks = _dear(uplinks, tunnels)
    router_id = config.router_id or own_addresses(roles.uplinks[0])[0]
    return OspfdConfig(
        dialect, config.area, router_id, (*uplinks, *tunnels),
        tuple(name for name, cost in costs.items() if not cost),
        (_denied(router_id, roles, interfaces),
         *(PrefixList(_list_name(name), prefixes) for name, prefixes in permits.items())),
        (RouteMapEntry(DENY_ENTRY, "deny", DENY_LIST), *_permits(permits)),
        max_metric=closed and not choosing,
        work_queue=None if dialect.quagga else 0)


def render(config: OspfdConfig, part: Part | None = None) -> str:
    """The text of the whole configuration, or of what belongs into one daemon's own file."""
    names: tuple[Part, ...] = (part,) if part else ("zebra", "ospfd")
    return "".join(_template(name).render(config=config, name=NAMESPACE,
                                          close="!" if config.dialect.legacy else "exit\n!",
                                          default_hello=DEFAULT_HELLO) for name in names)


def router_side(config: OspfdConfig, uplinks: Iterable[Interface]) -> str:
    """What to put on the routers of the uplinks' networks, in FRR's syntax, keys left out."""
    subnets = {u.name: ", ".join(sorted(str(a.network) for a in u.addresses
                                        if not a.ip.is_link_local)) for u in uplinks}
    speaking = [replace(i, cost=None, retransmit=RETRANSMIT)
                for i in config.interfaces if i.name in subnets]
    return hidden(_template("router_side").render(
        interfaces=speaking, subnets=subnets, default_hello=DEFAULT_HELLO))


def _check_uplinks(config: Config, roles: Roles, interfaces: Collection[Interface]) -> None:
    for name in config.uplinks.names:
        if why := faces_guests(name, interfaces):
            raise Refused(f"the uplink {name} of the configuration {why}, and OSPF never speaks "
                          "there", "Name another: uplinks: [NAME]")
        if not roles.is_uplink(name):
            raise Refused(f"the uplink {name} of the configuration is not an interface of "
                          "this node", "Correct the name: uplinks: [NAME]")
    if not roles.uplinks:
        raise Refused("no uplink found: no interface has an address of the node's own and is "
                      "neither a tunnel nor a bridge without a NIC", "Name it: uplinks: [NAME]")
    for uplink in roles.uplinks:
        if not own_addresses(uplink):
            raise Refused(f"the uplink {uplink.name} has no IPv4 address, so OSPF cannot speak "
                          "on it", "Give it one, or name another: uplinks: [NAME]")


def _speaking(config: Config, speaking: Speaking, dialect: Dialect, name: str,
              keys: Mapping[str, Key]) -> OspfInterface:
    if speaking.bfd and dialect.quagga:
        raise Refused(f"bfd on {name}: Quagga has no BFD", "Set bfd: false there.")
    minimal = speaking.minimal_hellos
    return OspfInterface(
        name, config.area, speaking.hello_interval, 1 if minimal else speaking.dead_interval,
        LEGACY_RETRANSMIT if dialect.legacy else RETRANSMIT, speaking.cost, minimal,
        speaking.network, speaking.bfd, _key(speaking.authentication, name, dialect, keys))


def _dear(uplinks: Iterable[OspfInterface],
          tunnels: Collection[OspfInterface]) -> list[OspfInterface]:
    """The uplinks so dear that strangers' traffic takes any other way, and still less so than
    a tunnel; among themselves as before."""
    highest = min([65535, *(t.cost for t in tunnels if t.cost)]) - 1
    return [replace(i, cost=min(highest // 2 + (i.cost or DEFAULT_COST), highest))
            for i in uplinks]


def _key(wanted: str, interface: str, dialect: Dialect, keys: Mapping[str, Key]) -> Key | None:
    if not wanted:
        return None
    if wanted not in keys:
        raise Refused(f"authentication on {interface}: there is no key {wanted!r}",
                      "Put it into the keys' file, which root alone may read "
                      "(/etc/pve/priv/pve-ospf.yaml):\n"
                      f'  {wanted}: {{type: md5, id: 1, key: "…"}}')
    key = keys[wanted]
    if key.chain and not dialect.key_chains:
        version = ".".join(map(str, dialect.version))
        raise Refused(f"authentication on {interface}: {key.algorithm} needs FRR 9.1, here is "
                      f"{version}", "Use a key of type md5, on this node's network at least.")
    return key


def _allowed(config: Config, bridge: str) -> tuple[Rule, ...]:
    """The rules of a bridge's permit: hosts only, of what is bound to it or to none.

    Whom an entry allows a prefix *to* (`guests`) no route-map can say: sync sees to it.
    """
    prefixes = [a.prefix for a in config.allow if a.open_to(bridge)]
    return tuple(Rule(p, "hosts") for p in _outermost(prefixes))


def _denied(router_id: IPv4Address, roles: Roles, interfaces: Iterable[Interface]) -> PrefixList:
    own = [IPv4Network(router_id), *_own_networks(roles, interfaces)]
    return PrefixList(DENY_LIST, tuple(Rule(p, "more") for p in _outermost([*NEVER, *own])))


def _own_networks(roles: Roles, interfaces: Iterable[Interface]) -> Iterator[IPv4Network]:
    """The subnets the node sits in, but of an address on a guest bridge only the host itself:
    the rest of that subnet is its guests'."""
    every = {i.name: i for i in (*interfaces, *roles.uplinks, *roles.tunnels)}
    for interface in every.values():
        guests = roles.is_guest_bridge(interface.name) and not roles.is_uplink(interface.name)
        for address in interface.addresses:
            yield IPv4Network(address.ip) if guests else address.network


def _outermost(prefixes: Collection[IPv4Network]) -> list[IPv4Network]:
    """Without those another one covers; sorted. Not merged, to stay what was written."""
    distinct = set(prefixes)
    return sorted(p for p in distinct
                  if not any(p != other and p.subnet_of(other) for other in distinct))


def _permits(lists: Iterable[str]) -> Iterator[RouteMapEntry]:
    """One permit a bridge, its number from the bridge's name: the others' stay as they are
    when a bridge comes or goes."""
    taken: set[int] = set()
    for bridge in sorted(lists):
        seq = _free(crc32(bridge.encode()), PERMIT_ENTRIES, taken)
        taken.add(seq)
        yield RouteMapEntry(seq, "permit", _list_name(bridge), bridge)


def _list_name(bridge: str) -> str:
    return f"{NAMESPACE}-allow-{bridge}"


def _free(wanted: int, numbers: range, taken: Collection[int]) -> int:
    """The number `wanted` falls on, or the next that is not taken."""
    start = wanted % len(numbers)
    return next(numbers[(start + step) % len(numbers)] for step in range(len(numbers))
                if numbers[(start + step) % len(numbers)] not in taken)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise Refused(f"the interface name {name!r} cannot be written into FRR's configuration",
                      "Give the interface another name (1-15 letters, digits, and _ . : -), "
                      "or leave it out of the configuration.")


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(  # noqa: S701 (this is not HTML)
        loader=jinja2.PackageLoader("pve_ospf"), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.get_template(f"{name}.j2")
