"""A container that means harm: whatever frames and packets it likes, and an OSPF router in it."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from socket import inet_aton

from tests.lab.node import Node
from tests.lab.process import Result, Word

SENDER = "/tmp/sender.py"
# Packets as hexadecimal lines: `sender.py ROUNDS PAUSE`, from the network it is started in.
SENDING = """
import socket, sys, time
rounds, pause = int(sys.argv[1]), float(sys.argv[2])
packets = [bytes.fromhex(line) for line in sys.stdin.read().split()]
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
out.setsockopt(socket.SOL_SOCKET, 25, b"eth0")
for _ in range(rounds):
    for packet in packets:
        out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
    time.sleep(pause)
"""
ROUTER = "/etc/frr/hostile"
ROUTER_ID = "192.0.2.66"
"""Not the guest's address: as a router's it would be withdrawn once the area knows of it."""
OSPFD = """\
interface eth0
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 3
 ip ospf area 0
router ospf
 ospf router-id {router_id}
 redistribute kernel
"""


def packet(source: str, target: str, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    """An IPv4 packet; the kernel puts its checksum in."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, ttl, protocol, 0)
    return head + inet_aton(source) + inet_aton(target) + payload


def udp(source: str, target: str, port: int, from_port: int = 40000) -> bytes:
    """A UDP packet without a checksum, which is allowed."""
    return packet(source, target, 17, struct.pack("!HHHH", from_port, port, 12, 0) + b"test")


def hello(source: str, target: str) -> bytes:
    """An OSPF hello in the name of a router that has heard of nobody: whoever believes it
    takes the adjacency back to Init. Area 0, hello 1 s, dead 3 s, a /24."""
    rest = inet_aton("255.255.255.0") + struct.pack("!HBBI", 1, 2, 1, 3) + bytes(8)
    head = struct.pack("!BBH", 2, 1, 24 + len(rest)) + inet_aton(source) + bytes(4)
    sums = head + struct.pack("!HH", 0, 0) + rest
    total = sum(struct.unpack(f"!{len(sums) // 2}H", sums))
    total = (total >> 16) + (total & 0xFFFF)
    check = ~(total + (total >> 16)) & 0xFFFF
    return packet(source, target, 89, head + struct.pack("!HH", check, 0) + bytes(8) + rest)


@dataclass
class Hostile:
    """A running container of `node`, root in its own network."""

    node: Node
    vmid: int

    def __post_init__(self) -> None:
        self.node.write(SENDER, SENDING)
        self.pid = self.node.sh(f"lxc-info -n {self.vmid} -pH")

    def inside(self, *argv: Word) -> list[Word]:
        """The words that run `argv` in the container's network."""
        return ["nsenter", f"--target={self.pid}", "--net", "--", *argv]

    def run(self, *argv: Word, stdin: str = "") -> Result:
        return self.node.run(self.inside(*argv), stdin=stdin)

    def send(self, *packets: bytes, rounds: int = 1) -> None:
        """Sends them in their order."""
        self.run("/usr/bin/python3", SENDER, rounds, 0, stdin=_lines(packets))

    def keep_sending(self, *packets: bytes) -> subprocess.Popen[str]:
        """Sends them ten times a second until it is killed."""
        words = self.inside("/usr/bin/python3", SENDER, 10**6, 0.1)
        process = self.node.popen(words)
        assert process.stdin
        process.stdin.write(_lines(packets))
        process.stdin.close()
        return process

    def start_router(self, announcing: str) -> None:
        """FRR's own zebra and ospfd in the container's network, which speak to whoever hears."""
        self.run("ip", "route", "add", "blackhole", announcing)
        self.node.write(f"{ROUTER}/ospfd.conf", OSPFD.format(router_id=ROUTER_ID))
        self.node.sh(f"touch {ROUTER}/zebra.conf; mkdir -p /run/frr/hostile;"
                     f"chown -R frr:frr {ROUTER} /run/frr/hostile")
        for daemon in ("zebra", "ospfd"):
            self.run(f"/usr/lib/frr/{daemon}", "-N", "hostile", "-d", "-f",
                     f"{ROUTER}/{daemon}.conf")

    def stop_router(self) -> None:
        self.node.sh("for f in /run/frr/hostile/*.pid; do kill -9 $(cat $f) || :; done;"
                     f"rm -rf /run/frr/hostile {ROUTER}")


def _lines(packets: Iterable[bytes]) -> str:
    return "\n".join(each.hex() for each in packets)


def dropped(node: Node, why: str) -> int:
    """How many packets the guest filter's rule of that comment has counted."""
    table = json.loads(node.sh("nft -j list table netdev pve-ospf"))["nftables"]
    return sum(part["counter"]["packets"] for entry in table if "rule" in entry
               and entry["rule"].get("comment", "").startswith(why)
               for part in entry["rule"]["expr"] if "counter" in part)
