"""PVE::Network: a guest's host-side interface and its way to the bridge."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

SYS = Path("/sys/class/net")


class NetworkError(Exception):
    """The text is PVE's."""


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"command 'ip {' '.join(words)}' failed: {done.stderr.strip()}")


def bridge_mtu(bridge: str) -> int:
    try:
        return int((SYS / bridge / "mtu").read_text())
    except FileNotFoundError:
        raise NetworkError(f"bridge '{bridge}' does not exist") from None


def plug(veth: str, net: dict[str, str]) -> None:
    """net_tap_plug: onto the bridge, over the firewall's own bridge with firewall=1."""
    if net.get("link_down") == "1":
        ip("link", "set", veth, "down")
        return
    bridge = net["bridge"]
    bridge_mtu(bridge)
    if not (SYS / bridge / "bridge").is_dir():
        raise NetworkError(f"bridge '{bridge}' is neither a linux nor an OVS bridge!")
    _drop_firewall_bridge(veth)
    tag = net.get("tag", "")
    if tag and not vlan_aware(bridge):
        bridge, tag = vlan_bridge(bridge, int(tag)), ""
    port = _firewall_chain(veth, bridge) if net.get("firewall") == "1" else veth
    ip("link", "set", port, "master", bridge)
    if tag:
        subprocess.run(
            ["bridge", "vlan", "add", "dev", port, "vid", tag, "pvid", "untagged"], check=True
        )
    ip("link", "set", veth, "up")


def unplug(veth: str) -> None:
    """tap_unplug; the interface itself may be gone already."""
    if (SYS / veth / "brport").exists():
        ip("link", "set", veth, "nomaster")
    _drop_firewall_bridge(veth)


def delete(veth: str) -> None:
    if (SYS / veth).exists():
        ip("link", "del", veth)
    unplug(veth)


def vlan_aware(bridge: str) -> bool:
    """False too where the kernel's bridges know no VLANs."""
    entry = SYS / bridge / "bridge/vlan_filtering"
    return entry.exists() and entry.read_text().strip() == "1"


def vlan_bridge(bridge: str, tag: int) -> str:
    """<bridge>v<tag>. PVE also puts a VLAN port of the bridge's uplink in it; the kernels the
    lab is to run on need not have VLAN devices, so here it is a bridge of guests alone."""
    name = f"{bridge}v{tag}"
    if not (SYS / name).exists():
        ip("link", "add", name, "type", "bridge")
        ip("link", "set", name, "mtu", str(bridge_mtu(bridge)))
    ip("link", "set", name, "up")
    return name


def firewall_names(veth: str) -> tuple[str, str, str]:
    """veth101i0 or tap101i0 → fwbr101i0, fwln101i0, fwpr101p0."""
    vmid, number = veth.removeprefix("veth").removeprefix("tap").split("i")
    return f"fwbr{vmid}i{number}", f"fwln{vmid}i{number}", f"fwpr{vmid}p{number}"


def _firewall_chain(veth: str, bridge: str) -> str:
    """veth → fwbr ← fwln = fwpr; the last is to be the bridge's port."""
    fwbr, fwln, fwpr = firewall_names(veth)
    mtu = str(bridge_mtu(bridge))
    ip("link", "add", fwbr, "mtu", mtu, "type", "bridge", "forward_delay", "0")
    ip("link", "set", fwbr, "up")
    ip("link", "add", fwln, "mtu", mtu, "type", "veth", "peer", "name", fwpr, "mtu", mtu)
    for name, master in ((fwln, fwbr), (veth, fwbr)):
        ip("link", "set", name, "master", master)
    for name in (fwln, fwpr):
        ip("link", "set", name, "up")
    return fwpr


def _drop_firewall_bridge(veth: str) -> None:
    fwbr, fwln, _ = firewall_names(veth)
    for name in (fwln, fwbr):
        if (SYS / name).exists():
            ip("link", "del", name)


def guest_commands(nets: dict[int, dict[str, str]]) -> list[str]:
    """What a guest does at its start: the work of /etc/network/interfaces as PVE writes it."""
    lines = []
    for net in nets.values():
        name = net["name"]
        lines.append(f"ip link set {name} up")
        for family, suffix in (("-4", ""), ("-6", "6")):
            address, gateway = net.get(f"ip{suffix}", ""), net.get(f"gw{suffix}", "")
            if "/" not in address:
                continue  # dhcp, manual, auto: not ours to do
            lines.append(f"ip {family} addr add {address} dev {name}")
            if gateway:
                lines += gateway_commands(family, name, address, gateway)
    return lines


def gateway_commands(family: str, name: str, address: str, gateway: str) -> list[str]:
    """A gateway outside of the guest's subnet gets a route of its own first."""
    lines = []
    if ipaddress.ip_address(gateway) not in ipaddress.ip_interface(address).network:
        lines.append(f"ip {family} route add {gateway} dev {name}")
    return [*lines, f"ip {family} route add default via {gateway} dev {name}"]
