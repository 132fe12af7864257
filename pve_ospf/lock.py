"""Locks between our processes: files in /run/pve-ospf, given back by the kernel whatever
ends their holder."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

RUN = Path("/run/pve-ospf")
LOOK = 0.1


@contextlib.contextmanager
def held(name: str, patience: float = 0) -> Iterator[int]:
    """Holds the lock of that name; its descriptor, for a child that is to hold it as well.

    Raises TimeoutError when another had it for all of `patience` seconds.
    """
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with (RUN / f"{name}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{file.name} is held by another") from None
            time.sleep(LOOK)
        yield file.fileno()
