"""Pure: is OSPF itself well on this node (daemons, interfaces, areas, neighbours)?"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .evidence import NEEDED_DAEMONS, Daemons, Readings, Unread, known
from .lsdb import Neighbour, OspfInterface
from .model import Finding, Interface
from .ospfpacket import Difference, Ours, differences


def daemon_findings(daemons: Daemons) -> Iterator[Finding]:
    if not daemons.at_boot:
        yield Finding("frr-disabled", "FRR", "does not start at boot", "pve-ospf apply")
    for name in NEEDED_DAEMONS:
        if name not in daemons.enabled:
            runs = ("will not run after the next start of FRR" if name in daemons.running
                    else "does not run")
            yield Finding("daemon-disabled", name, f"is not enabled and {runs}", "pve-ospf apply")
        elif name not in daemons.running:
            yield Finding("daemon-stopped", name, "does not run",
                          "systemctl restart frr; then: journalctl -u frr")


def neighbour_fine(neighbour: Neighbour,
                   ospf: Collection[OspfInterface] | None | Unread) -> bool:
    """Full; or 2-Way between two DROthers, which is all that ever comes of those on a LAN.

    Where our own role could not be read, it may be that of a DROther.
    """
    if neighbour.full:
        return True
    if isinstance(ospf, Unread):
        return (neighbour.state, neighbour.role) == ("2-Way", "DROther")
    own = next((i.state for i in ospf or () if i.name == neighbour.interface), "")
    return (neighbour.state, neighbour.role, own) == ("2-Way", "DROther", "DROther")


def ospf_findings(readings: Readings) -> Iterator[Finding]:
    """What is wrong with interfaces, areas and neighbours."""
    if readings.ospf is None:
        yield Finding("no-ospf", "FRR", "has no OSPF configuration", "pve-ospf apply")
        return
    speaking = {i.name: i for i in readings.ospf_interfaces if i.enabled}
    for uplink in readings.roles.uplinks:
        if not uplink.up or uplink.name in readings.unplugged:
            yield Finding("uplink-down", uplink.name, "is an uplink and has no link",
                          "check it, its ports and cables: ip link")
        else:
            yield from _uplink(uplink, speaking.get(uplink.name), readings)
    for neighbour in known(readings.neighbours, ()):
        if not neighbour_fine(neighbour, speaking.values()):
            yield _neighbour(neighbour, [
                d for d in _differences(readings, neighbour.interface)
                if d.router.startswith(f"{neighbour.router_id} ")])
    for interface in speaking.values():
        yield from _area(interface)
        yield from _trespassing(readings, interface)


def _differences(readings: Readings, name: str) -> tuple[Difference, ...]:
    """What routers overheard on an interface say otherwise than this node."""
    there = readings.overheard.get(name)
    ospf = next((i for i in readings.ospf_interfaces if i.enabled and i.name == name), None)
    link = next((u for u in readings.roles.uplinks if u.name == name), None)
    if not there or not ospf or not link:
        return ()
    return differences(
        there.said, Ours(ospf, link, there.authentication, there.key_id, there.mtu))


def _uplink(uplink: Interface, ospf: OspfInterface | None,
            readings: Readings) -> Iterator[Finding]:
    neighbours = readings.neighbours
    if ospf is None or ospf.passive:
        what = "does not speak OSPF" if ospf is None else "is passive in OSPF"
        yield Finding("uplink-without-ospf", uplink.name, f"is an uplink and {what}",
                      "pve-ospf apply")
    elif not isinstance(neighbours, Unread) and not any(
            n.full and n.interface == uplink.name for n in neighbours):
        message, fix = _why(uplink, ospf, neighbours, readings)
        yield Finding("no-neighbour", uplink.name,
                      f"is an uplink, but has no neighbour that is Full{message}", fix)


def _why(uplink: Interface, ospf: OspfInterface, neighbours: Collection[Neighbour],
         readings: Readings) -> tuple[str, str]:
    """Why an uplink has no neighbour, as far as can be said, and the way out."""
    firewall = "the firewall must let protocol 89 in (Proxmox's macro OSPF)"
    there = readings.overheard.get(uplink.name)
    found = _differences(readings, uplink.name)
    if found:
        return f": {_told(found)}", _both_the_same(found)
    if there and there.said and not any(n.interface == uplink.name for n in neighbours):
        routers = ", ".join(sorted({str(said.router_id) for said in there.said}))
        keys = any(said.key_id is not None for said in there.said)
        return (f": OSPF of router {routers} comes in and fits, but FRR does not take it",
                f"{firewall}{', and the keys must be the same' if keys else ''}")
    return (": no router is heard there" if there and not there.said else "",
            f"a router there must speak OSPF in area {ospf.area} with hello "
            f"{ospf.hello_interval:g} s and dead {ospf.dead_interval} s, and {firewall}")


def _told(found: Collection[Difference]) -> str:
    routers = sorted({d.router for d in found})
    return "; ".join(f"of router {router} the " + ", the ".join(
        str(d) for d in found if d.router == router) for router in routers)


def _both_the_same(found: Collection[Difference]) -> str:
    if any(d.what == "area's kind" for d in found):
        return ("make the area an ordinary one on all its routers, or set another `area`: guests' "
                "addresses cannot leave a stub area or an NSSA")
    return ("make both sides the same: here in pve-ospf.yaml, or there by what `pve-ospf generate "
            "--router` prints")


_STATES = {
    "Attempt": "it was never heard: check the firewall (protocol 89) and that it speaks OSPF",
    "Init": "it does not hear us: check its firewall and authentication, and that no guest sends "
            "OSPF",
    "2-Way": "it should become Full with us: check the routers' priorities",
    "ExStart": "mostly the MTU differs: compare `ip link` on both sides",
    "Exchange": "mostly the MTU differs: compare `ip link` on both sides",
    "Loading": "it does not answer our requests: look at its log",
    "Down": "it is not heard any more: check the cable, the switch, the router",
}


def _neighbour(neighbour: Neighbour, found: Collection[Difference]) -> Finding:
    text = f"neighbour {neighbour.address} on {neighbour.interface} stays in {neighbour.state}"
    if found:
        return Finding("neighbour-state", str(neighbour.router_id), f"{text}: {_told(found)}",
                       _both_the_same(found))
    return Finding("neighbour-state", str(neighbour.router_id), text,
                   _STATES.get(neighbour.state,
                               "see: vtysh -c 'show ip ospf neighbor detail'"))


def _area(interface: OspfInterface) -> Iterator[Finding]:
    if interface.area_kind == "normal":
        return
    kind = "an NSSA" if interface.area_kind == "nssa" else "a stub area"
    why = ("guests' addresses leave it by way of a border router that translates them, or not at "
           "all, and the way back can run through a tunnel" if interface.area_kind == "nssa"
           else "no external route is carried in it, so no guest is announced")
    yield Finding(f"{interface.area_kind}-area", interface.name,
                  f"is in area {interface.area}, {kind}: {why}",
                  "make the area an ordinary one on all its routers, or set another `area`")


def _trespassing(readings: Readings, interface: OspfInterface) -> Iterator[Finding]:
    """OSPF where it must not be: on tunnels, unless their policy is high-cost, and on guest
    bridges. Passive is too much already: the subnet shows in everybody's routing table."""
    roles, cost = readings.roles, readings.config.tunnels.cost_of(interface.name)
    doing = "its subnet is announced by" if interface.passive else "speaks"
    if any(interface.name == tunnel.name for tunnel in roles.tunnels):
        if cost is None:
            yield Finding("tunnel-in-ospf", interface.name, f"is a tunnel and {doing} OSPF: "
                          "users' traffic may run over it", "pve-ospf apply")
        elif interface.cost < cost:
            yield Finding("tunnel-cost", interface.name, f"is a tunnel with cost {interface.cost} "
                          f"instead of {cost}", "pve-ospf apply")
    elif roles.is_guest_bridge(interface.name) and not roles.is_uplink(interface.name):
        yield Finding("guest-bridge-in-ospf", interface.name, f"is a guest bridge and {doing} "
                      "OSPF: a guest could become a router", "pve-ospf apply")
