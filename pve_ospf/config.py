"""The text of pve-ospf.yaml → a frozen `Config` for one node; an error names file and key.

Pure. What may be written, with the defaults:

    allow: [198.51.100.0/24, {prefix: 203.0.113.0/28, guests: [101], bridges: [vmbr1]}]
    area: 0                       # number or dotted quad
    router-id: auto               # the first uplink's address
    uplinks: auto                 # or a list of names, and of mappings as below
    hello-interval: 1             # seconds, 1-65535
    dead-interval: 3              # seconds, more than hello-interval
    minimal-hellos: 4             # instead of the two: hellos a second, 2-10, dead after 1 s
    cost: 10                      # 1-65535; FRR's own by default
    network: broadcast            # or point-to-point; FRR's own by default
    bfd: false
    authentication: none          # or the name of a key of the keys' file (keys.py)
    transit: false                # whether strangers' traffic may cross a node with two uplinks
    guest-bridges: auto           # or a list; `auto` may stand in the list
    guest-filter: true            # guests send from announced addresses only, and no OSPF
    tunnels:
      policy: passive             # or high-cost
      cost: 65535                 # used with high-cost, 1-65535
      interfaces: auto            # or a list of names and patterns; `auto` may stand in it
    nodes:
      pve1: {router-id: 10.0.0.1} # any key of the above but allow, for one node

An uplink may have keys of its own, from hello-interval to authentication:

    uplinks: [vmbr0, {name: eno2, cost: 20, network: point-to-point}]

and a tunnel, or several by a pattern, a policy and a cost; the first that fits counts:

    tunnels: {interfaces: [auto, {name: wg0, policy: high-cost, cost: 20000}]}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal

import yaml

from .errors import ConfigError
from .yamlvalues import (
    Wrong,
    as_address,
    as_area,
    as_integer,
    as_list,
    as_mapping,
    as_names,
    as_network,
    as_truth,
)

AUTO = "auto"
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,15}")
_PATTERN = re.compile(r"[A-Za-z0-9_.:*?-]{1,15}")
KEY_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")

ALLOW_HINT = """\
Add the prefixes your guests may use to /etc/pve/pve-ospf.yaml, for example:
  allow:
    - 198.51.100.0/24
    - {prefix: 203.0.113.0/28, guests: [101, 104]}"""


@dataclass(frozen=True, slots=True)
class Allow:
    """One entry of `allow`; empty `guests` or `bridges` means any."""

    prefix: IPv4Network
    guests: frozenset[int] = frozenset()
    bridges: frozenset[str] = frozenset()

    def open_to(self, device: str) -> bool:
        """Whether guests behind this L3 device may have the prefix: a bridge that is listed,
        or a VLAN of one (`vmbr1.30`, or Proxmox's own `vmbr1v30`)."""
        parent = re.sub(r"[.v]\d+$", "", device)
        return not self.bridges or bool(self.bridges & {device, parent})


@dataclass(frozen=True, slots=True)
class NameList:
    """A list of interface names or patterns in which `auto` may stand for detection."""

    auto: bool = True
    names: tuple[str, ...] = ()

    def names_it(self, interface: str) -> bool:
        """Whether the administrator wrote this interface down, by name or pattern."""
        return any(fnmatchcase(interface, name) for name in self.names)


@dataclass(frozen=True, slots=True)
class Tunnels:
    """What is done with tunnels that carry the cluster; `cost` only counts for high-cost.
    `own` is what was written for some names and patterns of `interfaces`."""

    policy: Literal["passive", "high-cost"] = "passive"
    cost: int = 65535
    interfaces: NameList = field(default_factory=NameList)
    own: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def cost_of(self, tunnel: str) -> int | None:
        """The tunnel's cost in OSPF, None where it stays out."""
        own = next((own for name, own in self.own if fnmatchcase(tunnel, name)), {})
        high = own.get("policy", self.policy) == "high-cost"
        return own.get("cost", self.cost) if high else None


@dataclass(frozen=True, slots=True)
class Speaking:
    """How OSPF speaks on an interface. Intervals are seconds; None leaves it to FRR, or to a
    line of the administrator's. `minimal_hellos` a second take the place of both intervals;
    `authentication` is the name of a key, "" none."""

    hello_interval: int = 1
    dead_interval: int = 3
    minimal_hellos: int | None = None
    cost: int | None = None
    network: Literal["broadcast", "point-to-point"] | None = None
    bfd: bool = False
    authentication: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """pve-ospf.yaml as it applies to one node. `speaking` holds for every uplink but those
    that `uplink_speaking` names."""

    allow: tuple[Allow, ...]
    area: IPv4Address = IPv4Address(0)
    router_id: IPv4Address | None = None
    uplinks: NameList = field(default_factory=NameList)
    speaking: Speaking = field(default_factory=Speaking)
    uplink_speaking: tuple[tuple[str, Speaking], ...] = ()
    transit: bool = False
    guest_bridges: NameList = field(default_factory=NameList)
    guest_filter: bool = True
    tunnels: Tunnels = field(default_factory=Tunnels)
    sdn: bool = False
    """Whether Proxmox SDN, where it writes FRR's configuration, is to merge ours into it."""

    @property
    def authenticates(self) -> bool:
        """Whether any key is needed."""
        return any(s.authentication for s in (self.speaking, *dict(self.uplink_speaking).values()))

    def speaking_on(self, uplink: str) -> Speaking:
        """How OSPF speaks on an uplink."""
        return dict(self.uplink_speaking).get(uplink, self.speaking)


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice: YAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is not a plain word",
                                           problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' is written twice",
                                           problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str, source: str, node: str) -> Config:
    """The configuration of `node` from the text of the file named `source`.

    Every node's part is validated, whichever node asks, so that a mistake is seen where it
    is made. Raises ConfigError; an empty file is one too, because that is what a
    half-written file looks like.
    """
    written = document(text, source, "nothing is announced", ALLOW_HINT)
    top = _Section(source, "", written)
    top.only({"allow", "nodes", *_KEYS})
    if "allow" not in written:
        raise ConfigError(f"{source}: the required key 'allow' is missing, so nothing is "
                          "announced", ALLOW_HINT)
    values: dict[str, Any] = {"allow": top.take("allow", _allow), **_values(top)}
    nodes = top.take("nodes", as_mapping) if "nodes" in written else {}
    chosen = dict(values)
    for name, overrides in nodes.items():
        if not isinstance(name, str) or not _NODE.fullmatch(name):
            raise top.error("nodes", f"{name!r} is not a node name")
        section = _Section(source, f"nodes.{name}.", overrides)
        section.only(set(_KEYS))
        merged = {**values, **_values(section)}
        _config(merged, section)
        if name == node:
            chosen = merged
    _config(values, top)
    return _config(chosen, top)


def document(text: str, source: str, therefore: str, hint: str = "") -> dict[str, Any]:
    """The mapping a file consists of. Raises ConfigError, of an empty one with what follows
    from that; none of them shows anything of the file but its keys."""
    try:
        found = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{place}: not valid YAML: {error.problem}") from error
    except RecursionError:
        raise ConfigError(f"{source}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{source}: not valid YAML: {str(error).splitlines()[0]}") from error
    if found is None:
        raise ConfigError(f"{source}: the file is empty, so {therefore}", hint)
    if not isinstance(found, dict):
        raise ConfigError(f"{source}: expected 'key: value' lines, found a "
                          f"{type(found).__name__}", hint)
    return found


@dataclass(frozen=True, slots=True)
class _Section:
    """A mapping of the file with the place it stands at, for the errors."""

    source: str
    path: str
    mapping: Any

    def error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.source}: {self.path}{key}: {problem}")

    def only(self, allowed: set[str]) -> None:
        if not isinstance(self.mapping, dict):
            raise self.error("", "expected 'key: value' lines")
        for key in self.mapping:
            if key not in allowed:
                raise self.error(str(key), f"unknown key; allowed: {', '.join(sorted(allowed))}")

    def take(self, key: str, convert: Callable[[Any], Any]) -> Any:
        try:
            return convert(self.mapping[key])
        except Wrong as wrong:
            raise self.error(key + wrong.at, wrong.problem) from None


def _values(section: _Section) -> dict[str, Any]:
    return {name: section.take(key, convert)
            for key, (name, convert) in _KEYS.items() if key in section.mapping}


def _config(values: Mapping[str, Any], section: _Section) -> Config:
    """The values put together. Raises ConfigError when they contradict each other."""
    rest = dict(values)
    written = {name: rest.pop(name) for name, _ in _SPEAKING.values() if name in rest}
    names, overrides = rest.pop("uplinks", (NameList(), ()))
    default = _speaking(Speaking(), written, section, "")
    config = Config(**rest, uplinks=names, speaking=default, uplink_speaking=tuple(
        (name, _speaking(default, own, section, f"uplinks.{name}.")) for name, own in overrides))
    for name in config.uplinks.names:
        if config.tunnels.interfaces.names_it(name):
            raise section.error("uplinks", f"{name} is listed under tunnels.interfaces too; "
                                "it can be only one of the two")
    return config


_INTERVALS = frozenset({"hello_interval", "dead_interval"})


def _speaking(default: Speaking, written: Mapping[str, Any], section: _Section,
              place: str) -> Speaking:
    """`default` with what was written in one place. There, intervals and `minimal-hellos`
    exclude each other; what stands in a nearer place wins."""
    if "minimal_hellos" in written and _INTERVALS & set(written):
        raise section.error(f"{place}minimal-hellos", "stands in the place of hello-interval and "
                            "dead-interval; write one or the others")
    if _INTERVALS & set(written):
        default = replace(default, minimal_hellos=None)
    found = replace(default, **written)
    if found.minimal_hellos is None and found.dead_interval <= found.hello_interval:
        raise section.error(f"{place}dead-interval", f"{found.dead_interval} s is not longer than "
                            f"the hello-interval of {found.hello_interval} s")
    return found


def _router_id(value: Any) -> IPv4Address | None:
    if value == AUTO:
        return None
    address = as_address(value)
    if int(address) == 0 or address.is_loopback or address.is_multicast:
        raise Wrong(f"{value} cannot be a router id")
    return address


def _allow(value: Any) -> tuple[Allow, ...]:
    entries = []
    for number, entry in enumerate(as_list(value, "prefixes")):
        try:
            entries.append(_allow_entry(entry))
        except Wrong as wrong:
            raise Wrong(wrong.problem, f"[{number}]{wrong.at}") from None
    return tuple(entries)


def _allow_entry(entry: Any) -> Allow:
    if not isinstance(entry, dict):
        return Allow(as_network(entry))
    for key in entry:
        if key not in {"prefix", "guests", "bridges"}:
            raise Wrong(f"unknown key {key!r}; allowed: bridges, guests, prefix")
    if "prefix" not in entry:
        raise Wrong("the key 'prefix' is missing")
    # An empty list would read as "any": a mistake that opens a prefix to everyone.
    if entry.get("guests", True) == [] or entry.get("bridges", True) == []:
        raise Wrong("an empty list binds the prefix to nobody; leave the key out for any")
    vmid = as_integer(100, 999_999_999)
    guests = frozenset(vmid(v) for v in as_list(entry.get("guests", []), "VMIDs"))
    bridges = frozenset(as_names(entry.get("bridges", []), _NAME))
    return Allow(as_network(entry["prefix"]), guests, bridges)


def _name_list(pattern: re.Pattern[str], mixed: bool) -> Callable[[Any], NameList]:
    def convert(value: Any) -> NameList:
        if value == AUTO:
            return NameList()
        names = as_names(value, pattern)
        if AUTO in names and not mixed:
            raise Wrong("'auto' stands alone here, not in a list")
        return NameList(AUTO in names, tuple(n for n in names if n != AUTO))
    return convert


def _uplinks(value: Any) -> tuple[NameList, tuple[tuple[str, dict[str, Any]], ...]]:
    """Names, and what was written for some of them."""
    if value == AUTO:
        return NameList(), ()
    entries = [_entry(entry, f"[{number}]", _SPEAKING)
               for number, entry in enumerate(as_list(value, "interface names"))]
    names = _name_list(_NAME, False)([name for name, _ in entries])
    for name in names.names:
        if names.names.count(name) > 1:
            raise Wrong(f"{name} is written twice")
    return names, tuple((name, own) for name, own in entries if own)


def _entry(entry: Any, place: str, keys: Mapping[str, tuple[str, Callable[[Any], Any]]]
           ) -> tuple[Any, dict[str, Any]]:
    """An interface's name, and what was written for it with these keys."""
    if not isinstance(entry, dict):
        return entry, {}
    if "name" not in entry:
        raise Wrong("the key 'name' is missing", place)
    own = {}
    for key, value in entry.items():
        if key == "name":
            continue
        if key not in keys:
            raise Wrong(f"unknown key; allowed: {', '.join(sorted({'name', *keys}))}",
                         f"{place}.{key}")
        name, convert = keys[key]
        try:
            own[name] = convert(value)
        except Wrong as wrong:
            raise Wrong(wrong.problem, f"{place}.{key}") from None
    return entry["name"], own


def _network_type(value: Any) -> str:
    if value not in ("broadcast", "point-to-point"):
        raise Wrong(f"{value!r} is not a network type; allowed: broadcast, point-to-point")
    return str(value)


def _key_name(value: Any) -> str:
    if not isinstance(value, str) or not KEY_NAME.fullmatch(value):
        raise Wrong(f"{value!r} is not a key's name; allowed: none, or a name of the keys' file")
    return "" if value == "none" else value


def _sdn(value: Any) -> bool:
    if value not in ("frr.conf.local", "none"):
        raise Wrong(f"{value!r} is not known; allowed: frr.conf.local, none")
    return bool(value == "frr.conf.local")


def _policy(value: Any) -> str:
    if value not in ("passive", "high-cost"):
        raise Wrong(f"{value!r} is not a policy; allowed: passive, high-cost")
    return str(value)


def _tunnels(value: Any) -> Tunnels:
    convert = {**{key: converter for key, (_, converter) in _TUNNEL.items()},
               "interfaces": _tunnel_list}
    for key in as_mapping(value):
        if key not in convert:
            raise Wrong(f"unknown key; allowed: {', '.join(sorted(convert))}", f".{key}")
    taken = {}
    for key, written in value.items():
        try:
            taken[key] = convert[key](written)
        except Wrong as wrong:
            raise Wrong(wrong.problem, f".{key}{wrong.at}") from None
    names, own = taken.pop("interfaces", (NameList(), ()))
    return Tunnels(**taken, interfaces=names, own=own)


def _tunnel_list(value: Any) -> tuple[NameList, tuple[tuple[str, dict[str, Any]], ...]]:
    """Names and patterns, and what was written for some of them."""
    if value == AUTO:
        return NameList(), ()
    entries = [_entry(entry, f"[{number}]", _TUNNEL)
               for number, entry in enumerate(as_list(value, "interface names"))]
    return (_name_list(_PATTERN, True)([name for name, _ in entries]),
            tuple((name, own) for name, own in entries if own))


_SPEAKING: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "hello-interval": ("hello_interval", as_integer(1, 65535, " (seconds)")),
    "dead-interval": ("dead_interval", as_integer(1, 65535, " (seconds)")),
    "minimal-hellos": ("minimal_hellos", as_integer(2, 10, " (a second)")),
    "cost": ("cost", as_integer(1, 65535)),
    "network": ("network", _network_type),
    "bfd": ("bfd", as_truth),
    "authentication": ("authentication", _key_name),
}

_TUNNEL: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "policy": ("policy", _policy),
    "cost": ("cost", as_integer(1, 65535)),
}

_KEYS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "area": ("area", as_area),
    "router-id": ("router_id", _router_id),
    "uplinks": ("uplinks", _uplinks),
    **_SPEAKING,
    "transit": ("transit", as_truth),
    "guest-bridges": ("guest_bridges", _name_list(_NAME, True)),
    "guest-filter": ("guest_filter", as_truth),
    "tunnels": ("tunnels", _tunnels),
    "sdn": ("sdn", _sdn),
}
