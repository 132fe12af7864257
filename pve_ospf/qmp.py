"""The only door to QEMU: what it says of a VM's state."""

from __future__ import annotations

import json
import socket
from pathlib import Path

RUN = Path("/run/qemu-server")
PATIENCE = 0.1
"""Seconds. The socket serves one client at a time, and Proxmox needs it (facts)."""


def status(vmid: int) -> str | None:
    """"running", "paused", "inmigrate", "prelaunch", …; None when QEMU did not say in time."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(RUN / f"{vmid}.qmp"))
            with connection.makefile("rwb") as lines:
                lines.readline()  # the greeting
                for command in (b"qmp_capabilities", b"query-status"):
                    lines.write(b'{"execute": "%s"}\n' % command)
                    lines.flush()
                    answer = json.loads(lines.readline())
                    while "event" in answer:
                        answer = json.loads(lines.readline())
                found = answer.get("return", {}).get("status")
                return found if isinstance(found, str) else None
    except (OSError, ValueError):
        return None
