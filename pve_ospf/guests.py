"""Pure: the text of a guest's configuration → `Guest`, as Proxmox itself reads it.

Follows PVE::LXC::Config::parse_pct_config and PVE::JSONSchema::parse_property_string
(pve-container 6.1, pve-common): a line Proxmox only warns about is only a problem here, and
of a key written twice the last one counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from .model import Guest, GuestKind, GuestNet

_KEY = re.compile(r"([a-z][a-z_-]*\d*):\s*(.+?)\s*")
"""Of a VM's keys some have a dash (amd-sev, allow-ksm)."""
_LXC_KEY = re.compile(r"lxc\.[a-z0-9_\-.]+(:|\s*=)")
_NET = re.compile(r"net(\d|[12]\d|3[01])")
_MAC = re.compile(r"[a-f0-9][02468ace](:[a-f0-9]{2}){5}", re.IGNORECASE)
_BRIDGE = re.compile(r"[-_.A-Za-z0-9]+")
_TAGS = re.compile(r"[;,\s]+")
_CLOUDINIT = "[special:cloudinit]"
_Values = dict[str, tuple[int, str]]
_TRUE, _FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")

_LXC_NET_KEYS = frozenset({
    "type", "name", "bridge", "hwaddr", "mtu", "ip", "gw", "ip6", "gw6", "firewall", "tag",
    "trunks", "rate", "link_down", "host-managed"})


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be understood, and in which line (1 is the first, 0 the whole file)."""

    line: int
    text: str


def parse(text: str, vmid: int, kind: GuestKind, node: str) -> tuple[Guest, tuple[Problem, ...]]:
    """The guest, and every problem met on the way; nothing in `text` makes it raise."""
    problems: list[Problem] = []
    values = _live_values(text.split("\n"), problems)
    in_force = _in_force(text.split("\n"), values) if kind == "qemu" else {}
    incomplete = not values
    if incomplete:
        # Half-written, or a replication that has only made the file: Proxmox never leaves
        # a guest without a single key.
        problems.append(Problem(0, "the file holds no configuration"))
    elif not text.endswith("\n"):
        # Proxmox ends every line, so there is more to come: an address, or the hookscript.
        incomplete = True
        problems.append(Problem(0, "the file ends in the middle of a line"))
    nets = []
    for key, (line, value) in sorted(values.items()):
        if not _NET.fullmatch(key):
            continue
        try:
            nets.append(_net(kind, int(key[3:]), value, in_force.get(f"ipconfig{key[3:]}")))
        except _Bad as bad:
            incomplete = True
            problems.append(Problem(line, f"{key}: {bad}"))

    def value_of(key: str) -> str | None:
        return values[key][1] if key in values else None

    guest = Guest(
        vmid=vmid, kind=kind, node=node,
        name=value_of("hostname" if kind == "lxc" else "name") or "",
        nets=tuple(sorted(nets, key=lambda n: n.index)),
        hookscript=value_of("hookscript"),
        tags=tuple(t for t in _TAGS.split(value_of("tags") or "") if t),
        lock=value_of("lock"), incomplete=incomplete)
    return guest, tuple(problems)


class _Bad(ValueError):
    """A property string that Proxmox would refuse."""


def _in_force(lines: list[str], live: _Values) -> _Values:
    """A VM's `ipconfigN` as its cloud-init drive has them, and so the guest since its start.

    Proxmox writes a change into the live part at once and keeps there what the drive says
    still: the old values, and under `added` the names that are not on it yet
    (QemuServer.pm, vmconfig_hotplug_pending). The drive is made anew before pre-start.
    """
    start = next((n for n, line in enumerate(lines) if line.startswith(_CLOUDINIT)), len(lines))
    old = _live_values(lines[start + 1:], [])
    added = _TAGS.split(old["added"][1]) if "added" in old else []
    return {**{key: value for key, value in live.items() if key not in added}, **old}


def _live_values(lines: list[str], problems: list[Problem]) -> _Values:
    """Keys of the live part with the line they stand in.

    The live part ends at the first line that starts with `[`: what follows are snapshots,
    pending changes and special sections, whose addresses are not in force.
    """
    values: _Values = {}
    for number, line in enumerate(lines, 1):
        if line.startswith("["):
            break
        if not line.strip() or line.startswith("#") or _LXC_KEY.match(line):
            continue
        match = _KEY.fullmatch(line)
        if match:
            values[match[1]] = (number, match[2])
        else:
            problems.append(Problem(number, f"not a 'key: value' line: {line[:60]!r}"))
    return values


def _properties(value: str) -> dict[str, str]:
    """`a=1,b=2` in any order; a first part without `=` is refused as Proxmox does for nets."""
    found: dict[str, str] = {}
    for part in value.split(","):
        if not part.strip():
            continue
        key, equals, content = part.partition("=")
        if not (equals and key and content):
            raise _Bad(f"{part[:40]!r} is not key=value")
        if key in found:
            raise _Bad(f"{key} is written twice")
        found[key] = content
    return found


def _net(kind: GuestKind, index: int, value: str, ipconfig: tuple[int, str] | None) -> GuestNet:
    properties = _properties(value)
    if kind == "lxc":
        unknown = properties.keys() - _LXC_NET_KEYS
        if unknown:
            raise _Bad(f"unknown option {min(unknown)!r}")
        mac, address = properties.get("hwaddr", ""), properties.get("ip")
    else:
        mac = properties.get("macaddr") or _model_mac(properties)
        address = _properties(ipconfig[1]).get("ip") if ipconfig else None
    if mac and not _MAC.fullmatch(mac):
        raise _Bad(f"{mac[:40]!r} is not a unicast MAC address")
    bridge = properties.get("bridge", "")
    if bridge and not _BRIDGE.fullmatch(bridge):
        raise _Bad(f"{bridge[:40]!r} is not a bridge name")
    return GuestNet(
        index=index, bridge=bridge, mac=mac.lower(), address=_host_address(address),
        tag=_tag(properties.get("tag")),
        firewall=_boolean("firewall", properties.get("firewall", "0")),
        link_down=_boolean("link_down", properties.get("link_down", "0")))


def _model_mac(properties: dict[str, str]) -> str:
    """`virtio=MAC`, `e1000=MAC`, …: the first value that is a MAC, whatever the model."""
    return next((v for v in properties.values() if _MAC.fullmatch(v)), "")


def _host_address(value: str | None) -> IPv4Address | None:
    """The host address inside a CIDR; None for dhcp, manual and nothing."""
    if value in (None, "dhcp", "manual"):
        return None
    address, _, length = str(value).partition("/")
    try:
        # Proxmox takes /8 to /32 and no other spelling (pve_verify_cidrv4).
        if length.isascii() and length.isdigit() and 8 <= int(length) <= 32:
            return IPv4Address(address)
    except AddressValueError:
        pass
    raise _Bad(f"{str(value)[:40]!r} is not an IPv4 address with a length of 8 to 32")


def _tag(value: str | None) -> int | None:
    if value is None:
        return None
    if value.isascii() and value.isdigit() and 1 <= int(value) <= 4094:
        return int(value)
    raise _Bad(f"tag {value[:40]!r} is not a VLAN id 1-4094")


def _boolean(key: str, value: str) -> bool:
    if value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise _Bad(f"{key}={value[:40]!r} is not 0 or 1")
