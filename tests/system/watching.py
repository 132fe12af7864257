"""What the tests of the agent look at while it works: routes that come and go, LSAs on the wire."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import service
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result, kill_group

PACKAGE = "/usr/lib/python3/dist-packages/pve_ospf"
HOOK = "/var/lib/vz/snippets/pve-ospf"
HOOK_ENVIRONMENT = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "LC_ALL": "C"}


@dataclass(frozen=True)
class Event:
    """A route that came (or was replaced) or went, at `at` seconds of the clock."""

    at: float
    gone: bool


class Monitor:
    """`ip monitor route` in a machine, from when it is made until close()."""

    _number = 0

    def __init__(self, machine: Machine) -> None:
        Monitor._number += 1
        name = f"/run/monitor{Monitor._number}"
        self._log = Path(f"/proc/{machine.pid}/root{name}")
        # A route to nowhere, made and taken away until it is seen: from then on all is seen.
        self._process = machine.popen(
            ["sh", "-c", f"exec stdbuf -oL ip -ts monitor route >{name}"])
        mark = "ip route add blackhole 192.0.2.253 proto 99; ip route del blackhole 192.0.2.253"
        poll(lambda: machine.sh(mark) or self.events("192.0.2.253", "blackhole "), 10,
             "the monitor sees")

    def events(self, address: str, kind: str = "") -> list[Event]:
        """What happened to the host's route in the main table so far."""
        found = []
        pattern = re.compile(rf"\[(\S+)\] (Deleted )?{kind}{re.escape(address)} (?!.*table )")
        for line in self._log.read_text().splitlines() if self._log.exists() else []:
            if match := pattern.match(line):
                found.append(Event(_seconds(match[1]), bool(match[2])))
        return found

    def changes(self, address: str) -> list[str]:
        """The same in words: "came" and "went", replacements of what is there left out."""
        words = ["went" if event.gone else "came" for event in self.events(address)]
        return [word for n, word in enumerate(words) if n == 0 or word != words[n - 1]]

    def outages(self, address: str) -> list[float]:
        """Seconds from each withdrawal to the next announcement."""
        found, since = [], None
        for event in self.events(address):
            if event.gone:
                since = event.at
            elif since is not None:
                found.append(event.at - since)
                since = None
        return found

    def close(self) -> None:
        kill_group(self._process)


@contextmanager
def monitored(machine: Machine) -> Iterator[Monitor]:
    monitor = Monitor(machine)
    try:
        yield monitor
    finally:
        monitor.close()


def _seconds(stamp: str) -> float:
    """iproute2's short timestamp, local time with microseconds."""
    whole, _, fraction = stamp.partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction}")


class LsaCapture:
    """The type-5 LSAs that a node sends into its LAN, told apart by sequence number and age."""

    _LSA = re.compile(r"Advertising Router (\S+), seq (\S+), age (\S+),")

    def __init__(self, lab: Lab, lan: str, router_id: str) -> None:
        self._router = router_id
        self._path = lab.directory / f"lsa-{router_id}"
        words = ["tcpdump", "-l", "-n", "-tt", "-v", "-i", lan,
                 f"ip proto 89 and src host {router_id}"]
        with self._path.open("w") as out:
            self._process = subprocess.Popen(
                lab.wire.enter(words), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.DEVNULL, start_new_session=True)
        poll(lambda: "Hello" in self._path.read_text(), 10, "tcpdump sees")

    def times(self, address: str) -> list[float]:
        """When each new LSA of the address was sent first. Retransmissions do not count."""
        seen: dict[tuple[str, bool], float] = {}
        at, key = 0.0, ("", False)
        for line in self._path.read_text().splitlines():
            if re.match(r"\d+\.\d+ IP", line):
                at = float(line.split()[0])
            elif match := self._LSA.search(line):
                key = match[2], match[3] == "3600s"
            elif f"External LSA (5), LSA-ID: {address}" in line and key[0]:
                seen.setdefault(key, at)
        return sorted(seen.values())

    def close(self) -> None:
        kill_group(self._process)


@contextmanager
def lsas(lab: Lab, lan: str, router_id: str) -> Iterator[LsaCapture]:
    capture = LsaCapture(lab, lan, router_id)
    try:
        yield capture
    finally:
        capture.close()


def hook(node: Node, vmid: int, phase: str, **environment: str) -> Result:
    """The hookscript as Proxmox calls it."""
    return node.run([HOOK, vmid, phase], check=False, env=HOOK_ENVIRONMENT | environment)


def would_do(node: Node) -> str:
    """What a sync would change now."""
    return node.run(["pve-ospf", "sync", "--dry-run"], check=False).stdout


def right(node: Node, deadline: float = 10) -> None:
    """Wait until a sync would find nothing to do."""
    poll(lambda: not would_do(node), deadline, f"{node.name} is as it should be")


def syslog(node: Node) -> str:
    return node.read("/var/log/syslog")


@contextmanager
def said(node: Node, words: str, deadline: float = 10) -> Iterator[None]:
    """At the end waits until the log has a new line with `words`."""
    before = syslog(node).count(words)
    yield
    poll(lambda: syslog(node).count(words) > before, deadline, f"the log says {words!r}")


@contextmanager
def changed_program(node: Node, module: str, old: str, new: str) -> Iterator[None]:
    """With another line in a module of the installed package, as a control; the agent is
    started anew."""
    path = f"{PACKAGE}/{module}.py"
    text = node.read(path)
    assert f"\n{old}\n" in text, f"{module} has no line {old!r}"
    with service.stopped(node):
        node.write(path, text.replace(f"\n{old}\n", f"\n{new}\n"))
    try:
        yield
    finally:
        with service.stopped(node):
            node.write(path, text)


@contextmanager
def not_importable(node: Node) -> Iterator[None]:
    """As in the middle of an upgrade: the package is not there."""
    node.sh(f"mv {PACKAGE} {PACKAGE}.away")
    try:
        yield
    finally:
        node.sh(f"mv {PACKAGE}.away {PACKAGE}")
