"""1,000 guests on a node: what the agent costs, how soon it starts, and 200 hooks at once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tests.lab import service
from tests.lab.frr import Router
from tests.lab.node import Node
from tests.lab.poll import poll

from .figures import Table, median, rounds
from .hooks import BARE, GUESTS
from .labs import HOOK, Crowd, Labs
from .resident import PYTHON, Run, Spawner, Watch, put

SYNCS = 20
STARTS = 5
IDLE = 60.0
TOGETHER = 200
BURSTS = 3
OWN_WORK = 20000
"""KiB of resident memory that only a hook that has imported the product needs."""
SETTLE = 1.5
"""Seconds until a router takes the next LSA of an address for certain (MinLSArrival)."""
QUIET = 10.0
"""Seconds after which what followed from the last change is over: looks at FRR, and syncs."""
REMOVE = "from pve_ospf import sync; raise SystemExit(bool(sync.remove_all()))"


def thousand(labs: Labs) -> list[Table]:
    lab = labs.ours
    node, neighbour = lab.node("pve1"), lab.router("r1")
    crowd = Crowd(lab, node, GUESTS)
    crowd.start(*crowd.vmids)
    crowd.settled(GUESTS)
    table = Table(f"{GUESTS:,} guests on a node")
    idle = json.loads(node.run([PYTHON, "-I", put(node, "syncs.py"), SYNCS]).stdout)
    assert idle["announced"] == GUESTS, idle
    bare, ours = [], []
    for _ in rounds("start-up", range(STARTS)):
        bare.append(_batch(node, neighbour))
        ours.append(_start_up(node, neighbour, crowd))
    memory, share, cpu = _idle(node)
    crowd.close()
    table.row("full sync with nothing to do", idle["seconds"])
    table.row("start-up, floor: `ip -batch`, all in the neighbour's kernel", bare, "s")
    table.row("start-up of the agent, all in the neighbour's kernel", ours, "s")
    table.row("the agent's resident memory, children included", memory, "MB")
    table.row("its share of memory (PSS)", share, "MB")
    table.row(f"CPU of the idle agent and its children over {IDLE:g} s", [cpu], "%")
    table.goal("a full sync takes at most 100 ms", median(idle["seconds"]) <= 0.1)
    table.goal("1,000 routes reach the neighbour's kernel within 2 s", median(ours) <= 2)
    table.goal("the agent takes at most 50 MB", max(memory) <= 50)
    table.goal("idle, it takes less than 0.5 % of a CPU", cpu < 0.5)
    return [table]


def _batch(node: Node, neighbour: Router) -> float:
    """Seconds from the start of `ip -batch` to the last route in the neighbour's kernel."""
    hosts = [f"10.77.{128 + number // 250}.{number % 250 + 1}" for number in range(GUESTS)]
    for word in ("add", "del"):
        lines = "\n".join(f"route {word} {host}/32 dev vmbr1" for host in hosts)
        node.write(f"/run/bench/{word}", lines + "\n")
    with Watch(neighbour) as watch, Spawner(node) as spawner:
        run = spawner.run("/sbin/ip", "-batch", "/run/bench/add")
        when = _all_there(watch, set(hosts), run.began)
    node.sh("ip -batch /run/bench/del")
    poll(lambda: not neighbour.routes("root", "10.77.128.0/17"), 10, "all withdrawn")
    time.sleep(SETTLE)
    return when - run.began


def _start_up(node: Node, neighbour: Router, crowd: Crowd) -> float:
    """The same from the start of the agent, with nothing of ours in the kernel."""
    service.stop(node)
    node.run([PYTHON, "-I", "-c", REMOVE])
    poll(lambda: not neighbour.routes("root", "10.77.0.0/16"), 10, "all withdrawn")
    time.sleep(SETTLE)
    with Watch(neighbour) as watch:
        began = time.time()
        service.start(node)
        return _all_there(watch, {crowd.address(vmid) for vmid in crowd.vmids}, began) - began


def _all_there(watch: Watch, hosts: set[str], since: float) -> float:
    def last() -> float:
        found = [e for e in watch.read() if not e.gone and e.when >= since and e.address in hosts]
        return found[-1].when if {e.address for e in found} == hosts else 0.0

    return poll(last, 30, f"{len(hosts)} routes at the neighbour")


def _idle(node: Node) -> tuple[list[float], list[float], float]:
    """RSS and PSS (MB) as seen every half second, and CPU (%) of agent and children."""
    proc = Path(f"/proc/{node.pid}/root/proc")
    agent = int(node.read("/run/agent.pid"))
    time.sleep(QUIET)
    memory: list[float] = []
    share: list[float] = []
    began, before = time.monotonic(), _ticks(proc, agent)
    while time.monotonic() - began < IDLE:
        resident, proportional = _memory(proc, agent)
        memory.append(resident)
        share.append(proportional)
        time.sleep(0.5)
    spent = (_ticks(proc, agent) - before) / os.sysconf("SC_CLK_TCK")
    return memory, share, 100 * spent / (time.monotonic() - began)


def _ticks(proc: Path, pid: int) -> int:
    """utime, stime, cutime, cstime (proc(5))."""
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def _memory(proc: Path, agent: int) -> tuple[float, float]:
    resident = proportional = 0
    for pid in _family(proc, agent):
        try:
            lines = (proc / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # a child that has just ended
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
        resident += sizes.get("Rss:", 0)
        proportional += sizes.get("Pss:", 0)
    return resident / 1024, proportional / 1024


def _family(proc: Path, agent: int) -> set[int]:
    parents = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found = {agent}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def concurrent(labs: Labs) -> list[Table]:
    """Hooks of many guests at the same moment, as after a node's boot."""
    lab = labs.ours
    node, far = lab.node("pve1"), lab.router("r3")
    crowd = Crowd(lab, node, GUESTS + TOGETHER)
    ready, rest = crowd.vmids[:TOGETHER], crowd.vmids[TOGETHER:]
    crowd.start(*rest)
    crowd.settled(GUESTS)
    time.sleep(QUIET)  # lest a sync finds the guests before their hooks do
    hosts = {crowd.address(vmid) for vmid in ready}
    bare, starts, stops, known, served = [], [], [], [], []
    late: list[int] = []
    failed = 0
    with Spawner(node) as spawner, Watch(far) as watch:
        for _ in rounds(f"{TOGETHER} hooks at once", range(BURSTS)):
            bare.append(_until_all(spawner.together([BARE] * TOGETHER)))
            began = time.time()
            crowd.start(*ready)
            runs = spawner.together([(HOOK, vmid, "post-start") for vmid in ready])
            late.append(_not_yet(crowd, GUESTS + TOGETHER))
            known.append(_all_there(watch, hosts, began) - _began(runs))
            starts.append(_until_all(runs))
            served.append(sum(run.peak < OWN_WORK for run in runs))
            failed += sum(run.code != 0 for run in runs)
            time.sleep(SETTLE)
            runs = spawner.together([(HOOK, vmid, "post-stop") for vmid in ready])
            crowd.stop(*ready)
            late.append(_not_yet(crowd, GUESTS))
            stops.append(_until_all(runs))
            served.append(sum(run.peak < OWN_WORK for run in runs))
            failed += sum(run.code != 0 for run in runs)
            time.sleep(2 * SETTLE)
    crowd.close()
    table = Table(f"{TOGETHER} hooks at once, {GUESTS:,} other guests on the node")
    table.row(f"floor: {TOGETHER} bare interpreters at once, until all had ended", bare)
    table.row("post-start, until all had returned", starts)
    table.row("post-start, until the last was in the kernel two hops away", known)
    table.row("post-stop, until all had returned", stops)
    table.row("hooks that the agent served (the others did their own work)", served, "")
    table.row("routes not right yet when all had returned", late, "")
    table.goal(f"none lost in {2 * BURSTS} bursts: {failed} failed; all {TOGETHER} routes came, "
               "and went", not failed, hard=True)
    return [table]


def _not_yet(crowd: Crowd, count: int) -> int:
    """How many routes are not right at this moment; all are, soon after, or the run fails."""
    missing = abs(count - crowd.routes())
    crowd.settled(count, timeout=5)
    return missing


def _began(runs: list[Run]) -> float:
    return min(run.began for run in runs)


def _until_all(runs: list[Run]) -> float:
    return max(run.ended for run in runs) - _began(runs)
