"""Was an OSPF neighbour lost that nobody took away? Then the machine was too slow for the test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.lab import Lab

LOSS = re.compile(r"AdjChg: .*: Full -> .*\(InactivityTimer\)")
"""A neighbour whose hellos did not come in time; every other way of losing one is a message."""


def losses(lab: Lab) -> list[str]:
    """Lines of the logs of all machines that tell of a neighbour not heard from."""
    found = []
    for machine in lab.frr_machines:
        log = Path(f"/proc/{machine.pid}/root/var/log/syslog") if machine.up else None
        if log and log.exists():
            lines = log.read_text(errors="replace").splitlines()
            found += [f"{machine.name}: {line}" for line in lines if LOSS.search(line)]
    return found


def disturbance(lab: Lab) -> tuple[object, ...]:
    """What differs when a test itself took something away: a daemon, a machine or a cable.

    A test that takes a neighbour away in another way (an interface down inside a machine,
    a stopped process) says so with the mark `loses_adjacency`.
    """
    machines = tuple((machine.name, machine.up) for machine in lab.frr_machines)
    return machines, _processes(lab, "ospfd"), sum(lan.touched for lan in lab.lans.values())


def _processes(lab: Lab, name: str) -> frozenset[str]:
    """PID and start time of every process of that name in the lab."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() != name:
                continue
            if f"/{lab.name}/" in (entry / "cgroup").read_text():
                stat = (entry / "stat").read_text()
                found.add(f"{entry.name} {stat.rpartition(')')[2].split()[19]}")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return frozenset(found)
