"""Pure: the one line we change in FRR's `daemons` and in `vtysh.conf`; the rest stays.

`daemons` is shell: the last assignment counts, and `no`, `0` and nothing mean off
(frrcommon.sh).
"""

from __future__ import annotations

import re

SPLIT = "no service integrated-vtysh-config"
"""Keeps `write memory` from creating frr.conf, beside which ospfd.conf is not read."""

_SWITCH = re.compile(r"^\s*([a-z0-9]+d)=", re.MULTILINE)
_INTEGRATED = re.compile(r"\s*(no\s+)?service\s+integrated-vtysh-config\s*")


def enabled(text: str, daemon: str) -> bool:
    """Whether a shell file of FRR's (daemons, /etc/default/frr) switches a daemon on."""
    rows = _assignments(text, daemon)
    if not rows:
        return False
    value = text.split("\n")[rows[-1]].partition("=")[2].partition("#")[0]
    return value.strip().strip("'\"") not in ("no", "0", "")


def switched_on(text: str) -> frozenset[str]:
    """The daemons that a shell file of FRR's switches on; all but zebra end in d."""
    return frozenset(name for name in _SWITCH.findall(text) if enabled(text, name))


def enable(text: str, daemon: str) -> tuple[str, str | None]:
    """The text with the daemon switched on, and the line that was there before, if any."""
    rows = _assignments(text, daemon)
    return _put(text, rows[-1] if rows else None, f"{daemon}=yes")


def is_split(text: str) -> bool:
    """Whether vtysh.conf says that each daemon has a file of its own; the last line counts."""
    rows = _integrated(text)
    return bool(rows) and text.split("\n")[rows[-1]].lstrip().startswith("no")


def split(text: str) -> tuple[str, str | None]:
    """vtysh.conf with SPLIT, and the line that was there before, if any."""
    rows = _integrated(text)
    return _put(text, rows[-1] if rows else None, SPLIT)


def put_back(text: str, ours: str, former: str | None) -> str:
    """The text with our line replaced by the one from before; as it is when ours is gone."""
    rows = text.split("\n")
    if ours not in rows:
        return text
    at = len(rows) - 1 - rows[::-1].index(ours)
    rows[at:at + 1] = [] if former is None else [former]
    return "\n".join(rows)


def _assignments(text: str, daemon: str) -> list[int]:
    wanted = re.compile(rf"\s*{re.escape(daemon)}=")
    return [n for n, row in enumerate(text.split("\n")) if wanted.match(row)]


def _integrated(text: str) -> list[int]:
    return [n for n, row in enumerate(text.split("\n")) if _INTEGRATED.fullmatch(row)]


def _put(text: str, row: int | None, line: str) -> tuple[str, str | None]:
    """A line in the place of another, or as the last one."""
    rows = text.split("\n")
    if row is None:
        rows.insert(len(rows) - 1 if rows[-1] == "" else len(rows), line)
        return "\n".join(rows), None
    former, rows[row] = rows[row], line
    return "\n".join(rows), former
