"""Hooks' nudges: one message each way over a unix socket that only root may use."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import Refused

PATH = Path("/run/pve-ospf/agent")
_BACKLOG = 1024
"""A hundred guests may start at once; who finds no place does the work itself."""
_PATIENCE = 0.05


@dataclass(frozen=True)
class Nudge:
    """A hook that waits for an answer; `began` in nanoseconds of the monotonic clock."""

    vmid: int
    phase: str
    began: int
    source: str | None
    connection: socket.socket

    def age(self) -> float:
        """Seconds since the hook was called."""
        return (time.monotonic_ns() - self.began) / 1e9

    def answer(self, text: str) -> None:
        """"0", "1 WHY NOT", or "" that the work is the hook's own. It may have given up."""
        with self.connection, contextlib.suppress(OSError):
            self.connection.send(text.encode("utf-8", "replace")[:4096])


class Nudges:
    """The socket. Raises Refused when another agent answers on it."""

    def __init__(self) -> None:
        PATH.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _nobody_answers()
        # Under another name first: a hook that finds it finds it listening, and root's.
        temporary = PATH.with_suffix(f".{os.getpid()}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(temporary))
        finally:
            os.umask(before)
        self._socket.listen(_BACKLOG)
        self._socket.setblocking(False)
        temporary.replace(PATH)

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> list[Nudge]:
        """Every nudge that is there; a connection that says nothing sensible is closed."""
        found: list[Nudge] = []
        while True:
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return found
            nudge = _read(connection)
            if nudge:
                found.append(nudge)
            else:
                connection.close()

    def close(self) -> None:
        """From now on hooks do the work themselves."""
        PATH.unlink(missing_ok=True)
        self._socket.close()


def answering() -> bool:
    """Whether an agent listens on this node."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(PATH))
        except BlockingIOError:
            return True  # so many wait that there is no place
        except OSError:
            return False
        return True


def _nobody_answers() -> None:
    if answering():
        raise Refused(f"{PATH}: another agent runs already", "see: systemctl status pve-ospf")


def _read(connection: socket.socket) -> Nudge | None:
    # It connects and sends at once; one that does not must not hold up the others.
    if not select.select([connection], [], [], _PATIENCE)[0]:
        return None
    try:
        words = connection.recv(4096).decode("ascii", "replace").split()
    except OSError:
        return None
    match words:
        case [vmid, phase, began, *source] if vmid.isdigit() and began.isdigit():
            return Nudge(int(vmid), phase, int(began), source[0] if source else None, connection)
    return None
