"""Hooks with 1,000 guests on the node: what each phase takes, and how soon the network knows."""

from __future__ import annotations

import time
from collections import defaultdict

from tests.lab.node import Node

from .figures import Table, median, rounds
from .labs import HOOK, RECIPE_HOOK, Crowd, Labs
from .resident import PYTHON, Run, Spawner, Watch

GUESTS = 1000
ROUNDS = 50
LIMIT = 1.5
PAUSE = 0.5
"""Seconds between two rounds, so that the full sync that follows a hook has its time."""
BARE = (PYTHON, "-I", "-S", "-c", "pass")
DIRECT, SHELL = "10.77.100", "10.77.101"
PHASES = ("pre-start", "post-start", "pre-stop", "post-stop")


def hooks(labs: Labs) -> list[Table]:
    lab = labs.ours
    node, far = lab.node("pve1"), lab.router("r3")
    crowd = Crowd(lab, node, GUESTS + ROUNDS)
    crowd.start(*crowd.vmids[ROUNDS:])
    crowd.settled(GUESTS)
    _recipe_guests(node)
    with Spawner(node) as spawner, Watch(node) as here, Watch(far) as there:
        measured = _Measured(spawner, here, there)
        for number in rounds("hooks, start", range(ROUNDS)):
            _start(measured, crowd, number)
        for number in rounds("hooks, stop", range(ROUNDS)):
            _stop(measured, crowd, number)
    crowd.close()
    node.sh("rm /etc/pve/local/lxc/9[0-9][0-9].conf")
    node.pve_refresh()
    return [_phases(measured), _network(measured)]


class _Measured:
    """Runs by what was run, and seconds from a run's beginning to the far router's kernel."""

    def __init__(self, spawner: Spawner, here: Watch, there: Watch) -> None:
        self.runs: dict[str, list[Run]] = defaultdict(list)
        self.known: dict[str, list[float]] = defaultdict(list)
        self.late = 0
        self._spawner, self._here, self._there = spawner, here, there

    def run(self, name: str, *argv: str | int) -> Run:
        run = self._spawner.run(*argv)
        assert run.code == 0, (name, run)
        self.runs[name].append(run)
        return run

    def far(self, name: str, run: Run, address: str, *, gone: bool = False) -> None:
        when = self._there.seen(address, gone=gone, since=run.began)
        self.known[name].append(when - run.began)

    def ours(self, phase: str, run: Run, address: str, *, gone: bool) -> None:
        """And whether the own kernel was right when the hook returned."""
        self.far(phase, run, address, gone=gone)
        self.late += self._here.seen(address, gone=gone, since=run.began) > run.ended + 0.001

    def seconds(self, name: str) -> list[float]:
        return [run.seconds for run in self.runs[name]]


def _recipe_guests(node: Node) -> None:
    """Not attached to us: the article's hook is run for them."""
    node.sh("for i in $(seq 0 49); do echo \"net0: name=eth0,bridge=vmbr1,ip="
            f"{SHELL}.$i/32\" >/etc/pve/local/lxc/$((900 + i)).conf; done")
    node.pve_refresh()


def _start(measured: _Measured, crowd: Crowd, number: int) -> None:
    vmid = crowd.vmids[number]
    measured.run("bare", *BARE)
    direct, shell = f"{DIRECT}.{number}", f"{SHELL}.{number}"
    run = measured.run("ip add", "/sbin/ip", "route", "add", f"{direct}/32", "dev", "vmbr1")
    measured.far("ip add", run, direct)
    measured.run("pre-start", HOOK, vmid, "pre-start")
    run = measured.run("recipe post-start", RECIPE_HOOK, 900 + number, "post-start")
    measured.far("recipe post-start", run, shell)
    crowd.start(vmid)
    run = measured.run("post-start", HOOK, vmid, "post-start")
    measured.ours("post-start", run, crowd.address(vmid), gone=False)
    time.sleep(PAUSE)


def _stop(measured: _Measured, crowd: Crowd, number: int) -> None:
    vmid = crowd.vmids[number]
    measured.run("bare", *BARE)
    direct, shell = f"{DIRECT}.{number}", f"{SHELL}.{number}"
    run = measured.run("ip del", "/sbin/ip", "route", "del", f"{direct}/32", "dev", "vmbr1")
    measured.far("ip del", run, direct, gone=True)
    measured.run("pre-stop", HOOK, vmid, "pre-stop")
    run = measured.run("recipe post-stop", RECIPE_HOOK, 900 + number, "post-stop")
    measured.far("recipe post-stop", run, shell, gone=True)
    run = measured.run("post-stop", HOOK, vmid, "post-stop")
    crowd.stop(vmid)
    measured.ours("post-stop", run, crowd.address(vmid), gone=True)
    time.sleep(PAUSE)


def _phases(measured: _Measured) -> Table:
    table = Table(f"A hook, by phase, with {GUESTS:,} guests running on the node")
    table.row("floor: `python3 -I -S -c pass`", measured.seconds("bare"))
    for phase in PHASES:
        table.row(f"pve-ospf, {phase}", measured.seconds(phase))
    for phase in ("post-start", "post-stop"):
        table.row(f"shell hook of the article, {phase}", measured.seconds(f"recipe {phase}"))
    floor = median(measured.seconds("bare"))
    for phase in PHASES:
        ratio = median(measured.seconds(phase)) / floor
        table.goal(f"{phase} takes {ratio:.2f} × the bare interpreter (goal: {LIMIT})",
                   ratio <= LIMIT)
    table.goal(f"the node's kernel was right when the hook returned, in all but {measured.late} "
               f"of {2 * ROUNDS}", measured.late == 0)
    return table


def _network(measured: _Measured) -> Table:
    table = Table(f"From a hook's start to the kernel two hops away ({GUESTS:,} guests)")
    for what, phase, bare in (("announce", "post-start", "ip add"),
                              ("withdraw", "post-stop", "ip del")):
        known, floor = measured.known, median(measured.known[bare])
        hook = median(measured.seconds(phase))
        table.row(f"{what}, floor: bare `ip route {bare[3:]}`", known[bare])
        table.row(f"{what}, pve-ospf's {phase}", known[phase])
        table.row(f"{what}, the article's {phase}", known[f"recipe {phase}"])
        ours, allowed = median(known[phase]), LIMIT * floor + hook
        table.goal(f"{what}: {ours * 1e3:.1f} ms, allowed {allowed * 1e3:.1f} ms "
                   f"({LIMIT} × bare + the hook's own time)", ours <= allowed,
                   hard=what == "announce")
    return table
