"""A change made of all its parts, or of none: files, switches and running daemons.

FRR is never left with half of anything: files are replaced whole, and when the running
daemons do not follow or a neighbour does not come back, files and daemons are what they were.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from . import frrconf, frrfiles, frrplan, pve, service, verification, vtysh
from .ending import ENDING, end, held, later, reason, to_whom_listens
from .errors import CannotTell, PveOspfError, Refused
from .frrfiles import Memory
from .frrplan import Plan
from .verification import Watch

Out = Callable[[str], None]


def install(plan: Plan, watch: Watch, out: Out) -> None:
    """Changes everything, or raises Refused with everything as it was."""
    memory, boot = frrfiles.recall(), service.starts_at_boot()
    owners = {str(c.path): frrfiles.owner(c.path) for c in plan.files}
    memory.owners = {**owners, **memory.owners}
    frrfiles.remember(_about_to(memory, plan, boot))
    zebra_ran = vtysh.running("zebra")
    with held(ENDING, end):
        try:
            _change(plan, boot, watch, out)
        except BaseException as error:  # whatever it is: half of a change must not stay
            with held((*ENDING, signal.SIGINT), later):
                _go_back(plan, watch, boot, zebra_ran, reason(error), owners)
                frrfiles.remember(memory)
            out = to_whom_listens(out)
            out(f"{reason(error)}; gone back to what was before.")
            with held(ENDING, end):
                _say_what_became_of(watch, out)
            raise Refused(f"{reason(error)}; everything is as it was before",
                          getattr(error, "hint", "")) from error
    frrfiles.remember(_done(memory, plan, boot))


def _change(plan: Plan, boot: bool, watch: Watch, out: Out) -> None:
    for change in plan.changes:
        frrfiles.write(change)
    if not boot:
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


def _reload(plan: Plan) -> None:
    if plan.queue:
        vtysh.configure(plan.queue)
    if plan.target is not None and not plan.agrees:
        frrplan.reload(plan.target)
    _take_router_id(str(plan.config.router_id))


def _take_router_id(wanted: str | None) -> None:
    """FRR takes another router id by itself only while it has no neighbour."""
    if wanted is not None and verification.router_id() not in (None, wanted):
        vtysh.clear_process()


def _say_what_became_of(watch: Watch, out: Out) -> None:
    """Of the neighbours, after going back: it cannot be gone back any further."""
    try:
        verification.wait_for_neighbours(watch, out)
    except PveOspfError as error:
        out(f"{error.message}, although the configuration is the old one.")


def _go_back(plan: Plan, watch: Watch, boot: bool, zebra_ran: bool, why: str,
             owners: Mapping[str, list[int]]) -> None:
    """Files, switches and running daemons as they were: all of it that can be, whatever of it
    fails. Raises Refused with what is not."""
    try:
        with contextlib.ExitStack() as back:  # the last one first
            back.callback(_daemons_back, plan, watch, zebra_ran)
            if not boot:
                back.callback(service.start_at_boot, False)
            for change in plan.changes:
                back.callback(frrfiles.hand_back, change.path,
                              owners.get(str(change.path), []))
                # As if there were nothing: the copy of what was before must not be replaced.
                back.callback(frrfiles.write, replace(change, old=None, new=change.old))
    except Exception as error:
        paths = {str(c.path): frrfiles.read(c.path) == c.old for c in plan.changes}
        stuck = [path for path, done in paths.items() if not done]
        if stuck:
            raise Refused(
                f"{why}; {', '.join(stuck)} could not be put back: {reason(error)}",
                f"As it was before it is in {frrfiles.STATE}/before. Put it back, then: "
                "systemctl restart frr") from error
        verb = "stop" if plan.running is None and not zebra_ran else "restart"
        raise Refused(
            f"{why}; {', '.join(paths) or 'FRR has its files'} as before, but the running FRR is "
            f"not what it was: {reason(error)}",
            f"To make it that: systemctl {verb} frr") from error


def _daemons_back(plan: Plan, watch: Watch, zebra_ran: bool) -> None:
    if plan.running is not None:
        if plan.queue:
            vtysh.configure(plan.queue_back)
        # frr-reload of 10.3 fails on an interface that has vanished from the text.
        ours = [*(i.name for i in plan.config.interfaces), *plan.config.passive]
        empty = "".join(f"interface {name}\nexit\n" for name in ours)
        frrplan.reload(frrconf.append(plan.running, empty))
        _take_router_id(watch.router_id)
    elif zebra_ran:
        service.restart()
    else:
        service.stop()


def _about_to(memory: Memory, plan: Plan, boot: bool) -> Memory:
    """What to remember while it is not known whether the new or the old will stay."""
    blocks = {str(c.path): [*memory.blocks.get(str(c.path), []),
                            frrconf.installed(c.old or "", ""), frrconf.installed(c.new or "", "")]
              for c in plan.files}
    return replace(_done(memory, plan, boot), blocks=blocks)


def _done(memory: Memory, plan: Plan, boot: bool) -> Memory:
    former = {s.name: s.former for s in plan.switches}
    made = [str(c.path) for c in plan.files if c.old is None]
    return Memory(
        blocks={str(c.path): [frrconf.installed(c.new or "", "")] for c in plan.files},
        lines={**former, **memory.lines}, made=[*memory.made, *made],
        shared=[(s.stanza, s.text) for s in sorted(plan.shared)],
        service=memory.service or not boot, owners=memory.owners,
        daemons=memory.daemons if memory.service else sorted(frrfiles.others_enabled()))


def publish(router_id: IPv4Address | None, out: Out) -> None:
    """The cluster learns whose LSAs ours are; where it cannot, that is no reason to stop."""
    try:
        if pve.mounted():
            pve.publish(pve.node_name(), router_id)
    except CannotTell as error:
        out(f"note: {error.message}")
