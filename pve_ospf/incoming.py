"""VMs that a live migration of this cluster is bringing to this node.

The hooks of the start that waits for it carry PVE_MIGRATED_FROM; nothing else tells such a VM
from one that comes from another cluster (facts: Migration). One file each below /run, so that
an agent that is restarted meanwhile knows it too. A boot ends every migration.
"""

from __future__ import annotations

import time
from pathlib import Path

DIRECTORY = Path("/run/pve-ospf/incoming")


def expect(vmid: int, source: str) -> None:
    """A hook for this VM came with PVE_MIGRATED_FROM=`source`."""
    DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    (DIRECTORY / str(vmid)).write_text(f"{source}\n", encoding="utf-8")


def forget(vmid: int) -> None:
    """It has arrived, or will not."""
    (DIRECTORY / str(vmid)).unlink(missing_ok=True)


def expected() -> frozenset[int]:
    """The VMs that are on their way to this node, or have just arrived."""
    return frozenset(ages())


def ages() -> dict[int, float]:
    """The same, with the seconds since a hook said so last."""
    now, found = time.time(), {}
    try:
        for path in DIRECTORY.iterdir():
            if path.name.isdigit():
                found[int(path.name)] = now - path.stat().st_mtime
    except FileNotFoundError:
        pass  # none was ever expected, or one has arrived just now
    return found
