"""PVE::QMPClient: one command at a time to a guest's QEMU.

The socket takes one client: whoever holds it open makes everybody else wait. So a connection
lasts one command here, as PVE's do.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

RUN = Path("/run/qemu-server")
TIMEOUT = 5.0
"""Seconds that PVE waits for most commands."""


class QmpError(Exception):
    """The text is PVE's."""


def command(vmid: int, name: str, /, *, timeout: float = TIMEOUT, **arguments: Any) -> Any:
    """mon_cmd: what QEMU returns. Raises QmpError when it refuses or does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(RUN / f"{vmid}.qmp"))
            with connection.makefile("rw") as stream:
                json.loads(stream.readline())  # the greeting
                _execute(stream, "qmp_capabilities", {})
                return _execute(stream, name, arguments)
    except (OSError, ValueError) as error:
        why = "got timeout" if isinstance(error, TimeoutError) else str(error)
        raise QmpError(f"VM {vmid} qmp command '{name}' failed - {why}") from None


def status(vmid: int, *, timeout: float = TIMEOUT) -> str:
    """`running`, `paused`, `inmigrate`, `postmigrate`, `prelaunch`, …"""
    return str(command(vmid, "query-status", timeout=timeout)["status"])


def _execute(stream: Any, name: str, arguments: dict[str, Any]) -> Any:
    stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
    stream.flush()
    while True:
        answer = json.loads(stream.readline())
        if "error" in answer:
            raise ValueError(answer["error"]["desc"])
        if "return" in answer:
            return answer["return"]
        # Anything else is an event.
