"""generate and apply: what the node shall be → shown → installed → verified, or undone."""

from __future__ import annotations

from collections.abc import Callable

from . import (
    frrconf,
    frrfiles,
    frrplan,
    guard,
    installation,
    objections,
    service,
    verification,
    vtysh,
    wayback,
)
from .errors import Refused
from .frrplan import Plan
from .ospfd import render
from .secrecy import hidden
from .wayback import Record

Out = Callable[[str], None]


def generate() -> str:
    """Our part of each of FRR's files on this node, each under its name; keys are hidden.

    Raises Refused, ConfigError and CannotTell, as apply does.
    """
    config, layout = frrplan.wanted()
    return hidden("".join(f"! {path}\n{frrconf.block(render(config, part))}"
                          for path, part in layout.files))


def apply(dry_run: bool, force: bool, confirm: int | None, out: Out) -> Record | None:
    """Installs the generated configuration; `out` gets the diff and the progress, by lines.

    With `confirm` (seconds) it is not kept yet: guard.wait() is for what this returns then.
    Raises Refused when it would lose a neighbour or cut another daemon of FRR's (unless
    `force`), contradict lines of the administrator's, or had to be undone; ConfigError;
    CannotTell.
    """
    with frrfiles.alone():
        if not dry_run:
            guard.settle(out)
        config, layout = frrplan.wanted()
        plan = frrplan.look(config, layout, force=force)
        if not (plan.changes or plan.idle) and plan.agrees and service.starts_at_boot():
            wayback.publish(config.router_id, out)
            out("Nothing to change: the configuration is installed and FRR follows it.")
            return None
        _validate(plan)
        for line in frrplan.differences(plan):
            out(line)
        told = frrplan.commands(plan)
        objections.check_removals(plan, told)
        objections.check_others(plan, force, out)
        objections.check_restart(plan, force, out)
        before = verification.neighbours() if plan.running is not None else ()
        given_up = objections.check_neighbours(plan, before, force, out)
        if dry_run:
            out("Nothing was changed (--dry-run).")
            return None
        staying = [n for n in before if n not in given_up]
        record = installation.install(
            plan, verification.watch(plan, staying, told), out)
        wayback.publish(config.router_id, out)
        if confirm is not None:
            record = wayback.hold(record, confirm)
        else:
            wayback.stay(record)
        out("Done: the configuration is installed and FRR follows it.")
        return record if confirm is not None else None


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
