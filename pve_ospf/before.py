"""What the kernel's values were before we changed them, so that they can be given back.

Below /run, where it lasts as long as the values do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from .model import Interface
from .sysctls import ALL, Sysctl

BEFORE = Path("/run/pve-ospf/before")
_LINE = re.compile(r"([0-9]+) (conf|neigh) (\S+) (\w+) ([0-9]+)")


def kept(interfaces: Iterable[Interface]) -> frozenset[Sysctl]:
    """The values as they were. Of an interface that was made anew meanwhile none: it has values
    of its own."""
    there = {(str(i.index), i.name) for i in interfaces} | {("0", ALL)}
    lines = map(_LINE.fullmatch, _text().splitlines())
    # What does not match was torn by a full disk.
    return frozenset(Sysctl("conf" if m[2] == "conf" else "neigh", m[3], m[4], int(m[5]))
                     for m in lines if m and (m[1], m[3]) in there)


def keep(values: frozenset[Sysctl], interfaces: Iterable[Interface]) -> None:
    """Whole or not at all. A failure is no error: what could not be kept stays as we set it."""
    index = {i.name: i.index for i in interfaces} | {ALL: 0}
    text = "".join(f"{index[s.device]} {s.tree} {s.device} {s.name} {s.value}\n"
                   for s in sorted(values) if s.device in index)
    if text == _text():
        return
    temporary = BEFORE.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        temporary.replace(BEFORE)
    except OSError:
        temporary.unlink(missing_ok=True)


def _text() -> str:
    try:
        return BEFORE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
