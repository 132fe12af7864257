"""A guest's configuration file, read and written as PVE::LXC::Config does (a VM's nearly so)."""

from __future__ import annotations

import re
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from . import pmxcfs

PENDING = re.compile(r"\[(pve:)?pending\]\s*$", re.IGNORECASE)
SNAPSHOT = re.compile(r"\[([a-z][a-z0-9_\-]+)\]\s*$", re.IGNORECASE)
RAW = re.compile(r"(lxc\.[a-z0-9_\-.]+)(?::|\s*=)\s*(.*?)\s*$")
OPTION = re.compile(r"([a-z][a-z_]*\d*):\s*(.+?)\s*$")
MODELS = {"virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"}


@dataclass
class Section:
    """The live config, the pending changes or one snapshot."""

    options: dict[str, str] = field(default_factory=dict)
    raw: list[tuple[str, str]] = field(default_factory=list)
    description: str = ""

    def text(self) -> str:
        lines = ["#" + quote(line, safe=" /:,.=") for line in self.description.splitlines()]
        lines += [f"{key}: {self.options[key]}" for key in sorted(self.options)]
        lines += [f"{key}: {value}" for key, value in self.raw]
        return "".join(line + "\n" for line in lines)


@dataclass
class GuestConfig:
    """A whole file."""

    vmid: int
    path: Path
    live: Section = field(default_factory=Section)
    pending: Section = field(default_factory=Section)
    snapshots: dict[str, Section] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, str]:
        return self.live.options

    @property
    def is_container(self) -> bool:
        return self.path.parent.name == "lxc"

    def nets(self) -> dict[int, dict[str, str]]:
        """Number → properties of every netN; a VM's always with `model` and `macaddr`."""
        parsed = parse_properties if self.is_container else parse_vm_net
        return {
            int(key[3:]): parsed(value)
            for key, value in sorted(self.options.items())
            if re.fullmatch(r"net\d+", key)
        }

    def apply_pending(self) -> bool:
        """Make pending changes live; whether there were any. The caller writes the file."""
        if not self.pending.options:
            return False
        for key in self.pending.options.pop("delete", "").replace(";", ",").split(","):
            self.options.pop(key.strip(), None)
        self.options.update(self.pending.options)
        self.pending = Section()
        return True

    def text(self) -> str:
        text = self.live.text()
        if self.pending.options:
            text += "\n[pve:pending]\n" if self.is_container else "\n[PENDING]\n"
            text += self.pending.text()
        for name in sorted(self.snapshots):
            text += f"\n[{name}]\n" + self.snapshots[name].text()
        return text

    def write(self) -> None:
        pmxcfs.replace(self.path, self.text())


def config_path(vmid: int, kind: str = "lxc") -> Path:
    """On the node itself, as everything in PVE addresses it; the other kind is qemu-server."""
    return pmxcfs.ROOT / "local" / kind / f"{vmid}.conf"


def load(vmid: int, kind: str = "lxc") -> GuestConfig:
    """Raises FileNotFoundError when the guest is not this node's."""
    path = config_path(vmid, kind)
    return parse(vmid, path, path.read_bytes().decode("utf-8", "surrogateescape"))


def parse(vmid: int, path: Path, text: str) -> GuestConfig:
    """PVE warns about a line it does not know and drops it at the next write; so does this."""
    config = GuestConfig(vmid, path)
    section = config.live
    for line in text.split("\n"):
        if not line.strip():
            continue
        if PENDING.match(line):
            section = config.pending
        elif name := SNAPSHOT.match(line):
            section = config.snapshots.setdefault(name[1], Section())
        elif line.startswith("#"):
            section.description += unquote(line[1:]) + "\n"
        elif found := RAW.match(line):
            section.raw.append((found[1], found[2]))
        elif found := OPTION.match(line):
            section.options[found[1]] = found[2]
        else:
            print(f"vm {vmid} - unable to parse config: {line}", file=sys.stderr)
    return config


def parse_properties(text: str) -> dict[str, str]:
    """`a=1,b=2` → a dictionary."""
    return dict(part.partition("=")[::2] for part in text.split(",") if part)


def print_net(properties: dict[str, str]) -> str:
    """`name` first, the rest sorted, as PVE prints it."""
    keys = sorted(properties, key=lambda key: (key != "name", key))
    return ",".join(f"{key}={properties[key]}" for key in keys)


def complete_net(text: str) -> str:
    """What PVE adds to a netN it is given: a MAC address and the type."""
    properties = parse_properties(text)
    properties.setdefault("hwaddr", _new_mac())
    properties.setdefault("type", "veth")
    return print_net(properties)


def _new_mac() -> str:
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in secrets.token_bytes(3))


def parse_vm_net(text: str) -> dict[str, str]:
    """`virtio=MAC,bridge=…` or `model=virtio,macaddr=MAC,…`, in any order."""
    properties = parse_properties(text)
    for model in MODELS & properties.keys():
        properties |= {"model": model, "macaddr": properties.pop(model)}
    return properties


def complete_vm_net(text: str) -> str:
    """As PVE stores it: `virtio=MAC` first, with a new MAC address where none was given."""
    properties = parse_vm_net(text)
    model = properties.pop("model", "virtio")
    mac = properties.pop("macaddr", "") or _new_mac()
    rest = "".join(f",{key}={properties[key]}" for key in sorted(properties))
    return f"{model}={mac}{rest}"
