"""The lab's cabling: one bridge per LAN in a network namespace of its own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.lab.process import LabError, Result, Word, run


class Wire:
    """The namespace that holds every LAN of one lab; it runs nothing."""

    def __init__(self) -> None:
        script = "ip link set lo up; echo; exec sleep infinity"
        self._process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout
        if not self._process.stdout.readline():
            raise LabError("no network namespace for the lab's LANs")
        self._process.stdout.close()
        self._ports = 0

    def run(self, argv: Sequence[Word]) -> Result:
        """Run a program in the wire's network namespace."""
        return run(self.enter(argv))

    def enter(self, argv: Sequence[Word]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._process.pid}/ns/net", *(str(word) for word in argv)]

    def ip(self, lines: Iterable[str]) -> None:
        """Hand command lines to `ip -batch`."""
        run(self.enter(["ip", "-batch", "-"]), stdin="\n".join(lines) + "\n")

    def next_port(self) -> str:
        self._ports += 1
        return f"port{self._ports}"

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True)
class Leg:
    """A machine's cable: `name` inside the machine, `port` on the LAN's bridge."""

    lan: Lan
    name: str
    port: str

    def down(self) -> None:
        """Pull the cable: the machine sees the carrier go, but its own link stays up."""
        self.lan.touched += 1
        self.lan.wire.ip([f"link set {self.port} down"])

    def up(self) -> None:
        self.lan.wire.ip([f"link set {self.port} up"])

    def impair(self, *netem: str) -> None:
        """Loss or delay towards the machine, as tc-netem says it: impair("loss", "10%").

        Raises CommandFailed where the kernel has no netem.
        """
        self.lan.touched += 1
        self.lan.wire.run(["tc", "qdisc", "replace", "dev", self.port, "root", "netem", *netem])

    def repair(self) -> None:
        self.lan.wire.run(["tc", "qdisc", "del", "dev", self.port, "root"])


class Lan:
    """One LAN: a bridge that floods what it does not know, and nothing else."""

    def __init__(self, wire: Wire, name: str) -> None:
        if len(name) > 15:
            raise LabError(f"LAN name {name!r} is longer than an interface name may be (15)")
        self.wire = wire
        self.name = name
        self.touched = 0
        """How often a cable was pulled or impaired."""
        wire.ip(
            [
                f"link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                f"link set {name} up",
            ]
        )

    def attach(self, pid: int, name: str) -> Leg:
        """Lay a cable to the machine whose PID 1 is `pid`; it appears there as `name`."""
        port = self.wire.next_port()
        self.wire.ip(
            [
                f"link add {port} type veth peer name {name} netns {pid}",
                f"link set {port} master {self.name}",
                f"link set {port} up",
            ]
        )
        return Leg(self, name, port)

    def capture(self, count: int, expression: str, timeout: float) -> str:
        """What tcpdump prints for `count` packets that match; "" when they did not come.

        `timeout` is in seconds. Needs tcpdump on the machine that runs the lab.
        """
        words = ["timeout", f"{timeout:g}", "tcpdump", "-l", "-n", "-e", "-i", self.name]
        return run(
            self.wire.enter([*words, "-c", count, expression]), check=False, timeout=timeout + 5
        ).stdout
