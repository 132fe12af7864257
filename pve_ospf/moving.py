"""Pure: which VMs a live migration is moving from or to this node, and until when.

A migration's switchover is the move of the VM's configuration, which nothing announces; so it
is looked for every hundredth of a second, but only while a migration is under way. What says
that one is can be left behind: a lock by a task that was killed, a marker by a source that
died. Nothing here may make the agent look so closely for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from . import vm
from .model import Guest

CLOSELY = 0.01
"""Seconds between two looks at where a configuration is."""
LONG = 12 * 3600.0
"""Seconds after which a migration is no longer waited for so closely: the copy of a large
VM's memory takes hours. What moves then is seen with the next glance at /etc/pve."""
STARTS = 120.0
"""Seconds a marker lasts without a QEMU: from pre-start until Proxmox has started one."""


@dataclass(frozen=True, slots=True)
class Move:
    """`owned`: whether this node owned the configuration when it was looked at last. `since`
    is in seconds of the monotonic clock."""

    owned: bool
    since: float


def followed(before: Mapping[int, Move], leaving: Iterable[int], coming: Iterable[int],
             now: float) -> dict[int, Move]:
    """What is to be watched now, by VMID; what was before keeps its age."""
    found = {**dict.fromkeys(coming, False), **dict.fromkeys(leaving, True)}
    return {vmid: known if (known := before.get(vmid)) and known.owned == owned
            else Move(owned, now) for vmid, owned in found.items()}


def patience(moves: Iterable[Move], now: float) -> float | None:
    """Seconds until the next look at them; None: the glance at everything is enough."""
    return CLOSELY if any(now - move.since < LONG for move in moves) else None


def leaving(guests: Iterable[Guest], runs: Collection[int]) -> tuple[int, ...]:
    """Of this node's own guests those a migration may take away at any moment; `runs` are the
    guests that live here."""
    return tuple(g.vmid for g in guests if g.kind == "qemu" and g.attached
                 and g.lock in vm.MOVING and g.vmid in runs)


def over(guest: Guest | None, node: str, *, lives: bool, age: float) -> bool:
    """Whether a VM that was expected on `node` is no longer on its way: it has arrived and was
    unlocked, or its QEMU has ended here without a word, or never began. `age` of the marker is
    in seconds; without a known `guest` only QEMU tells."""
    if guest and guest.node == node and not guest.lock:
        return True
    return not lives and age >= STARTS
