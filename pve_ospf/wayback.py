"""The way back from a change of FRR that was not finished, or that nobody confirmed.

Before apply changes anything it writes down what goes back and how, and starts a guard: a
process of its own that outlives apply's session and its end by SIGKILL. When apply has ended
and the record is still there, the guard goes back, at once or when the time for the
confirmation is over; after a reboot, or where the guard was killed too, the agent starts
another.

    /var/lib/pve-ospf/apply/record.json   a change under way, or one that waits for its
                                          confirmation; gone when it stays or was taken back
    /var/lib/pve-ospf/apply/outcome       what became of the last one
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from uuid import uuid4

from . import frrconf, frrfiles, frrplan, pve, service, switches, verification, vtysh
from .ending import reason
from .errors import CannotTell, PveOspfError, Refused
from .frrconf import Statement
from .frrfiles import Change, Memory
from .frrplan import Plan

Out = Callable[[str], None]

PLACE = frrfiles.STATE / "apply"
RECORD = PLACE / "record.json"
OUTCOME = PLACE / "outcome"
BOOT = Path("/proc/sys/kernel/random/boot_id")

CONFIRMED, BACK = "confirmed", "gone back"


@dataclass(frozen=True, slots=True)
class Former:
    """A file before the change and after it (None: it does not exist); `owner` as owner() says.

    In a file of switches only one line is ours: `ours`, which `line` stood in the place of.
    """

    path: str
    old: str | None
    new: str | None
    private: bool
    owner: list[int]
    ours: str = ""
    line: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Everything needed to go back, and to stay.

    `gone` and `came` are what ospfd's configuration loses and gets by the change, as text;
    `queue_back` undoes what zebra was told; `interfaces` are those we write about. `until`
    is in seconds of CLOCK_BOOTTIME, None while nobody is asked for a confirmation.
    """

    number: str
    boot: str
    files: list[Former]
    memory: Memory
    memory_after: Memory
    at_boot: bool
    ospfd_ran: bool
    zebra_ran: bool
    gone: str
    came: str
    queue_back: list[str]
    interfaces: list[str]
    router_id: str | None
    published: str | None
    until: float | None = None

    def due_in(self) -> float:
        """Seconds until it is to be gone back; none are left when the machine has restarted
        since, or when nobody is asked for a confirmation."""
        if self.until is None or self.boot != boot_id():
            return 0
        return max(0.0, self.until - time.clock_gettime(time.CLOCK_BOOTTIME))


def boot_id() -> str:
    """Changes with each boot."""
    return BOOT.read_text(encoding="ascii").strip()


def begin(plan: Plan, out: Out) -> Record:
    """Writes down the way back, and has a guard started for it. Raises CannotTell when it
    cannot be written: nothing is to be changed then."""
    memory, at_boot = frrfiles.recall(), service.starts_at_boot()
    memory.owners = {**{str(c.path): frrfiles.owner(c.path) for c in plan.files},
                     **memory.owners}
    after = _after(memory, plan, at_boot)
    running, target = plan.running or "", plan.target or ""
    router_id = verification.router_id() if plan.running is not None else None
    record = Record(
        number=uuid4().hex, boot=boot_id(), files=list(_former(plan)),
        memory=memory, memory_after=after, at_boot=at_boot,
        ospfd_ran=plan.running is not None, zebra_ran=vtysh.running("zebra"),
        gone=frrconf.part(running, frrconf.statements(running) - plan.kept),
        came=frrconf.part(target, frrconf.statements(target) - plan.kept),
        queue_back=list(plan.queue_back if plan.queue else ()),
        interfaces=[*(i.name for i in plan.config.interfaces), *plan.config.passive],
        router_id=router_id, published=_published(router_id))
    try:
        _write(record)
        frrfiles.remember(_meanwhile(memory, after, plan))
    except OSError as error:
        RECORD.unlink(missing_ok=True)
        raise CannotTell(f"{PLACE}: {error.strerror}: no way back could be kept, and nothing "
                         "was changed", f"df {frrfiles.STATE}") from error
    try:
        service.detach("guard")
    except PveOspfError as error:
        out(f"note: should this apply be killed, the agent takes it back: {error.message}")
    return record


def hold(record: Record, seconds: float) -> Record:
    """From now on it waits that long for a confirmation."""
    until = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    record = replace(record, until=until)
    _write(record)
    return record


def read() -> Record | None:
    """The change that is neither kept nor taken back, if any. Raises CannotTell."""
    text = frrfiles.read(RECORD)
    if text is None:
        return None
    try:
        said = json.loads(text)
        memory, after = (Memory(**said.pop(key)) for key in ("memory", "memory_after"))
        return Record(files=[Former(**each) for each in said.pop("files")],
                      memory=memory, memory_after=after, **said)
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise CannotTell(f"{RECORD} is damaged: {error}",
                         "Look at /etc/frr/frr.conf, move the record away, then: "
                         "pve-ospf apply") from None


def outcome(number: str) -> str:
    """CONFIRMED, or BACK and why; "" when it is not known."""
    said, _, what = (frrfiles.read(OUTCOME) or "").strip().partition(" ")
    return what if said == number else ""


def last() -> str:
    """The last one, for a person: confirmed, or gone back and why; "" when there was none."""
    what = (frrfiles.read(OUTCOME) or "").strip().partition(" ")[2]
    return f"The last one: {what}." if what else ""


def stay(record: Record) -> None:
    """The change is kept for good."""
    frrfiles.remember(record.memory_after)
    close(record, CONFIRMED)


def close(record: Record, what: str) -> None:
    """There is no way back any more; `what` became of it."""
    frrfiles.write(Change(OUTCOME, None, f"{record.number} {what}\n", private=False))
    RECORD.unlink(missing_ok=True)


def drop() -> None:
    """For the package's removal, which takes away the old as well as the new."""
    RECORD.unlink(missing_ok=True)
    OUTCOME.unlink(missing_ok=True)


def go_back(record: Record, why: str, out: Out) -> None:
    """Files, switches and running daemons as they were: all of it that can be, whatever of it
    fails. Raises Refused with what is not. Once again does no harm."""
    try:
        with contextlib.ExitStack() as back:  # the last one first
            back.callback(_daemons_back, record)
            back.callback(frrfiles.remember, record.memory)
            if not record.at_boot:
                back.callback(service.start_at_boot, False)
            for former in record.files:
                back.callback(frrfiles.hand_back, Path(former.path), former.owner)
                back.callback(_put_back, former, record)
    except Exception as error:
        left = stuck(record)
        if left:
            raise Refused(
                f"{why}; {', '.join(left)} could not be put back: {reason(error)}",
                f"As it was before it is in {frrfiles.STATE}/before. Put it back, then: "
                "systemctl restart frr") from error
        verb = "restart" if record.ospfd_ran or record.zebra_ran else "stop"
        paths = ", ".join(former.path for former in record.files) or "FRR has its files"
        raise Refused(f"{why}; {paths} as before, but the running FRR is not what it was: "
                      f"{reason(error)}", f"To make it that: systemctl {verb} frr") from error
    publish(record.published, out)


def stuck(record: Record) -> list[str]:
    """The files of FRR's that are not yet what they were."""
    return [former.path for former in record.files if not _is_back(former, record)]


def publish(router_id: str | IPv4Address | None, out: Out) -> None:
    """The cluster learns whose LSAs ours are, and what is a tunnel here; where it cannot, that
    is no reason to stop."""
    ours = None if router_id is None else IPv4Address(router_id)
    try:
        if pve.mounted():
            pve.publish(pve.node_name(), ours)
            pve.tell_tunnels(pve.node_name(), frrplan.tunnels_told(ours) if ours else None)
    except PveOspfError as error:
        out(f"note: {error.message}")


def _published(running: str | None) -> str | None:
    """What we have told the cluster; where that cannot be read, it was what runs."""
    try:
        known = pve.router_id(pve.node_name()) if pve.mounted() else None
    except CannotTell:
        return running
    return None if known is None else str(known)


def _write(record: Record) -> None:
    PLACE.mkdir(mode=0o700, parents=True, exist_ok=True)
    frrfiles.write(Change(RECORD, None, json.dumps(asdict(record), indent=1) + "\n",
                          private=False))


def _former(plan: Plan) -> Iterable[Former]:
    for change in plan.files:
        if change.old != change.new:
            yield Former(str(change.path), change.old, change.new, change.private,
                         frrfiles.owner(change.path))
    for switch in plan.switches:
        change = switch.change
        yield Former(str(change.path), change.old, change.new, change.private,
                     frrfiles.owner(change.path), switch.line, switch.former)


def _put_back(former: Former, record: Record) -> None:
    # As if there were nothing: the copy of what was before must not be replaced.
    frrfiles.write(Change(Path(former.path), None, before(former, record), former.private))


def before(former: Former, record: Record) -> str | None:
    """What the file has to hold: the old text, or, where somebody (`write memory`, an editor)
    has written it since, his with our part as it was."""
    now = frrfiles.read(Path(former.path))
    if now is None or now in (former.old, former.new):
        return former.old
    if former.ours:
        return switches.put_back(now, former.ours, former.line)
    blocks = [frrconf.installed(text or "", former.path) for text in (former.old, former.new)]
    known = frozenset[Statement]().union(*map(frrconf.statements, blocks)) - {
        Statement(stanza, text) for stanza, text in record.memory_after.shared}
    return frrconf.install(now, blocks[0], known, former.path)


def _is_back(former: Former, record: Record) -> bool:
    return frrfiles.read(Path(former.path)) == before(former, record)


def _daemons_back(record: Record) -> None:
    if record.ospfd_ran and vtysh.running("ospfd"):
        if record.queue_back:
            vtysh.configure(record.queue_back)
        frrplan.reload(_running_before(record))
        take_router_id(record.router_id)
    elif record.ospfd_ran or record.zebra_ran:
        service.restart()
    else:
        service.stop()


def _running_before(record: Record) -> str:
    """ospfd's configuration now, with what the change took in the place of what it brought."""
    gone = frrconf.statements(record.gone)
    bare = frrconf.without(vtysh.running_config("ospfd"),
                           gone | frrconf.statements(record.came), keep_interfaces=True)
    # frr-reload of 10.3 fails on an interface that has vanished from the text.
    empty = "".join(f"interface {name}\nexit\n" for name in record.interfaces)
    return frrconf.append(bare, record.gone + empty)


def take_router_id(wanted: str | None) -> None:
    """FRR takes another router id by itself only while it has no neighbour."""
    if wanted is not None and verification.router_id() not in (None, wanted):
        vtysh.clear_process()


def _meanwhile(memory: Memory, after: Memory, plan: Plan) -> Memory:
    """What to remember while it is not known whether the new or the old will stay."""
    blocks = {str(c.path): [*memory.blocks.get(str(c.path), []),
                            frrconf.installed(c.old or "", ""), frrconf.installed(c.new or "", "")]
              for c in plan.files}
    return replace(after, blocks=blocks)


def _after(memory: Memory, plan: Plan, at_boot: bool) -> Memory:
    former = {s.name: s.former for s in plan.switches}
    made = [str(c.path) for c in plan.files if c.old is None]
    return Memory(
        blocks={str(c.path): [frrconf.installed(c.new or "", "")] for c in plan.files},
        lines={**former, **memory.lines}, made=[*memory.made, *made],
        shared=[(s.stanza, s.text) for s in sorted(plan.shared)],
        service=memory.service or not at_boot, owners=memory.owners,
        daemons=memory.daemons if memory.service else sorted(frrfiles.others_enabled()))
