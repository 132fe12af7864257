"""Guests that move between nodes in two IP networks: what a client at the far end notices."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import NotInTime, poll
from tests.lab.standin.qemumigrate import POLL

from .figures import Table, median, rounds, say
from .labs import AT, OURS, RECIPE, Labs
from .resident import Event, Resident, Watch

CONTAINER, VM = 101, 201
ADDRESS = {CONTAINER: "198.51.100.7", VM: "198.51.100.20"}
CONTAINERS = 5
MACHINES = 20
RECIPE_MACHINES = 4
PROMPT = 0.01
"""Seconds between two looks of the task at QEMU's copy; Proxmox takes 0.1 (POLL)."""
AFTER = 1.0
"""Seconds that the probe goes on after the move."""
HOPELESS = 4.0
"""Seconds after which a guest that does not answer will not answer by itself."""


@dataclass(frozen=True)
class Move:
    """One move, as the client's probes (every 10 ms), the nodes and r3 saw it; seconds."""

    lost: int
    gap: float
    back: bool
    still: float
    """The longest time without an answer for whoever is on the guest's own bridges."""
    tcp: str
    handover: float | None
    """From the source's withdrawal to the target's announcement; below zero: both at once."""
    hole: float
    """How long r3 had no route."""
    task: float


def containers(labs: Labs) -> list[Table]:
    """Restart mode: stopped here, started there."""
    both = (labs.ours, OURS), (labs.recipe, RECIPE)
    for lab, hook in both:
        lab.node("pve1").create(CONTAINER, f"{ADDRESS[CONTAINER]}/32", hookscript=hook)
        lab.node("pve1").pct("start", CONTAINER)
    found: list[list[Move]] = [[], []]
    for turn in rounds("containers", range(CONTAINERS)):
        for moves, (lab, _) in zip(found, both, strict=True):
            source, target = _ends(lab, turn)
            moves.append(_move(lab, CONTAINER, source, target,
                               partial(source.migrate, CONTAINER, target, timeout=10)))
    for lab, _ in both:
        for node in lab.nodes:
            node.sh(f"pct stop {CONTAINER}; pct destroy {CONTAINER}", check=False)
    ours, recipe = found
    table = Table("A container moves to another network (restart mode), probed 100 times a second")
    table.row("floor: no answer on its own bridge either (it is stopped)",
              [m.still for m in ours], "s")
    table.row("pve-ospf: longest time without an answer", [m.gap for m in ours], "s")
    table.row("pve-ospf: of it added by routing", [m.gap - m.still for m in ours])
    table.row("the article's recipe: longest time without an answer", [m.gap for m in recipe], "s")
    table.row("the recipe: of it added by routing", [m.gap - m.still for m in recipe])
    table.goal("it answers again in every run", all(m.back for m in ours), hard=True)
    return [table]


def machines(labs: Labs) -> list[Table]:
    """Live: the guest stands still for a moment, and its connections go on."""
    both = (labs.ours, OURS), (labs.recipe, RECIPE)
    for lab, hook in both:
        lab.node("pve1").create_vm(VM, f"{ADDRESS[VM]}/32", hookscript=hook)
        lab.node("pve1").qm("start", VM)
    for lab, _ in both:
        poll(lambda: lab.client.ping(ADDRESS[VM]), 60, "the VM answers")  # noqa: B023
        poll(lambda: "virtual" in lab.client.sh(  # noqa: B023
            f"curl -s --max-time 3 http://{ADDRESS[VM]}/ || :"), 30, "and serves")
    prompt: list[Move] = []
    usual: list[Move] = []
    recipe: list[Move] = []
    for turn in rounds("VMs", range(MACHINES)):
        # There and back, with Proxmox's pace and with a prompt one; as often either way.
        paces = (POLL, usual), (PROMPT, prompt)
        for way, (pace, moves) in enumerate(paces if turn % 2 == 0 else paces[::-1]):
            moves.append(live(labs.ours, way, pace))
        if turn < RECIPE_MACHINES:
            recipe.append(live(labs.recipe, turn, POLL, HOPELESS))
            _repair(labs.recipe, turn)
    for lab, _ in both:
        for node in lab.nodes:
            node.sh(f"qm stop {VM}; qm destroy {VM}", check=False)
    return [_machines_table(prompt, usual, recipe)]


def _machines_table(prompt: list[Move], usual: list[Move], recipe: list[Move]) -> Table:
    table = Table("A VM live-migrates to another network, probed 100 times a second")
    for name, moves in (("the task looks at the copy every 100 ms, as Proxmox", usual),
                        ("every 10 ms", prompt)):
        table.row(f"{name}: floor: the VM stands still", [m.still for m in moves])
        table.row("- pve-ospf: longest time without an answer", [m.gap for m in moves])
        table.row("- of it added by routing", [m.gap - m.still for m in moves])
        table.row("- probes lost", [m.lost for m in moves], "")
        table.row("- probes lost beyond those of the standstill", [beyond(m) for m in moves], "")
        table.row("- from withdrawal to announcement (below zero: both)",
                  [m.handover for m in moves if m.handover is not None])
        table.row("- r3 without a route", [m.hole for m in moves])
    for way, moves in (("to the dearer network", recipe[0::2]), ("back", recipe[1::2])):
        table.row(f"the article's recipe, {way}: longest time without an answer",
                  [m.gap for m in moves], "s")
        table.row("- probes lost", [m.lost for m in moves], "")
        stuck = sum(not m.back for m in moves)
        table.notes.append(f"the recipe, {way}: in {stuck} of {len(moves)} runs it never answered "
                           f"again by itself (watched for {HOPELESS:g} s); "
                           f"TCP: {', '.join(m.tcp or 'kept' for m in moves)}")
    ours = usual + prompt
    kept = sum(not m.tcp for m in ours)
    table.goal(f"the TCP connection was kept in {kept} of {len(ours)} runs", kept == len(ours),
               hard=True)
    for name, moves in (("100 ms", usual), ("10 ms", prompt)):
        few = sum(m.lost <= 3 for m in moves)
        table.goal(f"at most 3 probes lost: {few} of {len(moves)} runs (looks every {name})",
                   few == len(moves))
        say("\n".join(map(str, moves)))
        few = sum(beyond(m) <= 3 for m in moves)
        table.goal(f"at most 3 probes lost beyond the standstill: {few} of {len(moves)} "
                   f"(looks every {name})", few == len(moves))
    apart = [abs(m.handover) for m in ours if m.handover is not None] + [m.hole for m in ours]
    table.goal(f"overlap or gap of the announcers at most 50 ms: {max(apart) * 1e3:.1f} ms",
               max(apart) <= 0.05)
    table.goal(f"routing adds at most 25 ms: median "
               f"{median([m.gap - m.still for m in ours]) * 1e3:.1f} ms, most "
               f"{max(m.gap - m.still for m in ours) * 1e3:.1f} ms",
               max(m.gap - m.still for m in ours) <= 0.025)
    return table


def beyond(move: Move) -> float:
    """Probes lost beyond those sent while the guest stood still."""
    return max(0, move.lost - round(move.still * 100))


def _ends(lab: Lab, turn: int) -> tuple[Node, Node]:
    nodes = lab.node("pve1"), lab.node("pve2")
    return nodes if turn % 2 == 0 else (nodes[1], nodes[0])


def live(lab: Lab, turn: int, pace: float, patience: float = AFTER) -> Move:
    source, target = _ends(lab, turn)
    return _move(lab, VM, source, target, lambda: source.migrate_vm(VM, target, poll=pace),
                 tcp=True, patience=patience)


def _repair(lab: Lab, turn: int) -> None:
    """What the recipe leaves to its administrator: nobody has told the source."""
    source, target = _ends(lab, turn)
    address = ADDRESS[VM]
    source.sh(f"ip route del {address}/32 dev vmbr1", check=False)
    poll(lambda: AT[target.name] in lab.router("r3").sh(f"ip route show {address}"), 20, "repaired")
    poll(lambda: lab.client.ping(address), 20, "the VM answers again")


def _move(lab: Lab, vmid: int, source: Node, target: Node, action: Callable[[], object], *,
          tcp: bool = False, patience: float = AFTER) -> Move:
    address, r3 = ADDRESS[vmid], lab.router("r3")
    poll(lambda: AT[source.name] in r3.sh(f"ip route show {address}"), 20, "announced by source")
    poll(lambda: lab.client.ping(address), 20, "the guest answers")
    mac = re.search(r"([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5})",
                    source.sh(f"cat /etc/pve/local/*/{vmid}.conf"))
    assert mac
    with ExitStack() as stack:
        far, here, there = (stack.enter_context(Watch(m)) for m in (r3, source, target))
        beside = [stack.enter_context(Resident(node, "beside.py", "vmbr1", mac[1], address))
                  for node in (source, target)]
        probe = stack.enter_context(
            Resident(lab.client, "probe.py", address, *(["tcp"] if tcp else [])))
        for program in (*beside, probe):
            program.answer()
        time.sleep(0.3)
        began = time.time()
        action()
        task = time.time() - began
        _wait(lambda: AT[target.name] in r3.sh(f"ip route show {address}"), patience)
        _wait(lambda: lab.client.ping(address), patience)
        time.sleep(AFTER)
        said = probe.end()
        left, arrived = (program.end() for program in beside)
        withdrawn = _own(here.of(address, began), gone=True)
        announced = _own(there.of(address, began), gone=False)
        return _judged(said, left, arrived, _hole(far.of(address, began)), task,
                       announced - withdrawn if announced and withdrawn else None)


def _wait(predicate: Callable[[], bool], patience: float) -> None:
    try:
        poll(predicate, patience, "again")
    except NotInTime:
        return  # which is what is measured


def _judged(said: dict[str, Any], left: list[float], arrived: list[float], hole: float,
            task: float, handover: float | None) -> Move:
    answers = sorted(when for when in said["back"] if when)
    end = said["sent"][-1]
    gap = max((b - a for a, b in zip(answers, [*answers[1:], end], strict=True)))
    nearby = sorted((said["sent"][0], *left, *arrived))
    still = max(b - a for a, b in zip(nearby, nearby[1:], strict=False))
    tcp = said["tcp"]
    broken = tcp and (tcp["error"] or ("" if len(tcp["back"]) == len(tcp["sent"])
                                       else "no answers for 8 s"))
    return Move(sum(when is None for when in said["back"]), gap, end - answers[-1] < AFTER, still,
                broken or "", handover, hole, task)


def _own(events: list[Event], *, gone: bool) -> float:
    """When the node's own route to the guest came or went last; OSPF's have a next hop."""
    return next((e.when for e in reversed(events) if e.gone == gone and " via " not in e.text
                 and "dev vmbr1" in e.text), 0.0)


def _hole(events: list[Event]) -> float:
    found, since = 0.0, 0.0
    for event in events:
        if event.gone:
            since = since or event.when
        elif since:
            found, since = found + event.when - since, 0.0
    return found
