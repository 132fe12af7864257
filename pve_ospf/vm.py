"""Pure: whether a VM whose QEMU lives on the node that owns its configuration runs there.

Proxmox starts a VM's QEMU long before the VM runs: on the target of a live migration (with
-incoming, before memory is copied), and for the backup of a stopped one (paused). Facts:
Hookscripts, Migration.
"""

from __future__ import annotations

from collections.abc import Collection

from .model import Guest

MOVING = frozenset({"migrate", "create"})
"""Locks under which a VM may be about to arrive, in this cluster or from another one."""

ASK_AT = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Seconds of a transition (one run of QEMU under one lock) at which QEMU is asked, and then
no more: its socket serves one client at a time, and Proxmox needs it (facts). The backup of a
VM starts it paused, and lets it go on, if it was running, without a word to anybody."""

_HELD = MOVING | {"backup"}
_WAITS = frozenset({"-incoming", "-S"})


def in_doubt(guest: Guest, command_line: Collection[str]) -> bool:
    """Whether only QEMU itself knows if this VM runs.

    Without such a lock it does; and a QEMU that was not told to wait ran from its first moment.
    """
    return guest.kind == "qemu" and guest.lock in _HELD and not _WAITS.isdisjoint(command_line)


def runs(guest: Guest, *, arrived: bool, status: str | None) -> bool:
    """For a VM in doubt. `arrived`: a live migration of this cluster has brought it, for whose
    start a hook fired here; its configuration is moved at the switchover. `status`: QEMU's own
    word (QMP), None when it gave none.
    """
    return (arrived and guest.lock == "migrate") or status == "running"


def ask_due(asked: int, since: float) -> float | None:
    """When QEMU is to be asked again, having been `asked` so often in a transition that began
    at `since`; in the clock's seconds, None for never."""
    return since + ASK_AT[asked] if asked < len(ASK_AT) else None
