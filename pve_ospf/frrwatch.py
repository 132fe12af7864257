"""What FRR says, asked beside the agent's loop: vtysh can take its time, or hang.

One thread: it learns who is a router, and heals what zebra and ospfd hold that the kernel does
not (heal.py). The loop is woken over a pipe when something it uses has changed.
"""

from __future__ import annotations

import os
import threading
import time

from . import heal, journal, routers
from .divergence import Memory
from .errors import PveOspfError
from .picture import Routers

SIGNS = 0.5
"""Seconds between two looks at FRR's processes and sockets."""
ROUTINE = 30.0
"""Seconds between two comparisons when nothing was seen to happen."""
AGAIN = 1.0
"""The same after something happened, or while anything differs: what lasts is mended."""
SETTLED = 6.0
"""Seconds after which what happened has shown all it will do."""
HOPELESS = 60.0
"""Seconds after which what still differs is looked at in the routine only."""
ATTENTION = 1.0
UNKNOWN = 5.0
"""The same while OSPF cannot be asked, or has no neighbour yet."""
ROUTERS = 60.0
"""Seconds between two questions about who is a router."""


class FrrWatch:
    """`routers` is what OSPF said last; None before it was asked. `attend`: somebody has to
    know within a second when a neighbour goes."""

    def __init__(self) -> None:
        self.routers: Routers | None = None
        self.attend = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="frr", daemon=True)

    def fileno(self) -> int:
        return self._read

    def start(self) -> None:
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether the thread has ended by itself: its traceback is on standard error."""
        return bool(self._thread.ident) and not self._thread.is_alive() and not self._ending

    def stop(self) -> None:
        """Does not wait: a question to FRR may be under way, and harms nobody."""
        self._ending = True
        self._wake.set()

    def look_soon(self) -> None:
        """Something happened in the kernel that zebra has to have seen."""
        self._wake.set()

    def drain(self) -> bool:
        """Whether something has changed since it was asked last."""
        try:
            return bool(os.read(self._read, 64))
        except BlockingIOError:
            return False

    def _run(self) -> None:
        asked = healed = -ROUTINE
        memory, signs = Memory(), heal.signs()
        alarmed = time.monotonic()
        while not self._ending:
            if self._wake.wait(SIGNS):
                self._wake.clear()
                alarmed = time.monotonic()
            now = time.monotonic()
            if signs != (signs := heal.signs()):
                alarmed, asked = now, -ROUTERS
            unsettled = now - alarmed < (HOPELESS if memory.seen else SETTLED)
            if now - healed >= (AGAIN if unsettled else ROUTINE):
                healed = now
                before, memory = memory, self._heal(memory)
                if memory.seen.keys() - before.seen.keys():
                    alarmed = now
            known = self.routers is not None and self.routers.known
            patience = ATTENTION if self.attend else ROUTERS if known else UNKNOWN
            if now - asked >= patience:
                asked = now
                self._ask()

    def _heal(self, memory: Memory) -> Memory:
        try:
            memory, lines = heal.heal(memory)
        except PveOspfError:
            return memory  # FRR is down or starting: `check` says so, and there is no mending it
        for line in lines:
            journal.warning(f"FRR: {line}")
        return memory

    def _ask(self) -> None:
        found = routers.read()
        news = self.routers is None or _lasting(found) != _lasting(self.routers)
        self.routers = found
        if news:
            os.write(self._write, b"!")


def _lasting(found: Routers) -> object:
    """What does not tick by itself."""
    return found.addresses, found.known, {(n.interface, n.router_id, n.address, n.state)
                                          for n in found.neighbours}
