"""`make soak`: the long tests at their full count; prints a table for BENCHMARKS.md.

    tests/run soak [PART…]

Parts: kills (the agent killed 200 times), hooks (200 hooks at once, ten times), rounds
(a guest started, moved there and back and stopped, 50 times). Exits 1 when any part failed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import service, topology
from tests.lab.lab import Lab, together
from tests.lab.machine import Machine
from tests.lab.poll import poll
from tests.system.crashing import Crashes
from tests.system.standing import ALLOW, WEB, Guests, known_to
from tests.system.watching import HOOK, right, syslog

KILLS, STORMS, STORM, ROUNDS = 200, 10, 200, 50

Row = tuple[str, str]


def kills(lab: Lab, guests: Guests) -> Iterator[Row]:
    """kill -9 of the agent while guests start, stop and move."""
    crashes = Crashes(lab, guests)
    crashes.prepare()
    try:
        for number in range(KILLS):
            crashes.kill(number)
            _progress("kills", number, KILLS)
    finally:
        crashes.end()
    yield ("agent killed at random moments, right after each, nothing else touched",
           f"{KILLS} of {KILLS}")
    yield "slowest from the kill's round to right again", f"{crashes.slowest:.1f} s"


def hooks(lab: Lab, guests: Guests) -> Iterator[Row]:
    """Many hooks at once, of guests that run and of one that does not."""
    node = lab.node("pve1")
    guests.attached(node, 101, f"{WEB}/32")
    guests.attached(node, 131, "198.51.100.131/32")
    node.pct("start", 101)
    right(node)
    before, log, took = node.sh("ip route show proto 205"), syslog(node).count("given up"), []
    storm = (f"for i in $(seq {STORM // 4}); do for h in '101 post-start' '131 post-stop' "
             f"'101 post-start' '131 pre-start'; do ({HOOK} $h || echo failed) & done; done; wait")
    for number in range(STORMS):
        done = node.run(["sh", "-c", storm], timeout=180)
        assert done.output == "", done.output
        right(node)
        assert node.sh("ip route show proto 205") == before
        took.append(done.elapsed)
        _progress("hooks", number, STORMS)
    given_up = syslog(node).count("given up") - log
    yield f"{STORM} hooks at once: the node right after each time", f"{STORMS} of {STORMS}"
    yield ("the last of them done (median, worst)",
           f"{statistics.median(took):.1f} s, {max(took):.1f} s")
    yield "hooks that gave up after 2 s and left it to the agent", f"{given_up} of {STORM * STORMS}"


def rounds(lab: Lab, guests: Guests) -> Iterator[Row]:
    """Start, move, move back, stop."""
    one, two, r3 = lab.node("pve1"), lab.node("pve2"), lab.router("r3")
    guests.attached(one, 101, f"{WEB}/32")
    late = []
    for number in range(ROUNDS):
        one.pct("start", 101)
        late.append(_seconds_until(r3, "10.0.13.1"))
        one.migrate(101, two)
        late.append(_seconds_until(r3, "10.0.23.2"))
        two.migrate(101, one)
        late.append(_seconds_until(r3, "10.0.13.1"))
        one.pct("stop", 101)
        late.append(_seconds_until(r3, ""))
        right(one)
        right(two)
        _progress("rounds", number, ROUNDS)
    yield "guest started, moved there and back, stopped: network right after each", (
        f"{ROUNDS} of {ROUNDS}")
    yield "from the command's end to a router two hops away (median, worst)", (
        f"{statistics.median(late):.2f} s, {max(late):.2f} s")


def _seconds_until(router: Machine, gateway: str) -> float:
    began = time.monotonic()
    poll(lambda: known_to(router, WEB) == gateway, 20, f"r3 has {gateway!r}")
    return time.monotonic() - began


PARTS: dict[str, Callable[[Lab, Guests], Iterator[Row]]] = {
    "kills": kills, "hooks": hooks, "rounds": rounds}


@contextmanager
def _lab(deb: Path) -> Iterator[Lab]:
    with topology.demo(deb=deb) as lab:
        lab.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
        together(lambda node: node.run(["pve-ospf", "apply"], timeout=120), lab.nodes)
        for node in lab.nodes:
            poll(lambda: node.full(1), 30, f"{node.name} is adjacent")  # noqa: B023
        together(service.start, lab.nodes)
        yield lab


def _progress(name: str, number: int, count: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if number + 1 == count else ""
        print(f"\r{name}: {number + 1}/{count}", end=end, file=sys.stderr, flush=True)


def _run(name: str, deb: Path) -> bool:
    """One part in a lab of its own, so that none suffers from what another left."""
    with _lab(deb) as lab:
        guests = Guests(nodes=lab.nodes)
        try:
            for what, figure in PARTS[name](lab, guests):
                print(f"| {what} | {figure} |", flush=True)
        except Exception as error:  # noqa: BLE001 - the other parts are to run all the same
            print(f"| {name} | FAILED: {error} |", flush=True)
            for log, text in lab.logs().items():
                print(f"-- {log}\n" + "\n".join(text.splitlines()[-60:]), file=sys.stderr)
            return False
    return True


def main(deb: Path, names: list[str]) -> int:
    """Runs the parts named, or all; 0 when none failed."""
    if unknown := set(names) - PARTS.keys():
        print(f"no part {', '.join(unknown)}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    print("| | |\n|---|---|")
    failed = [name for name in names or PARTS if not _run(name, deb)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
