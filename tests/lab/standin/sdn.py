"""Proxmox SDN's FRR configuration: written anew with frr.conf.local merged into it.

As PVE::Network::SDN does when SDN is applied (`pvesh set /cluster/sdn`): it writes when there
are controllers or fabrics, or when frr.conf.local exists; ospfd is switched off unless an OSPF
fabric needs it; then FRR is restarted. The merge keeps what it knows and nothing else.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import pmxcfs

FRR = Path("/etc/frr")
HEAD = """\
frr version 8.5.2
frr defaults datacenter
hostname {name}
log syslog informational
service integrated-vtysh-config
!
"""


@dataclass
class Frr:
    """What SDN has for frr.conf, by kind of section."""

    interfaces: dict[str, list[str]] = field(default_factory=dict)
    routers: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, dict[int, str]] = field(default_factory=dict)
    route_maps: dict[str, list[list[str]]] = field(default_factory=dict)


def merge(text: str, into: Frr) -> None:
    """frr.conf.local's lines, each into the section it stands in; some into none."""
    section: list[str] = []
    kind = route_map = ""
    for line in map(str.strip, text.split("\n")):
        if found := re.match(r"(interface|router) (.+)", line):
            kind = found[1]
            place = into.interfaces if kind == "interface" else into.routers
            section = place.setdefault(found[2], [])
        elif found := re.match(r"route-map (.+) permit \d+", line):
            kind, route_map, section = "route-map", found[1], []
        elif found := re.match(r"ip prefix-list (.+) seq (\d+) (.*)", line):
            into.lists.setdefault(found[1], {})[int(found[2])] = found[3]
        elif line == "exit":
            if kind == "route-map":
                into.route_maps.setdefault(route_map, []).append(section)
            if kind != "interface":
                kind, section = "", []
        elif line and "!" not in line:
            section.append(line)


def written(frr: Frr) -> Iterable[str]:
    """The lines of frr.conf after its head; rules of an interface are sorted."""
    for name, rules in sorted(frr.interfaces.items()):
        yield from ("!", f"interface {name}", *(f" {rule}" for rule in sorted(rules)))
    for name, rules in sorted(frr.routers.items()):
        yield from ("!", f"router {name}", *(f" {rule}" for rule in rules), "exit")
    yield "!"
    for name, entries in sorted(frr.lists.items()):
        for seq in sorted(entries, key=str):
            yield f"ip prefix-list {name} seq {seq} {entries[seq]}"
    for name, maps in sorted(frr.route_maps.items()):
        for order, rules in enumerate(maps, 1):
            yield from ("!", f"route-map {name} permit {order}")
            yield from (*(f" {rule}" for rule in rules), "exit")
    yield from ("!", "line vty", "!", "")


def own(controllers: str, frr: Frr) -> None:
    """What the controllers themselves need: here a BGP process for each with an ASN."""
    for asn in re.findall(r"^\s+asn (\d+)", controllers, re.MULTILINE):
        frr.routers.setdefault(f"bgp {asn}", []).append("no bgp ebgp-requires-policy")


def apply(_options: dict[str, str]) -> None:
    """Write FRR's files and restart it, where SDN routes or is told to."""
    sections = [_read(pmxcfs.ROOT / f"sdn/{kind}.cfg") for kind in ("controllers", "fabrics")]
    local = FRR / "frr.conf.local"
    if not any(map(str.strip, sections)) and not local.exists():
        return
    frr = Frr()
    own(sections[0], frr)
    merge(_read(local), frr)
    head = HEAD.format(name=socket.gethostname())
    (FRR / "frr.conf").write_text(head + "\n".join(written(frr)))
    daemons = _read(FRR / "daemons")
    switches = {"bgpd": "yes" if frr.routers else "no",
                "ospfd": "yes" if "ospf_fabric:" in sections[1] else "no"}
    for daemon, value in switches.items():
        daemons = re.sub(rf"^{daemon}=\w+$", f"{daemon}={value}", daemons, flags=re.MULTILINE)
    (FRR / "daemons").write_text(daemons)
    subprocess.run(["/usr/lib/frr/frrinit.sh", "restart"], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
