"""What has to change on this node for FRR to be as generated; reads everything, changes nothing.

FRR's files and the running ospfd are looked at each by itself, and in both only what is ours
is to change. Where the two differ in the administrator's part, a plain `frr-reload frr.conf`
would undo what he did at run time; so ospfd is to be given its own running configuration with
our part replaced.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

from . import frrconf, frrfiles, pve, rekey, rtnetlink, sdn, switches, vtysh
from .conflicts import conflicts, sets_work_queue
from .errors import Refused
from .frrconf import Statement
from .frrfiles import Change, Layout, Memory
from .interfaces import Roles, classify
from .ospfd import Dialect, OspfdConfig, build, render, router_side
from .secrecy import hidden
from .tunnels import Told, told

DAEMONS = frrfiles.FRR / "daemons"
VTYSH_CONF = frrfiles.FRR / "vtysh.conf"
WORK_QUEUE = "zebra work-queue"


@dataclass(frozen=True, slots=True)
class Switch:
    """A file of switches that changes in one line, and that line from before (None: none)."""

    change: Change
    former: str | None
    daemon: str = ""

    @property
    def line(self) -> str:
        """The line that it gets."""
        return f"{self.daemon}=yes" if self.daemon else switches.SPLIT

    @property
    def name(self) -> str:
        """What the former line is remembered by: the file, and with several in it what for."""
        return f"{self.change.path}{f' {self.daemon}' if self.daemon not in ('', 'ospfd') else ''}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that has to change, and what was found.

    `running` and `target` are ospfd's configuration now and then, None while it does not
    run; `kept` is what stays of it. `queue` is for the running zebra, `queue_back` undoes it.
    `shared` is what the administrator's part of the files says as well as ours.
    """

    config: OspfdConfig
    layout: Layout
    files: tuple[Change, ...]
    switches: tuple[Switch, ...]
    running: str | None
    target: str | None
    kept: frozenset[Statement]
    queue: tuple[str, ...]
    queue_back: tuple[str, ...]
    shared: frozenset[Statement]

    @property
    def changes(self) -> tuple[Change, ...]:
        """The files that change, in the order to write them: ospfd is switched on when its
        configuration is there."""
        return (*(c for c in self.files if c.old != c.new), *(s.change for s in self.switches))

    @property
    def idle(self) -> tuple[str, ...]:
        """Daemons that have to run beside an ospfd that does, and do not."""
        return tuple(name for name in self.config.daemons
                     if self.running is not None and not vtysh.running(name))

    @property
    def agrees(self) -> bool:
        """Whether the running daemons do what they shall."""
        return (self.running is not None and self.target is not None and not self.queue
                and frrconf.statements(self.running) == frrconf.statements(self.target))


def wanted() -> tuple[OspfdConfig, Layout]:
    """What this node's OSPF has to be, and where that is to be written.

    Raises Refused, ConfigError and CannotTell.
    """
    config, _ = _built()
    layout = frrfiles.layout(config.dialect)
    if layout.kind == "quagga" or not _beside_sdn():
        return config, layout
    return sdn.mergeable(config), frrfiles.MERGED


def _beside_sdn() -> bool:
    """Whether Proxmox SDN writes frr.conf on this node, and merges what is ours.

    Raises Refused where it does and must not.
    """
    owners, local = pve.sdn_routing(), (frrfiles.FRR / sdn.OPT_IN).exists()
    if not owners and not local:
        return False
    sdn.check(owners, pve.read_config(pve.node_name()).sdn, local)
    return True


def for_routers() -> str:
    """What this node's routers need. Raises as wanted()."""
    config, roles = _built()
    return router_side(config, roles.uplinks)


def tunnels_told(router_id: IPv4Address) -> Told:
    """What this node, with that router id, has to tell the others of its tunnels. Raises
    ConfigError and CannotTell."""
    roles = classify(pve.read_config(pve.node_name()), rtnetlink.interfaces(),
                     pve.cluster_networks())
    return told(router_id, roles.tunnels)


def _built() -> tuple[OspfdConfig, Roles]:
    node = pve.node_name()
    config = pve.read_config(node)
    dialect = Dialect(vtysh.version())
    interfaces = rtnetlink.interfaces()
    roles = classify(config, interfaces, pve.cluster_networks())
    keys = pve.read_keys() if config.authenticates else {}
    return build(config, roles, dialect, interfaces, keys), roles


def look(config: OspfdConfig, layout: Layout, *, force: bool = False) -> Plan:
    """Compares files and running daemons with what they shall be.

    `force`: statements given at run time that contradict ours give way. Those in files never
    do: Refused names them.
    """
    _check_quagga(layout)
    memory = frrfiles.recall()
    texts = {path: frrfiles.read(path) or "" for path, _ in layout.files}
    known = _known(texts, memory)
    theirs = {path: frrconf.theirs(text, known, str(path)) for path, text in texts.items()}
    _check_conflicts({str(path): text for path, text in theirs.items()}, config,
                     "Remove or change what is there, then: systemctl reload frr")
    if any(map(sets_work_queue, theirs.values())):
        config = replace(config, work_queue=None)
    said = frozenset[Statement]().union(*map(frrconf.statements, theirs.values()))
    running, bare = _running(config, known - said, force)
    files = tuple(_file(layout, path, frrconf.install(
        texts[path], frrconf.block(render(config, part)), known, str(path)))
                  for path, part in layout.files)
    target = frrconf.install(bare, frrconf.block(render(config, "ospfd")), (), "")
    return Plan(config, layout, files, _switches(layout, config.daemons), running,
                None if running is None else target, frrconf.statements(bare),
                *_queue(config, running), said & frrconf.statements(render(config)))


def _file(layout: Layout, path: Path, new: str) -> Change:
    """What SDN has merged stays as SDN writes it, when it says the same."""
    old = frrfiles.read(path)
    merged = (layout.kind == "sdn" and path.name == "frr.conf" and old is not None
              and frrconf.statements(old) == frrconf.statements(new))
    return Change(path, old, old if merged else new)


def without_us(layout: Layout) -> tuple[tuple[Change, ...], frozenset[Statement]]:
    """The files less everything that is ours, and the statements that only we made, which
    have to go from the running ospfd as well. Raises CannotTell, and Refused on half a block."""
    memory = frrfiles.recall()
    texts = {path: frrfiles.read(path) or "" for path, _ in layout.files}
    known = _known(texts, memory)
    files = []
    for path, text in texts.items():
        there = frrfiles.read(path)
        theirs = frrconf.install(text, "", known, str(path))
        gone = there is None or (str(path) in memory.made and not frrconf.statements(theirs))
        files.append(Change(path, there, None if gone else theirs))
    said = frozenset[Statement]().union(
        *(frrconf.statements(change.new or "") for change in files))
    return tuple(files), known - said


def file_diff(changes: Iterable[Change]) -> list[str]:
    """A unified diff without context: what stands around our block may be secret."""
    lines: list[str] = []
    for change in changes:
        lines += difflib.unified_diff(
            (change.old or "").splitlines(), (change.new or "").splitlines(),
            str(change.path) if change.old is not None else "/dev/null",
            str(change.path) if change.new is not None else "/dev/null", n=0, lineterm="")
    return [hidden(line) for line in lines]


def commands(plan: Plan) -> list[str]:
    """What the running FRR would be told, keys and all; [] when it does not run or already
    follows."""
    if plan.target is None or plan.agrees:
        return []
    with frrfiles.scratch(plan.target) as path:
        return [*plan.queue, *vtysh.reload_diff(path)]


def reload(target: str) -> None:
    """Makes the running ospfd what `target` says. Raises Refused and CannotTell.

    What differs in keys goes first and by a file: of frr-reload it would come to stand in the
    process list.
    """
    told = rekey.statements(vtysh.running_config("ospfd"), target)
    if told:
        with frrfiles.scratch("\n".join([*told, ""])) as path:
            vtysh.load(path)
    with frrfiles.scratch(target) as path:
        vtysh.reload(path)


def differences(plan: Plan) -> list[str]:
    """What would change, for a person to read: files, and what the running FRR is told."""
    if plan.running is None:
        return [*file_diff(plan.changes), "ospfd does not run."]
    told = [hidden(line) for line in commands(plan)]
    return [*file_diff(plan.changes), *(f"{name} does not run." for name in plan.idle),
            *(["The running FRR is told:", *(f"  {line}" for line in told)] if told else [])]


def _check_quagga(layout: Layout) -> None:
    if layout.kind == "quagga":
        raise Refused("this node runs Quagga, which cannot be reloaded",
                      "Install what `pve-ospf generate` prints by hand, and restart it.")


def _known(texts: dict[Path, str], memory: Memory) -> frozenset[Statement]:
    """Every statement that is there because we installed it."""
    blocks = [frrconf.installed(text, str(path)) for path, text in texts.items()]
    for noted in memory.blocks.values():
        blocks += noted
    installed = frozenset[Statement]().union(*map(frrconf.statements, blocks))
    return installed - {Statement(stanza, text) for stanza, text in memory.shared}


def _check_conflicts(texts: dict[str, str], config: OspfdConfig, way_out: str) -> None:
    found = [f"  {source}:{c.number}: {c.text}\n    {c.reason}"
             for source, text in texts.items() for c in conflicts(text, config)]
    if found:
        raise Refused(
            f"FRR's configuration contradicts ours in {len(found)} line{'s'[:len(found) - 1]}",
            "\n".join([*found, way_out]))


def _running(config: OspfdConfig, ours: Collection[Statement],
             force: bool) -> tuple[str | None, str]:
    """ospfd's configuration now, and the same without ours and without what gives way."""
    if not vtysh.running("ospfd"):
        return None, ""
    running = vtysh.running_config("ospfd")
    bare = frrconf.without(running, ours, keep_interfaces=True)
    if not force:
        _check_conflicts({"running configuration": bare}, config,
                         "It was given by hand and stands in no file. To take it back: "
                         "pve-ospf apply --force")
    odd = {conflict.text for conflict in conflicts(bare, config)}
    giving_way = {s for s in frrconf.statements(bare) if s.text in odd}
    return running, frrconf.without(bare, giving_way, keep_interfaces=True)


def _queue(config: OspfdConfig, running: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What zebra has to be told, and what undoes it. Its part is never reloaded: zebra shows
    ospfd's prefix-lists as its own, and frr-reload would remove them."""
    ours = frrconf.statements(render(config, "zebra"))
    if running is None or not ours or not vtysh.running("zebra"):
        return (), ()
    there = frrconf.statements(vtysh.running_config("zebra"))
    if ours <= there:
        return (), ()
    before = [s.text for s in there if s.text.startswith(WORK_QUEUE)]
    return tuple(s.text for s in ours), tuple(before or [f"no {WORK_QUEUE}"])


def _switches(layout: Layout, needed: Iterable[str]) -> tuple[Switch, ...]:
    found = []
    # SDN writes `daemons` anew, too, with ospfd=no; it leaves the other one alone.
    path = frrfiles.DEFAULT if layout.kind == "sdn" else DAEMONS
    old = frrfiles.read(path)
    for daemon in needed:
        if (switches.enabled(old or "", daemon) if layout.kind == "sdn"
                else frrfiles.enabled(daemon)):
            continue
        new, former = switches.enable(old or "", daemon)
        found.append(Switch(Change(path, old, new, private=False), former, daemon))
        old = new
    conf = frrfiles.read(VTYSH_CONF)
    if layout.kind == "split" and not switches.is_split(conf or ""):
        new, former = switches.split(conf or "")
        found.append(Switch(Change(VTYSH_CONF, conf, new, private=False), former))
    return tuple(found)
