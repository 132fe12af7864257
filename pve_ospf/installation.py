"""A change made of all its parts, or of none: files, switches and running daemons.

FRR is never left with half of anything: files are replaced whole, and when the running
daemons do not follow or a neighbour does not come back, files and daemons are what they were.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from . import frrfiles, frrplan, service, verification, vtysh, wayback
from .ending import ENDING, end, held, later, reason, to_whom_listens
from .errors import PveOspfError, Refused
from .frrplan import Plan
from .verification import Watch
from .wayback import Record

Out = Callable[[str], None]


def install(plan: Plan, watch: Watch, out: Out) -> Record:
    """Changes everything, or raises Refused with everything as it was. What it returns is
    the caller's to keep (wayback.stay) or to hold."""
    with held(ENDING, end):
        record = wayback.begin(plan, out)
        try:
            _change(plan, record.at_boot, watch, out)
        except BaseException as error:  # whatever it is: half of a change must not stay
            out = to_whom_listens(out)
            with held((*ENDING, signal.SIGINT), later):
                _undo(record, reason(error), out)
            out(f"{reason(error)}; gone back to what was before.")
            with held(ENDING, end):
                _say_what_became_of(watch, out)
            raise Refused(f"{reason(error)}; everything is as it was before",
                          getattr(error, "hint", "")) from error
    return record


def _undo(record: Record, why: str, out: Out) -> None:
    """Raises Refused with what is not undone. Where files are not, the guard tries on."""
    try:
        wayback.go_back(record, why, out)
    finally:
        if not wayback.stuck(record):
            wayback.close(record, f"{wayback.BACK}: {why}")


def _change(plan: Plan, at_boot: bool, watch: Watch, out: Out) -> None:
    for change in plan.changes:
        frrfiles.write(change)
    if not at_boot:
        service.start_at_boot(True)
        out("FRR starts at boot from now on.")
    if plan.running is None or plan.idle:
        missing = ", ".join(plan.idle) or "ospfd"
        out(f"FRR is restarted, with all its daemons: {missing} does not run yet.")
        service.restart()
    else:
        _reload(plan)
    verification.wait_until_followed(plan, out)
    verification.wait_for_neighbours(watch, out)
    verification.check_tunnels(plan)


def _reload(plan: Plan) -> None:
    if plan.queue:
        vtysh.configure(plan.queue)
    if plan.target is not None and not plan.agrees:
        frrplan.reload(plan.target)
    wayback.take_router_id(str(plan.config.router_id))


def _say_what_became_of(watch: Watch, out: Out) -> None:
    """Of the neighbours, after going back: it cannot be gone back any further."""
    try:
        verification.wait_for_neighbours(watch, out)
    except PveOspfError as error:
        out(f"{error.message}, although the configuration is the old one.")
