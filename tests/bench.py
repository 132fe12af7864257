"""`make bench`: how long a started container takes to be known two hops away.

Each figure is compared with what a bare `ip route add` takes in the same lab in the same run,
for these machines are noisy. Exits 1 when the product is slower than 1.5 times that, on top
of the hook's own run time. Results are recorded in BENCHMARKS.md.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from tests.lab import topology
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group

ROUNDS = 20
LIMIT = 1.5
BARE, GUESTS = IPv4Address("203.0.113.1"), IPv4Address("198.51.100.1")
TIMED_HOOK = """\
#!/bin/sh
begin=$(date +%s.%N)
/usr/libexec/pve-ospf/hookscript "$@"
code=$?
echo "$1 $2 $begin $(date +%s.%N)" >>/run/hook-times
exit $code
"""


class Watch:
    """`ip monitor route` on a machine: when did its kernel get a route to a host?"""

    def __init__(self, machine: Machine) -> None:
        self._log = Path(f"/proc/{machine.pid}/root/run/watch")
        self._process = machine.popen(["sh", "-c", "stdbuf -oL ip -ts monitor route "
                                       ">/run/watch"])
        poll(self._log.exists, 5, "the monitor writes")

    def seen(self, address: IPv4Address) -> float:
        """Seconds of the clock at which the route to the host appeared; polls for 15 s."""
        return poll(lambda: self._find(address), 15, f"a route to {address}", every=0.005)

    def _find(self, address: IPv4Address) -> float:
        for line in self._log.read_text().splitlines():
            stamp, _, event = line.partition("] ")
            if event.startswith(f"{address} "):
                return _seconds(stamp.lstrip("["))
        return 0.0

    def close(self) -> None:
        kill_group(self._process)


def _seconds(stamp: str) -> float:
    """iproute2's short timestamp, local time with microseconds."""
    whole, _, fraction = stamp.partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction}")


def main(deb: Path) -> int:
    """Measures, prints a table in milliseconds, and says whether the limit holds."""
    with topology.demo(deb=deb) as lab:
        node = lab.node("pve1")
        node.write("/etc/pve/pve-ospf.yaml", f"allow: [{GUESTS - 1}/24, {BARE - 1}/24]\n")
        node.run(["pve-ospf", "apply"], timeout=120)
        poll(lambda: node.full(1), 30, "pve1 is adjacent")
        here, far = Watch(node), Watch(lab.router("r3"))
        try:
            bare = _rounds("bare ip route add", lambda n: _bare(node, far, BARE + n))
            ours = _guests(lab, here, far)
        finally:
            here.close()
            far.close()
    return _report([b for (b,) in bare], ours)


def _rounds(name: str, measure: Callable[[int], tuple[float, ...]]) -> list[tuple[float, ...]]:
    found = []
    for number in range(ROUNDS):
        found.append(measure(number))
        if sys.stderr.isatty():
            end = "\n" if number + 1 == ROUNDS else ""
            print(f"\r{name}: {number + 1}/{ROUNDS}", end=end, file=sys.stderr, flush=True)
    return found


def _bare(node: Node, far: Watch, address: IPv4Address) -> tuple[float]:
    """Start of the command → kernel of the router two hops away."""
    begin = time.time()
    node.run(["ip", "route", "add", f"{address}/32", "dev", "vmbr1"])
    return (far.seen(address) - begin,)


def _guests(lab: Lab, here: Watch, far: Watch) -> list[tuple[float, ...]]:
    node = lab.node("pve1")
    node.sh("rm /var/lib/vz/snippets/pve-ospf")
    node.write("/var/lib/vz/snippets/pve-ospf", TIMED_HOOK, 0o755)

    def start(number: int) -> tuple[float, ...]:
        vmid, address = 200 + number, GUESTS + number
        node.create(vmid, f"{address}/32", hookscript="local:snippets/pve-ospf")
        node.pct("start", vmid)
        known, installed = far.seen(address), here.seen(address)
        (times,) = [line.split() for line in node.read("/run/hook-times").splitlines()
                    if line.startswith(f"{vmid} post-start ")]
        begin, end = map(float, times[2:])
        return known - begin, end - begin, known - installed

    return _rounds("container starts", start)


def _report(bare: list[float], ours: list[tuple[float, ...]]) -> int:
    known, hook, spread = (list(column) for column in zip(*ours, strict=True))
    rows = (("bare `ip route add` → kernel two hops away", bare),
            ("post-start → kernel two hops away", known),
            ("of which: the hook's own run time", hook),
            ("route in the node's kernel → kernel two hops away", spread))
    print(f"{'median of ' + str(ROUNDS) + ', milliseconds':52} {'median':>8} {'worst':>8}")
    for name, values in rows:
        print(f"{name:52} {statistics.median(values) * 1e3:8.1f} {max(values) * 1e3:8.1f}")
    allowed = LIMIT * statistics.median(bare) + statistics.median(hook)
    ratio = statistics.median(known) / allowed
    print(f"\nshare of the time allowed ({LIMIT} × bare + hook): {ratio:.2f}")
    return 0 if ratio <= 1 else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
