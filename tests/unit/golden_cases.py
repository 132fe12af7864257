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
from pve_ospf.model import Interface
from pve_ospf.ospfd import Dialect, OspfdConfig, Part, build, render

GOLDEN = Path(__file__).with_name("golden")

FRR_8_4 = Dialect((8, 4, 4))
FRR_10_7 = Dialect((10, 7, 1))
FRR_7_5 = Dialect((7, 5, 1))
QUAGGA = Dialect((1, 2, 4))

FILES: dict[str, tuple[Dialect, Part | None]] = {
    "frr.conf": (FRR_8_4, None),
    "split-zebra.conf": (FRR_8_4, "zebra"),
    "split-ospfd.conf": (FRR_8_4, "ospfd"),
    "frr-7.5.conf": (FRR_7_5, None),
    "quagga-ospfd.conf": (QUAGGA, "ospfd"),
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

    def build(self, dialect: Dialect) -> OspfdConfig:
        config = parse(self.yaml, "pve-ospf.yaml", "pve1")
        return build(config, classify(config, self.interfaces), dialect, self.interfaces)

    def texts(self) -> Iterator[tuple[Path, str]]:
        for name, (dialect, part) in FILES.items():
            yield GOLDEN / self.name / name, block(render(self.build(dialect), part))


ALLOW = "allow: [198.51.100.0/24, 203.0.113.7/32]\n"

CASES = (
    Case("one-uplink", ALLOW, (LOOPBACK, UPLINK, NIC, GUESTS)),
    Case("two-uplinks-and-tunnels", ALLOW,
         (LOOPBACK, UPLINK, NIC, SECOND_UPLINK, GUESTS, VXLAN, OPENVPN)),
    Case("high-cost", ALLOW + "tunnels: {policy: high-cost, cost: 60000}\n",
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
