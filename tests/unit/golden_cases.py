"""The cases of tests/unit/golden and the dialects each is written in.

`python3 -m tests.unit.golden_cases` writes the files anew; look at the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from pve_ospf.config import parse
from pve_ospf.frrconf import block
from pve_ospf.interfaces import classify
from pve_ospf.keys import parse as parse_keys
from pve_ospf.model import Interface
from pve_ospf.ospfd import Dialect, OspfdConfig, Part, build, render

GOLDEN = Path(__file__).with_name("golden")

QUAGGA = Dialect((1, 2, 4))
FRR_7_5 = Dialect((7, 5, 1))
FRR_8_4 = Dialect((8, 4, 4))
FRR_8_5 = Dialect((8, 5, 2))
FRR_9_0 = Dialect((9, 0, 1))
FRR_9_1 = Dialect((9, 1, 3))
FRR_10_3 = Dialect((10, 3))
FRR_10_7 = Dialect((10, 7, 1))

CURRENT = (FRR_8_4, FRR_8_5, FRR_9_0, FRR_9_1, FRR_10_3, FRR_10_7)
"""One text serves them all: test_ospfd holds that."""

FILES: dict[str, tuple[tuple[Dialect, ...], Part | None]] = {
    "frr.conf": (CURRENT, None),
    "split-zebra.conf": (CURRENT, "zebra"),
    "split-ospfd.conf": (CURRENT, "ospfd"),
    "frr-7.5.conf": ((FRR_7_5,), None),
    "frr-7.5-split-zebra.conf": ((FRR_7_5,), "zebra"),
    "frr-7.5-split-ospfd.conf": ((FRR_7_5,), "ospfd"),
    "quagga-ospfd.conf": ((QUAGGA,), "ospfd"),
}


def interface(name: str, kind: str, *addresses: str, master: str | None = None) -> Interface:
    return Interface(0, name, kind, addresses=tuple(map(IPv4Interface, addresses)), master=master)


LOOPBACK = interface("lo", "", "127.0.0.1/8")
UPLINK = interface("vmbr0", "bridge", "192.0.2.11/24")
NIC = interface("eno1", "", master="vmbr0")
SECOND_UPLINK = interface("bond0.20", "vlan", "192.0.2.130/26")
GUESTS = interface("vmbr1", "bridge", "169.254.1.1/32")
MORE_GUESTS = interface("vmbr2", "bridge")
VXLAN = interface("vxlan7", "vxlan", "10.99.0.1/24")
OPENVPN = interface("tun0", "tun", "10.98.0.1/32")


@dataclass(frozen=True)
class Case:
    """A configuration on a node with some interfaces."""

    name: str
    yaml: str
    interfaces: tuple[Interface, ...]
    oldest: Dialect = QUAGGA
    """Older ones are refused."""

    def speaks(self, dialect: Dialect) -> bool:
        return dialect.version >= self.oldest.version

    def build(self, dialect: Dialect) -> OspfdConfig:
        config = parse(self.yaml, "pve-ospf.yaml", "pve1")
        return build(config, classify(config, self.interfaces), dialect, self.interfaces,
                     parse_keys(KEYS, "keys.yaml"))

    def texts(self) -> Iterator[tuple[Path, str]]:
        for name, (dialects, part) in FILES.items():
            dialect = next(filter(self.speaks, dialects), None)
            if dialect:
                yield GOLDEN / self.name / name, block(render(self.build(dialect), part))


KEYS = """\
lan: {type: md5, id: 1, key: "k#3&y$%*+,./:;<="}
other: {type: md5, id: 255, key: "@^_~()[]{}-Aa0zZ"}
site:
  type: hmac-sha-256
  id: 7
  key: "a-key-of-63-characters-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
"""
ALLOW = "allow: [198.51.100.0/24, 203.0.113.7/32]\n"

CASES = (
    Case("one-uplink", ALLOW, (LOOPBACK, UPLINK, NIC, GUESTS)),
    Case("two-uplinks-and-tunnels", ALLOW,
         (LOOPBACK, UPLINK, NIC, SECOND_UPLINK, GUESTS, VXLAN, OPENVPN)),
    Case("high-cost", ALLOW + "tunnels: {policy: high-cost, cost: 60000}\n",
         (LOOPBACK, UPLINK, NIC, GUESTS, VXLAN, OPENVPN)),
    Case("a-policy-for-each-tunnel",
         ALLOW + "tunnels: {interfaces: [auto, {name: tun0, policy: high-cost, cost: 20000}]}\n",
         (LOOPBACK, UPLINK, NIC, GUESTS, VXLAN, OPENVPN)),
    Case("bound-to-bridges",
         "allow:\n"
         "- 198.51.100.0/24\n"
         "- 198.51.100.128/25\n"  # covered by the one above
         "- {prefix: 203.0.113.0/28, bridges: [vmbr1]}\n"
         "- {prefix: 203.0.113.16/28, bridges: [vmbr2], guests: [101]}\n",
         (LOOPBACK, UPLINK, NIC, GUESTS, MORE_GUESTS)),
    Case("no-guest-bridge", ALLOW, (LOOPBACK, UPLINK, NIC)),
    Case("nothing-allowed", "allow: []\n", (LOOPBACK, UPLINK, NIC, GUESTS)),
    Case("slow-timers-area-1",
         ALLOW + "area: 1\nrouter-id: 10.0.0.1\nhello-interval: 10\ndead-interval: 40\n",
         (LOOPBACK, UPLINK, NIC, GUESTS)),
    Case("guests-on-the-uplink", ALLOW + "guest-bridges: [auto, vmbr0]\n",
         (LOOPBACK, UPLINK, NIC, GUESTS)),
    Case("uplinks-of-their-own",
         ALLOW + "transit: true\ncost: 30\n"
         "uplinks:\n- {name: vmbr0, network: point-to-point, minimal-hellos: 5}\n"
         "- {name: bond0.20, cost: 200, network: broadcast, hello-interval: 2, dead-interval: 8}\n",
         (LOOPBACK, UPLINK, NIC, SECOND_UPLINK, GUESTS)),
    Case("uplinks-of-two-costs",
         ALLOW + "uplinks: [vmbr0, {name: bond0.20, cost: 200}]\n",
         (LOOPBACK, UPLINK, NIC, SECOND_UPLINK, GUESTS, VXLAN)),
    Case("two-uplinks-and-high-cost", ALLOW + "tunnels: {policy: high-cost}\n",
         (LOOPBACK, UPLINK, NIC, SECOND_UPLINK, GUESTS, VXLAN)),
    Case("bfd", ALLOW + "bfd: true\n", (LOOPBACK, UPLINK, NIC, GUESTS), FRR_7_5),
    Case("md5", ALLOW + "transit: true\nauthentication: lan\n"
         "uplinks: [vmbr0, {name: bond0.20, authentication: other}]\n",
         (LOOPBACK, UPLINK, NIC, SECOND_UPLINK, GUESTS)),
    Case("hmac-sha", ALLOW + "transit: true\nauthentication: site\n"
         "uplinks: [vmbr0, {name: bond0.20, authentication: none}]\n",
         (LOOPBACK, UPLINK, NIC, SECOND_UPLINK, GUESTS), FRR_9_1),
    Case("names-of-15-characters", ALLOW,
         (LOOPBACK, interface("enx0123456789ab", "", "192.0.2.11/24"),
          interface("vmbr-guests.100", "bridge"), interface("a.tunnel_of-15c", "vxlan"))),
)


def main() -> None:
    for case in CASES:
        for path, text in case.texts():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    main()
