"""Hooks' nudges: one message each way over a unix socket that only root may use."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import Refused

PATH = Path("/run/pve-ospf/agent")
WAIT = b"wait"
"""Said at once to a hook whose turn comes later: without it, a hook takes the agent for hung."""
AGAIN = 0.4
"""Seconds after which it is said again to all that wait still: an agent that works is waited for.
Of two hundred hooks at once on a slow machine, those that lost patience imported everything
and made it slower still."""
PAUSE = 0.1
"""Seconds between two looks for hooks that came while something takes long."""
_BACKLOG = 1024
"""Hundreds of guests may start at once; who finds no place does the work itself."""


@dataclass(frozen=True)
class Nudge:
    """A hook that waits for an answer; `source` is the node a live migration comes from."""

    vmid: int
    phase: str
    source: str | None
    connection: socket.socket

    def gone(self) -> bool:
        """Whether the hook has given up; it does the work itself, and waits for nothing."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

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
        self._poll = select.epoll()
        self._poll.register(self._socket, select.EPOLLIN)
        self._silent: dict[int, socket.socket] = {}
        self._new: deque[Nudge] = deque()
        self._waiting: deque[Nudge] = deque()
        self._said = 0.0
        temporary.replace(PATH)

    def fileno(self) -> int:
        """Readable when there is something to take in."""
        return self._poll.fileno()

    def next(self) -> Nudge | None:
        """The one that came first. All others that are there have been told to wait."""
        self._take_in()
        first = self._new.popleft() if self._new and not self._waiting else None
        self._tell()
        return first or (self._waiting.popleft() if self._waiting else None)

    @property
    def waiting(self) -> bool:
        """Whether any was told to wait. Nothing becomes readable for it any more: whoever
        looks only then leaves it without an answer until the next hook comes."""
        return bool(self._waiting)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Something that takes long comes first: all that are there, and that come meanwhile,
        are told to wait. By a signal, for what takes long may hang in the kernel or in FRR.
        """
        def hold(*_: object) -> None:
            self._take_in()
            self._tell()

        hold()
        signal.signal(signal.SIGALRM, hold)  # and left so: the default would end us
        signal.setitimer(signal.ITIMER_REAL, PAUSE, PAUSE)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _take_in(self) -> None:
        for number, _ in self._poll.poll(0):
            if number == self._socket.fileno():
                self._accept()
            else:
                self._poll.unregister(number)
                self._read(self._silent.pop(number))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # no more are there, or no descriptor is left for one: it stays in line
            connection.setblocking(False)
            self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        """A connection that says nothing sensible is closed; one that says nothing yet is
        come back to."""
        try:
            words = connection.recv(4096).decode("ascii", "replace").split()
        except BlockingIOError:
            self._silent[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)
            return
        except OSError:
            words = []
        match words:
            case [vmid, phase, *source] if vmid.isdigit():
                self._new.append(Nudge(int(vmid), phase, source[0] if source else None,
                                       connection))
            case _:
                connection.close()

    def _tell(self) -> None:
        now = time.monotonic()
        again = now >= self._said + AGAIN
        for nudge in (*self._new, *(self._waiting if again else ())):
            with contextlib.suppress(OSError):
                nudge.connection.send(WAIT)
        self._said = now if again else self._said
        self._waiting += self._new
        self._new.clear()

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
