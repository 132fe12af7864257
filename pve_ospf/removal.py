"""Everything of ours out of FRR again, for the package's removal.

Files first, for they decide what FRR does from its next start on, whatever hangs now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from . import frrconf, frrfiles, frrplan, sdn, service, switches, vtysh, wayback
from .errors import CannotTell
from .frrconf import Statement
from .frrfiles import Change, Layout, Memory
from .ospfd import Dialect

Out = Callable[[str], None]

WITHIN = 60
"""Seconds FRR's service has for its end or restart: prerm gives all of us 120, and routes and
entries are to be taken away after it."""


def restore(out: Out) -> None:
    """Takes away everything of ours in FRR, for the package's removal: our part of the files,
    the switches we changed, our part of the running configuration. What the administrator
    has changed outside of our part meanwhile stays.

    Raises Refused and CannotTell, after having done what could be done.
    """
    with frrfiles.alone():
        wayback.drop()
        memory = frrfiles.recall()
        files, ours = frrplan.without_us(_layout())
        changed = [change for change in (*files, *_switched_back(memory))
                   if change.old != change.new]
        for change in changed:
            frrfiles.write(change)
            frrfiles.hand_back(change.path, memory.owners.get(str(change.path), []))
            out(f"{change.path}: our part is taken away")
        _undo_running(memory, _bare(ours, out), _used(memory, files), out)
        wayback.publish(None, out)
        frrfiles.forget()


def _bare(ours: Collection[Statement], out: Out) -> str | None:
    """What the running ospfd shall do without us; None when it does nothing of ours, "" when
    it hung and was ended: what starts in its place reads the files. Raises CannotTell."""
    if not vtysh.running("ospfd"):
        return None
    try:
        running = vtysh.running_config("ospfd")
    except CannotTell as error:
        if vtysh.answers("ospfd"):
            raise  # it is another daemon that hangs
        out(f"{error.message}; it is ended, for it would go on announcing guests")
        vtysh.end("ospfd")
        return ""
    bare = frrconf.without(running, ours, keep_interfaces=True)
    return bare if frrconf.statements(running) != frrconf.statements(bare) else None


def _layout() -> Layout:
    beside_sdn = (frrfiles.FRR / sdn.OPT_IN).exists()
    return frrfiles.MERGED if beside_sdn else frrfiles.layout(_dialect())


def _dialect() -> Dialect:
    """Of the installed version; where it has been removed already, that of a new one."""
    try:
        return Dialect(vtysh.version())
    except CannotTell:
        return Dialect((8, 4))


def _switched_back(memory: Memory) -> list[Change]:
    changes = []
    paths = (frrplan.DAEMONS, frrfiles.DEFAULT, frrplan.VTYSH_CONF)
    texts = {path: frrfiles.read(path) for path in paths}
    for path in paths:
        lines = ({f"{path}": switches.SPLIT} if path == frrplan.VTYSH_CONF
                 else {f"{path}": "ospfd=yes", f"{path} bfdd": "bfdd=yes"})
        for name, ours in lines.items():
            old = texts[path]
            if old is not None and name in memory.lines:
                # /etc/default/frr need not have been there before.
                texts[path] = switches.put_back(old, ours, memory.lines[name]) or None
                changes.append(Change(path, old, texts[path], private=False))
    return changes


def _used(memory: Memory, files: Iterable[Change]) -> bool:
    """Whether the administrator routes with FRR by now: with a daemon that he switched on
    since we had FRR started (Proxmox's package may switch on some), or by his files."""
    stanzas = {s.stanza for change in files for s in frrconf.statements(change.new or "")}
    return bool(frrfiles.others_enabled() - set(memory.daemons)) or any(
        stanza.startswith("router ") and stanza != "router ospf" for stanza in stanzas)


def _undo_running(memory: Memory, bare: str | None, used: bool, out: Out) -> None:
    """`bare` is _bare's; `used`: FRR is the administrator's by now and is not stopped."""
    others = [name for name in vtysh.others() if f"{frrplan.DAEMONS} {name}" not in memory.lines]
    if memory.service and not used:
        service.start_at_boot(False)
        out("FRR is stopped and no longer starts at boot: it did not before.")
        service.stop(WITHIN)
    elif bare is not None and not frrfiles.ospfd_enabled() and not others:
        out("FRR is restarted, to stop ospfd: it did not run before.")
        service.restart(WITHIN)
    elif bare is not None:
        if bare:
            frrplan.reload(bare)
        ours = {text for noted in memory.blocks.values() for block in noted
                for text in (s.text for s in frrconf.statements(block))}
        if any(text.startswith(frrplan.WORK_QUEUE) for text in ours):
            vtysh.configure([f"no {frrplan.WORK_QUEUE}"])
        out("FRR goes on without our part.")
        if not frrfiles.ospfd_enabled():
            # watchfrr starts again what it was started with, and only a restart changes that.
            out("ospfd has nothing to do any more and ends with FRR's next restart, which would "
                f"cut {', '.join(others)} now.")
