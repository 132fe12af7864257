"""generate, apply, restore: what the node shall be → shown → installed → verified, or undone.

apply never leaves FRR with half of anything: files are replaced whole, and when the running
daemons do not follow or a neighbour does not come back, files and daemons are what they were.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from . import adjacency, frrconf, frrfiles, frrplan, lsdb, pve, switches, vtysh
from .ending import ENDING, end, held, later, reason, to_whom_listens
from .errors import CannotTell, PveOspfError, Refused
from .frrfiles import Change, Memory
from .frrplan import Plan
from .lsdb import Neighbour
from .ospfd import Dialect, render

Out = Callable[[str], None]

START = 20.0
"""Seconds FRR has to start and to read its configuration; 0.6 s where nothing else goes on."""

DEAD_INTERVALS = 4
"""How many of them a neighbour has to come back in."""


def generate() -> str:
    """Our part of each of FRR's files on this node, each under its name.

    Raises Refused, ConfigError and CannotTell, as apply does.
    """
    config, layout = frrplan.wanted()
    return "".join(f"! {path}\n{frrconf.block(render(config, part))}"
                   for path, part in layout.files)


def apply(dry_run: bool, force: bool, out: Out) -> None:
    """Installs the generated configuration; `out` gets the diff and the progress, by lines.

    Raises Refused when it would lose a neighbour or cut another daemon of FRR's (unless
    `force`), contradict lines of the administrator's, or had to be undone; ConfigError;
    CannotTell.
    """
    with frrfiles.alone():
        config, layout = frrplan.wanted()
        plan = frrplan.look(config, layout, force=force)
        if not plan.changes and plan.agrees and vtysh.starts_at_boot():
            _publish(config.router_id, out)
            out("Nothing to change: the configuration is installed and FRR follows it.")
            return
        _validate(plan)
        for line in [*frrplan.file_diff(plan.changes), *_running_difference(plan)]:
            out(line)
        _check_others(plan, force, out)
        before = _neighbours() if plan.running is not None else ()
        given_up = _check_neighbours(plan, before, force, out)
        if dry_run:
            out("Nothing was changed (--dry-run).")
            return
        staying = [n for n in before if n not in given_up]
        _install(plan, _watch(plan, staying, frrplan.commands(plan)), out)
        _publish(config.router_id, out)
        out("Done: the configuration is installed and FRR follows it.")


def restore(out: Out) -> None:
    """Takes away everything of ours in FRR, for the package's removal: our part of the files,
    the switches we changed, our part of the running configuration. What the administrator
    has changed outside of our part meanwhile stays.

    Raises Refused and CannotTell, after having done what could be done.
    """
    with frrfiles.alone():
        memory = frrfiles.recall()
        files, running, bare = frrplan.without_us(frrfiles.layout(_dialect()))
        changed = [change for change in (*files, *_switched_back(memory))
                   if change.old != change.new]
        for change in changed:
            frrfiles.write(change)
            frrfiles.hand_back(change.path, memory.owners.get(str(change.path), []))
            out(f"{change.path}: our part is taken away")
        ours_runs = frrconf.statements(running) != frrconf.statements(bare)
        _undo_running(memory, bare if ours_runs else None, _used(memory, files), out)
        _publish(None, out)
        frrfiles.forget()


def _dialect() -> Dialect:
    """Of the installed version; where it has been removed already, that of a new one."""
    try:
        return Dialect(vtysh.version())
    except CannotTell:
        return Dialect((8, 4))


# -- before anything changes ----------------------------------------------------------------


def _running_difference(plan: Plan) -> list[str]:
    if plan.running is None:
        return ["ospfd does not run."]
    told = frrplan.commands(plan)
    return ["The running FRR is told:", *(f"  {line}" for line in told)] if told else []


def _validate(plan: Plan) -> None:
    for change in plan.files:
        if change.new and change.new != change.old:
            with frrfiles.scratch(change.new) as path:
                _sound(vtysh.validate(path), str(change.path))
    with frrfiles.scratch(render(plan.config, "ospfd")) as path:
        _sound(vtysh.validate_ospfd(path), "our own part of it; please report this")


def _sound(errors: list[str], source: str) -> None:
    if errors:
        raise Refused(f"FRR does not accept {source}: {errors[0]}",
                      "\n".join(f"  {error}" for error in errors[1:]))


def _check_others(plan: Plan, force: bool, out: Out) -> None:
    """Refuses to restart daemons that somebody routes with. FRR has no way to start
    one alone and have watchfrr look after it but its reload, which sets more than what is ours:
    it switches IPv6 forwarding on (8.4, 10.3)."""
    others = vtysh.others() if plan.running is None else []
    if others and not force:
        raise Refused(
            f"ospfd does not run, and to start it FRR is restarted: that cuts {', '.join(others)}",
            "To do it: pve-ospf apply --force. To start ospfd without that: set ospfd=yes in\n"
            f"{frrplan.DAEMONS}, then: systemctl reload frr (which makes all of FRR what its "
            "files say,\nand switches IPv6 forwarding on), then: pve-ospf apply")
    if others:
        out(f"{', '.join(others)} will be restarted, too (--force)")


def _check_neighbours(plan: Plan, before: Collection[Neighbour], force: bool,
                      out: Out) -> tuple[Neighbour, ...]:
    """Refuses what would lose a neighbour; returns those that `force` gives up."""
    if plan.running is None:
        out("Which timers and area the neighbours use cannot be known before ospfd runs.")
        return ()
    interfaces = lsdb.ospf_interfaces(vtysh.show(lsdb.INTERFACES))
    found = adjacency.threats(before, interfaces, plan.config, plan.kept)
    if found and not force:
        raise Refused(str(found[0]), "\n".join([
            *map(str, found[1:]),
            "To keep what is in use there, write into /etc/pve/pve-ospf.yaml:",
            *(f"  {key}" for key in sorted({key for threat in found for key in threat.keys})),
            "To change it (on the neighbours first): pve-ospf apply --force"]))
    now = _router_id()
    if before and now not in (None, str(plan.config.router_id)) and not force:
        raise Refused(f"the router id would become {plan.config.router_id}; OSPF must start over "
                      "for that, and every neighbour is lost for some seconds",
                      f"To do it: pve-ospf apply --force. To keep the old one: router-id: {now}")
    for threat in found:
        out(f"{threat} (--force)")
    return tuple(threat.neighbour for threat in found)


def _router_id() -> str | None:
    """What the running OSPF calls itself, None when there is none."""
    process = vtysh.show("show ip ospf")
    return str(process["routerId"]) if isinstance(process, dict) and process else None


def _neighbours() -> tuple[Neighbour, ...]:
    return lsdb.neighbours(vtysh.show(lsdb.NEIGHBOURS))


# -- changing, and back ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Watch:
    """Neighbours that must be what they were, between `settle` and `limit` seconds from now:
    one that hears nothing fitting any more still looks well for a dead interval. `router_id`
    is our own from before."""

    neighbours: tuple[Neighbour, ...] = ()
    settle: float = 0
    limit: float = 0
    router_id: str | None = None


def _watch(plan: Plan, neighbours: Iterable[Neighbour], told: Collection[str]) -> _Watch:
    if plan.running is None:
        return _Watch()
    there = lsdb.ospf_interfaces(vtysh.show(lsdb.INTERFACES))
    dead = max([*(i.dead for i in plan.config.interfaces), *(i.dead_interval for i in there)])
    hello = max(i.hello for i in plan.config.interfaces)
    return _Watch(tuple(neighbours), dead + hello if adjacency.disturbs(told) else 0,
                  DEAD_INTERVALS * dead, _router_id())


def _install(plan: Plan, watch: _Watch, out: Out) -> None:
    """Changes everything, or raises Refused with everything as it was."""
    memory, boot = frrfiles.recall(), vtysh.starts_at_boot()
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


def _change(plan: Plan, boot: bool, watch: _Watch, out: Out) -> None:
    for change in plan.changes:
        frrfiles.write(change)
    if not boot:
        vtysh.start_at_boot(True)
        out("FRR starts at boot from now on.")
    if plan.running is None:
        out("FRR is restarted, with all its daemons: ospfd does not run yet.")
        vtysh.restart()
    else:
        _reload(plan)
    _wait_until_followed(plan, out)
    _wait_for_neighbours(watch, out)


def _reload(plan: Plan) -> None:
    if plan.queue:
        vtysh.configure(plan.queue)
    if plan.target is not None and not plan.agrees:
        with frrfiles.scratch(plan.target) as path:
            vtysh.reload(path)
    _take_router_id(str(plan.config.router_id))


def _take_router_id(wanted: str | None) -> None:
    """FRR takes another router id by itself only while it has no neighbour."""
    if wanted is not None and _router_id() not in (None, wanted):
        vtysh.clear_process()


def _wait_until_followed(plan: Plan, out: Out) -> None:
    """Until a second look finds nothing to change. Raises Refused when it never does."""
    deadline = time.monotonic() + START
    while True:
        try:
            now = frrplan.look(plan.config, plan.layout, force=True)
            left = [*frrplan.file_diff(now.changes), *_running_difference(now)]
        except CannotTell as error:
            left = [error.message]
        if not left:
            return
        if time.monotonic() > deadline:
            for line in left:
                out(f"  {line}")
            raise Refused(f"FRR does not follow its configuration within {START:g} s")
        time.sleep(0.2)


def _wait_for_neighbours(watch: _Watch, out: Out) -> None:
    """Until all of them are what they were. Raises Refused when the time is over."""
    start = time.monotonic()
    said: tuple[Neighbour, ...] = ()
    while watch.neighbours:
        absent = adjacency.missing(watch.neighbours, _neighbours())
        names = ", ".join(f"{n.router_id} on {n.interface}" for n in absent)
        passed = time.monotonic() - start
        if not absent and passed >= watch.settle:
            out(f"All {len(watch.neighbours)} neighbours are what they were.")
            return
        if absent != said:
            out(f"Waiting for {names}" if absent else "All neighbours are back.")
            said = absent
        if absent and passed > watch.limit:
            raise Refused(f"neighbour {names} did not come back within {watch.limit:g} s")
        time.sleep(0.25)


def _say_what_became_of(watch: _Watch, out: Out) -> None:
    """Of the neighbours, after going back: it cannot be gone back any further."""
    try:
        _wait_for_neighbours(watch, out)
    except PveOspfError as error:
        out(f"{error.message}, although the configuration is the old one.")


def _go_back(plan: Plan, watch: _Watch, boot: bool, zebra_ran: bool, why: str,
             owners: Mapping[str, list[int]]) -> None:
    """Files, switches and running daemons as they were: all of it that can be, whatever of it
    fails. Raises Refused with what is not."""
    try:
        with contextlib.ExitStack() as back:  # the last one first
            back.callback(_daemons_back, plan, watch, zebra_ran)
            if not boot:
                back.callback(vtysh.start_at_boot, False)
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


def _daemons_back(plan: Plan, watch: _Watch, zebra_ran: bool) -> None:
    if plan.running is not None:
        if plan.queue:
            vtysh.configure(plan.queue_back)
        # frr-reload of 10.3 fails on an interface that has vanished from the text.
        ours = [*(i.name for i in plan.config.interfaces), *plan.config.passive]
        empty = "".join(f"interface {name}\nexit\n" for name in ours)
        with frrfiles.scratch(frrconf.append(plan.running, empty)) as path:
            vtysh.reload(path)
        _take_router_id(watch.router_id)
    elif zebra_ran:
        vtysh.restart()
    else:
        vtysh.stop()


def _about_to(memory: Memory, plan: Plan, boot: bool) -> Memory:
    """What to remember while it is not known whether the new or the old will stay."""
    blocks = {str(c.path): [*memory.blocks.get(str(c.path), []),
                            frrconf.installed(c.old or "", ""), frrconf.installed(c.new or "", "")]
              for c in plan.files}
    return replace(_done(memory, plan, boot), blocks=blocks)


def _done(memory: Memory, plan: Plan, boot: bool) -> Memory:
    former = {str(s.change.path): s.former for s in plan.switches}
    made = [str(c.path) for c in plan.files if c.old is None]
    return Memory(
        blocks={str(c.path): [frrconf.installed(c.new or "", "")] for c in plan.files},
        lines={**former, **memory.lines}, made=[*memory.made, *made],
        shared=[(s.stanza, s.text) for s in sorted(plan.shared)],
        service=memory.service or not boot, owners=memory.owners,
        daemons=memory.daemons if memory.service else sorted(frrfiles.others_enabled()))


# -- afterwards -----------------------------------------------------------------------------


def _switched_back(memory: Memory) -> list[Change]:
    changes = []
    for path, ours in ((frrplan.DAEMONS, "ospfd=yes"), (frrplan.VTYSH_CONF, switches.SPLIT)):
        old = frrfiles.read(path)
        if old is not None and str(path) in memory.lines:
            new = switches.put_back(old, ours, memory.lines[str(path)])
            changes.append(Change(path, old, new, private=False))
    return changes


def _used(memory: Memory, files: Iterable[Change]) -> bool:
    """Whether the administrator routes with FRR by now: with a daemon that he switched on
    since we had FRR started (Proxmox's package may switch on some), or by his files."""
    stanzas = {s.stanza for change in files for s in frrconf.statements(change.new or "")}
    return bool(frrfiles.others_enabled() - set(memory.daemons)) or any(
        stanza.startswith("router ") and stanza != "router ospf" for stanza in stanzas)


def _undo_running(memory: Memory, bare: str | None, used: bool, out: Out) -> None:
    """`bare` is what ospfd shall do without us, None when it does nothing of ours; `used`:
    FRR is the administrator's by now and is not stopped."""
    others = vtysh.others()
    if memory.service and not used:
        vtysh.start_at_boot(False)
        out("FRR is stopped and no longer starts at boot: it did not before.")
        vtysh.stop()
    elif bare is not None and not frrfiles.ospfd_enabled() and not others:
        out("FRR is restarted, to stop ospfd: it did not run before.")
        vtysh.restart()
    elif bare is not None:
        with frrfiles.scratch(bare) as path:
            vtysh.reload(path)
        ours = {text for noted in memory.blocks.values() for block in noted
                for text in (s.text for s in frrconf.statements(block))}
        if any(text.startswith(frrplan.WORK_QUEUE) for text in ours):
            vtysh.configure([f"no {frrplan.WORK_QUEUE}"])
        out("FRR goes on without our part.")
        if not frrfiles.ospfd_enabled():
            # watchfrr starts again what it was started with, and only a restart changes that.
            out("ospfd has nothing to do any more and ends with FRR's next restart, which would "
                f"cut {', '.join(others)} now.")


def _publish(router_id: IPv4Address | None, out: Out) -> None:
    """The cluster learns whose LSAs ours are; where it cannot, that is no reason to stop."""
    if not pve.mounted():
        return
    try:
        pve.publish(pve.node_name(), router_id)
    except CannotTell as error:
        out(f"note: {error.message}")
