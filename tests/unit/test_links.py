"""Links of every kind, as a real kernel tells of them: which are tunnels, and nothing but those.

The capture is of Linux 6.1 in a virtual machine (captures/links); the lab's own machines can make
VXLAN, tun, bridges and veths only.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from pve_ospf import rtmessage
from pve_ospf.config import Config, NameList, Tunnels
from pve_ospf.interfaces import Roles, classify
from pve_ospf.model import Interface

CAPTURE = Path(__file__).with_name("captures") / "kernel/links.json"
KINDS = {
    "gre1": "gre", "gretap1": "gretap", "gretap2": "gretap", "erspan1": "erspan",
    "ip6gre1": "ip6gre", "ip6gretap1": "ip6gretap", "ipip1": "ipip", "fou1": "ipip", "sit1": "sit",
    "ip6tnl1": "ip6tnl", "vti1": "vti", "vti6one": "vti6", "xfrm1": "xfrm", "geneve1": "geneve",
    "wg0": "wireguard", "vxlan1": "vxlan", "vxlan2": "vxlan", "tun0": "tun", "l2tp1": "l2tpeth"}
STACKED = {"geneve1.5": "vlan", "macvlan1": "macvlan", "ipvlan1": "ipvlan", "bond7": "bond",
           "bond7.7": "vlan", "vmbr9": "bridge"}
OTHERS = {"eno1": "dummy", "eno2": "dummy", "bond1": "bond", "bond1.20": "vlan",
          "vmbr0": "bridge", "vmbr0.30": "vlan"}


@pytest.fixture(scope="module")
def links() -> tuple[Interface, ...]:
    """All of them, each that is no port with an address."""
    capture = json.loads(CAPTURE.read_text())
    found = [rtmessage.link(message) for lines in capture["links"]
             for message in rtmessage.dumped(bytes.fromhex("".join(lines)))[0]]
    names = {link.index: link.name for link in found}
    address = (IPv4Interface("10.7.0.1/24"),)
    return tuple(
        Interface(link.index, link.name, link.kind or capture["devtypes"].get(link.name, ""),
                  link.mac, master=names.get(link.master), lower=names.get(link.lower),
                  addresses=() if link.master or "vmbr1" in link.name else address)
        for link in found if link.name in {*KINDS, *STACKED, *OTHERS, "vmbr1", "vmbr1.40",
                                           "veth101i0"})


def _names(roles: Roles) -> tuple[set[str], set[str], set[str]]:
    return ({i.name for i in roles.uplinks}, {i.name for i in roles.guest_bridges},
            {i.name for i in roles.tunnels})


def test_kinds_are_read(links: tuple[Interface, ...]) -> None:
    kinds = {i.name: i.kind for i in links}
    assert {name: kinds.get(name) for name in KINDS} == KINDS
    assert {name: kinds.get(name) for name in STACKED} == STACKED


def test_exactly_tunnels_and_what_is_stacked_on_them_stay_out(
        links: tuple[Interface, ...]) -> None:
    uplinks, guests, tunnels = _names(classify(Config(allow=()), links))
    assert tunnels == {*KINDS, *STACKED}
    assert uplinks == {"bond1", "bond1.20", "vmbr0", "vmbr0.30"}
    assert guests == {"vmbr1", "vmbr1.40"}


def test_let_in_by_name_the_others_stay_out(links: tuple[Interface, ...]) -> None:
    tunnels = Tunnels(interfaces=NameList(True, ("wg*",)),
                      own=(("wg*", {"policy": "high-cost", "cost": 20000}),))
    roles = classify(Config(allow=(), tunnels=tunnels), links)
    assert roles.dear == {"wg0"}
    assert _names(roles)[2] == {*KINDS, *STACKED}
