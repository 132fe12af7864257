"""Who takes a change back that was not finished or not confirmed, and when.

The guard is a process beside an apply. It waits for the lock that apply holds while it lives,
and looks at what apply has left: no record, and all is well; a record that waits for a
confirmation; or one that apply was killed over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress

from . import frrfiles, journal, lock, service, wayback
from .errors import PveOspfError, Refused
from .secrecy import hidden
from .wayback import BACK, CONFIRMED, Record

Out = Callable[[str], None]

GLANCE = 0.5
"""Seconds between two looks at whether a change was confirmed."""
ATTEMPTS, AGAIN = 5, 5.0
"""How often, and after how many seconds once more, the running daemons are told to go back."""
GRACE = 120.0
"""Seconds that going back may take before somebody else does not wait for it any more."""


def guard() -> None:
    """Until there is nothing to take back."""
    with lock.held("guard", math.inf):
        attempts = 0
        while True:
            with frrfiles.alone(math.inf):
                record = wayback.read()
                if record is None:
                    return
                left = record.due_in()
                if not left:
                    attempts += 1
                    if _took_back(record, _why(record), _log, attempts == ATTEMPTS):
                        return
            time.sleep(min(left, GLANCE) if left else AGAIN)


def tend() -> None:
    """For the agent: a change that nobody guards, as after a reboot, gets a guard. A process
    of its own, for the agent's service may not write FRR's files."""
    if not wayback.RECORD.exists():
        return
    with suppress(TimeoutError):
        with lock.held("guard"):
            pass
        try:
            service.detach("guard")
        except PveOspfError as error:
            journal.error(f"{error.message}; by hand: pve-ospf guard")


def settle(out: Out) -> None:
    """Before another change. Raises Refused when the last one waits for its confirmation, or
    cannot be taken back."""
    record = wayback.read()
    if record is None:
        return
    if left := record.due_in():
        raise Refused("the last apply waits for its confirmation",
                      f"To keep it: pve-ospf confirm. It is taken back in {left:.0f} s.")
    out("The last apply did not come to its end: what it changed is taken back first.")
    _took_back(record, _why(record), out, True)


def confirm(out: Out) -> None:
    """Keeps a change that waits for it. Raises Refused when there is none."""
    with frrfiles.alone(GRACE):
        record = wayback.read()
        if record is None or not record.due_in():
            raise Refused("no change waits for a confirmation",
                          wayback.last() or "To make one: pve-ospf apply --confirm SECONDS")
        wayback.stay(record)
    out("Confirmed: the new configuration stays.")


def wait(record: Record, out: Out) -> None:
    """Until it is confirmed, or taken back: raises Refused then. Ctrl-C takes it back at once;
    when our session is cut, the guard waits on."""
    out(f"It is taken back in {record.due_in():.0f} s, unless you confirm it, here or in another "
        "session:\n  pve-ospf confirm")
    at_once = False
    while (now := wayback.read()) and now.number == record.number:
        try:
            if at_once or not now.due_in():
                _take_back_ours(record, at_once, out)
            time.sleep(GLANCE)
        except KeyboardInterrupt:
            at_once = True
    what = wayback.outcome(record.number)
    if what != CONFIRMED:
        raise Refused(f"{what.removeprefix(BACK + ': ') or 'it was taken back'}; everything is as "
                      "it was before")
    out("Confirmed: the new configuration stays.")


def _take_back_ours(record: Record, at_once: bool, out: Out) -> None:
    with frrfiles.alone(GRACE):
        now = wayback.read()
        if now and now.number == record.number:
            _took_back(now, "interrupted" if at_once else _why(now), out, True)


def _log(line: str) -> None:
    journal.info(hidden(line))


def _why(record: Record) -> str:
    if record.boot != wayback.boot_id():
        return "the node was restarted before the change was kept"
    if record.until is not None:
        return "nobody confirmed it in time"
    return "apply did not come to its end"


def _took_back(record: Record, why: str, out: Out, last: bool) -> bool:
    """Whether that was all; the `last` attempt is, unless a file could not be put back."""
    try:
        wayback.go_back(record, why, out)
    except PveOspfError as error:
        if wayback.stuck(record):
            raise
        out(error.message)
        if not last:
            return False
        out(error.hint)
    wayback.close(record, f"{BACK}: {why}")
    out(f"{why}; gone back to what was before.")
    return True
