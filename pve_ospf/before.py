"""What the kernel's values were before we changed them, so that they can be given back.

Below /run, where it lasts as long as the values do.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from .sysctls import ALL, Sysctl

BEFORE = Path("/run/pve-ospf/before")
_LINE = re.compile(r"([0-9]+) (conf|neigh) (\S+) (\w+) ([0-9]+)")


def kept() -> frozenset[Sysctl]:
    """The values as they were. Of an interface that was made anew meanwhile none: it has values
    of its own."""
    lines = map(_LINE.fullmatch, _text().splitlines())
    # What does not match was torn by a full disk.
    return frozenset(Sysctl("conf" if m[2] == "conf" else "neigh", m[3], m[4], int(m[5]))
                     for m in lines if m and int(m[1]) == _index(m[3]))


def keep(values: Iterable[Sysctl]) -> None:
    """Whole or not at all. A failure is no error: what could not be kept stays as we set it."""
    lines = [(_index(s.device), s) for s in sorted(values)]
    text = "".join(f"{index} {s.tree} {s.device} {s.name} {s.value}\n"
                   for index, s in lines if index is not None)
    if text == _text():
        return
    temporary = BEFORE.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        temporary.replace(BEFORE)
    except OSError:
        temporary.unlink(missing_ok=True)


def _index(device: str) -> int | None:
    """Asked anew: a picture may be older than the interface. None when there is none."""
    if device == ALL:
        return 0
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return None


def _text() -> str:
    try:
        return BEFORE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
