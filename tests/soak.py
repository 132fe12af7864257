"""`make soak`: the long tests at their full count; prints a table for BENCHMARKS.md.

    tests/run soak [PART…]

Parts: kills (the agent killed 200 times), hooks (200 hooks at once, ten times), rounds
(a guest started, moved there and back and stopped, 50 times), vms (20 live migrations with a
probe of 100 Hz and a connection), applies (apply killed at 50 random moments). Exits 1 when any
part failed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench import moves
from tests.lab import service, topology
from tests.lab.lab import Lab, together
from tests.lab.machine import Machine
from tests.lab.poll import poll
from tests.lab.process import LabError
from tests.system.crashing import Crashes
from tests.system.killing import Kills, ospf_losses
from tests.system.standing import ALLOW, WEB, Guests, known_to
from tests.system.watching import HOOK, right, syslog

KILLS, STORMS, STORM, ROUNDS, MIGRATIONS, APPLIES = 200, 10, 200, 50, 20, 50
LOST, APART = 3, 0.05
"""Probes of 100 Hz that a live migration may cost beyond those sent while the VM itself stood
still; seconds that both nodes, or none, may announce its address."""

Row = tuple[str, str]


def kills(lab: Lab, guests: Guests) -> Iterator[Row]:
    """kill -9 of the agent while guests start, stop and move."""
    crashes = Crashes(lab, guests)
    crashes.prepare()
    try:
        failed = _failures("kills", KILLS, crashes.kill)
    finally:
        crashes.end()
    yield ("agent killed at random moments, right after each, nothing else touched",
           f"{KILLS - len(failed)} of {KILLS}")
    yield "slowest from the kill's round to right again", f"{crashes.slowest:.1f} s"
    assert not failed, "; ".join(failed)


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


def vms(lab: Lab, guests: Guests) -> Iterator[Row]:  # noqa: ARG001 - of containers
    """A VM that live-migrates between two networks, there and back."""
    one, address = lab.node("pve1"), moves.ADDRESS[moves.VM]
    one.create_vm(moves.VM, f"{address}/32", hookscript="local:snippets/pve-ospf")
    one.qm("start", moves.VM)
    poll(lambda: "virtual" in lab.client.sh(f"curl -s --max-time 3 http://{address}/ || :"), 90,
         "the VM serves")
    done = []
    for number in range(MIGRATIONS):
        done.append(moves.live(lab, number, moves.PROMPT))
        _progress("vms", number, MIGRATIONS)
    kept = sum(not move.tcp for move in done)
    few = sum(moves.beyond(move) <= LOST for move in done)
    apart = [abs(move.handover) for move in done if move.handover is not None]
    worst = max((*apart, *(move.hole for move in done)))
    yield "live migrations, the TCP connection kept", f"{kept} of {MIGRATIONS}"
    yield f"of them with at most {LOST} probes lost beyond the VM's standstill", (
        f"{few} of {MIGRATIONS}")
    yield "probes lost (median, worst)", _pair([m.lost for m in done], "")
    yield "probes lost beyond the standstill (median, worst)", (
        _pair([moves.beyond(m) for m in done], ""))
    yield "the VM's own standstill (median, worst)", _pair([m.still for m in done], " s")
    yield "gap or overlap of the announcers, router without a route (worst)", (
        f"{worst * 1e3:.0f} ms")
    assert len(apart) == MIGRATIONS, "a withdrawal or an announcement was not seen"
    assert (kept, few) == (MIGRATIONS, MIGRATIONS)
    assert worst <= APART


def _pair(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):.3g}{unit}, {max(values):.3g}{unit}"


def _failures(name: str, count: int, step: Callable[[int], None]) -> list[str]:
    """Does a step `count` times, those after a failure as well; what failed."""
    failed = []
    for number in range(count):
        try:
            step(number)
        except (AssertionError, LabError) as error:
            failed.append(f"{number}: {error}")
        _progress(name, number, count)
    return failed


def _seconds_until(router: Machine, gateway: str) -> float:
    began = time.monotonic()
    poll(lambda: known_to(router, WEB) == gateway, 20, f"r3 has {gateway!r}")
    return time.monotonic() - began


def applies(lab: Lab, _guests: Guests) -> Iterator[Row]:
    """kill -9 of apply: the file whole, taken back by itself, the neighbour never gone."""
    kills = Kills(lab)
    kills.prepare()
    lost = ospf_losses(lab)
    failed = _failures("applies", APPLIES, kills.kill)
    yield ("apply killed at random moments: FRR's file whole, then as before or as wanted",
           f"{APPLIES - len(failed)} of {APPLIES}")
    yield "of these, with the change half made and taken back by itself", f"{kills.undone}"
    yield "times the router lost its neighbour meanwhile", f"{len(ospf_losses(lab)) - len(lost)}"
    assert not failed, "; ".join(failed)
    assert ospf_losses(lab) == lost


PARTS: dict[str, Callable[[Lab, Guests], Iterator[Row]]] = {
    "kills": kills, "hooks": hooks, "rounds": rounds, "vms": vms,
    "applies": applies}


@contextmanager
def _lab(deb: Path, *, with_vms: bool) -> Iterator[Lab]:
    with topology.demo(deb=deb, vms=with_vms) as lab:
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
    with _lab(deb, with_vms=name == "vms") as lab:
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
