"""The resident process: it decides *when* to sync, and answers hooks at once.

It syncs when a hook nudges it, when links, addresses, our routes or forwarding change, when
pmxcfs counts a change, when the configuration or FRR changes, and every minute whatever
happens. What it holds only saves reading; killed at any moment, its successor is right.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import (
    arp,
    guard,
    guestfiles,
    home,
    hookscript,
    incoming,
    journal,
    look,
    moving,
    nft,
    onlink,
    prestart,
    pve,
    rtnetlink,
    sync,
)
from .announce import claims, device_of
from .errors import CannotTell, PveOspfError
from .events import Events
from .frrwatch import FrrWatch
from .guestfiles import GuestFiles
from .guestfilter import GuestFilter, Permit
from .held import Held
from .look import Memory
from .model import Finding, Guest
from .moving import Move
from .nudge import Nudge, Nudges
from .picture import Picture
from .routes import plan

GLANCE = 0.25
"""Seconds between two glances at what tells of no change by itself: /etc/pve and FRR."""
CONFIGURATION = 1.0
"""The same at pve-ospf.yaml and nft. Hooks have it looked at before they are answered."""
TIMER = 60.0
"""Seconds after which a sync runs though nothing was seen to happen."""
COALESCE = 0.1
"""Seconds from an event to the sync that takes in all that come with it."""
LINGER = 1.5
"""Seconds after an event for one more look: a container's socket outlives its veth."""
AFTER_NUDGE = 0.3
"""Seconds from a hook to the full sync that follows; others may come meanwhile."""
AFTER_LATE = 3.0
"""Seconds after which a hook that got no answer has done the work itself, or given up."""
RETRY = 1.0
LOCK, SHORTLY = 0.2, 0.05
"""Seconds the loop waits for another's sync to end before it looks after hooks and moves again;
at the switchover of a migration, which must not keep a second one waiting, the shorter."""


@dataclass
class Agent:
    """One per node; `run` returns when it is told to end, and withdraws nothing."""

    memory: Memory = field(default_factory=lambda: Memory(files=GuestFiles(follow=True)))
    picture: Picture | None = None
    held: Held | None = None
    events: Events = field(default_factory=Events)
    nudges: Nudges = field(default_factory=Nudges)
    frr: FrrWatch = field(default_factory=FrrWatch)
    responder: arp.Responder = field(default_factory=arp.Responder)
    ending: bool = False
    _due: list[float] = field(default_factory=list)
    _glance: float = 0.0
    _config_glance: float = 0.0
    _timer: float = 0.0
    _tend: float = 0.0
    _told: frozenset[Finding] = frozenset()
    _problem: str = ""
    _config: object = None
    _generation: int = 0
    _locked_out: float = 0.0
    _moving: dict[int, Move] = field(default_factory=dict)
    _selector: selectors.BaseSelector | None = None

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Raises CannotTell when the thread that watches FRR has ended:
        systemd starts both anew."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            with selectors.DefaultSelector() as selector:
                self._selector = selector
                selector.register(self.events, selectors.EVENT_READ, self._kernel)
                selector.register(self.nudges, selectors.EVENT_READ, self._nudged)
                selector.register(self.frr, selectors.EVENT_READ, self._frr)
                self._loop(selector)
        finally:
            _notify("STOPPING=1")
            self.nudges.close()
            self.frr.stop()
        return 0

    def _loop(self, selector: selectors.BaseSelector) -> None:
        self._sync()
        self.frr.start()
        _notify("READY=1")
        while not self.ending:
            for key, _ in selector.select(self._patience()):
                key.data()
            self._tick()
            if self.nudges.waiting:
                self._nudged()

    def _end(self, _signal: int, _frame: object) -> None:
        self.ending = True

    def _patience(self) -> float:
        now = time.monotonic()
        waits = (max(0.0, min([self._glance, self._timer, *self._due]) - now),
                 self.responder.due(), moving.patience(self._moving.values(), now))
        return min(wait for wait in waits if wait is not None)

    # -- what happens ------------------------------------------------------------------

    def _kernel(self) -> None:
        if self.events.drain():
            self._want(COALESCE)
            self._want(LINGER)
            self.frr.look_soon()

    def _frr(self) -> None:
        if self.frr.drain():
            self.memory.routers = self.frr.routers
            self._want(0)

    def _tick(self) -> None:
        now = time.monotonic()
        self.responder.repeat()
        if self._moving:
            self._watch_moves()
        if now >= self._glance:
            self._glance = now + GLANCE
            if self.picture and self.memory.files.changed():
                self._want(0)
        if now >= self._config_glance:
            self._config_glance = now + CONFIGURATION
            if self.frr.failed:
                raise CannotTell("the thread that watches FRR has ended",
                                 "its traceback is above: journalctl -u pve-ospf")
            _notify("WATCHDOG=1")
            if _config_mark() != self._config or self._filter_differs():
                self._want(0)
        if now >= min([self._timer, *self._due]):
            self._sync()

    def _filter_differs(self) -> bool:
        """Whether the guest filter is other than it was last told to be. Looked at only when any
        nft table has changed: a firewall may write its own every few seconds."""
        generation = nft.generation()
        if not self.picture or generation == self._generation:
            return False
        self._generation = generation
        state = replace(self.picture.state, filter=nft.read())
        changes = plan(self.picture.desired, self.picture.roles, state).changes
        return any(isinstance(change.item, GuestFilter | Permit) for change in changes)

    def _want(self, delay: float) -> None:
        """A sync within `delay` seconds. A flood of events puts none off: the first counts."""
        due = time.monotonic() + delay
        if not any(due - COALESCE <= other <= due for other in self._due):
            self._due.append(due)

    # -- syncs ---------------------------------------------------------------------------

    def _sync(self) -> None:
        with self.nudges.held():
            self._full_sync()

    def _full_sync(self) -> None:
        now = time.monotonic()
        self._due = [due for due in self._due if due > now]
        if now >= self._tend:
            self._tend = now + TIMER
            guard.tend()
        self._timer = now + TIMER
        self._config = _config_mark()
        try:
            with sync.locked(LOCK if self.picture else sync.LOCK_PATIENCE):
                if self.events.deleted:
                    sync.note_deleted(self.events.deleted)
                    self.events.deleted = {}
                self.picture = look.look(memory=self.memory)
                self.held = None
                result = sync.settle(self.picture)
            self._answer_arp(self.picture, result)
        except PveOspfError as error:
            self._failed(error)
            return
        if self._problem:
            journal.info("works again")
        self._problem, self._locked_out = "", 0.0
        self._tell(result)
        self._frr_has_to_see(result)
        self.held = Held(self.picture, result.done)
        self._due += (due for due in (result.due, self.memory.files.due()) if due)
        if asking := self.memory.due():
            self._want(max(asking - time.monotonic(), COALESCE))
        self._moving = _moving(self.picture, self._moving)

    def _failed(self, error: PveOspfError) -> None:
        now = time.monotonic()
        if isinstance(error, sync.Busy):
            self._locked_out = self._locked_out or now
            if self.picture and now < self._locked_out + sync.LOCK_PATIENCE:
                self._due.append(now)  # what is held is as good as before, and serves hooks
                return
        self.picture = self.held = None  # hooks do their own work, and say what is wrong
        self._due = [now + RETRY]
        self._complain(error)

    def _complain(self, error: PveOspfError) -> None:
        """Once, until it works again."""
        if error.message != self._problem:
            hint = " ".join(error.hint.split())
            journal.error(f"{error.message}; {hint}" if hint else error.message)
            self._problem = error.message

    def _frr_has_to_see(self, result: sync.Result) -> None:
        """Of its own changes the loop hears nothing."""
        if result.done:
            self.frr.look_soon()

    def _tell(self, result: sync.Result) -> None:
        journal.changes("", result)
        for finding in sorted(set(result.findings) - self._told):
            journal.found(finding)
        self._told = frozenset(result.findings)

    # -- ARP on the uplinks ------------------------------------------------------------------

    def _answer_arp(self, picture: Picture, result: sync.Result) -> None:
        """For addresses whose guests are away, and to who probes for those that are here."""
        own = picture.config.router_id or pve.router_id(picture.node.name)
        wanted = home.answered_for(picture.away, own, picture.routers.neighbours,
                                   pve.node_addresses()) if picture.away and own else {}
        self.responder.answer_for(wanted, onlink.macs(picture),
                                  home.defended(result.announced))
        self._announce(picture, result)
        self.frr.attend = bool(picture.away)
        # Another's route may stand where ours belongs, or have just left.
        self.events.hosts = home.absent(picture.cluster.guests, picture.node) | frozenset(
            c.address for g in picture.own_guests() if g.attached for c in claims(g))
        if self._selector:
            for key in list(self._selector.get_map().values()):
                if isinstance(key.data, _Arp):
                    self._selector.unregister(key.fileobj)
            for number in self.responder.sockets():
                self._selector.register(number, selectors.EVENT_READ, _Arp(self.responder, number))

    def _announce(self, picture: Picture, result: sync.Result) -> None:
        for uplink, addresses in onlink.taken(picture, result.done).items():
            self.responder.announce(uplink, onlink.macs(picture)[uplink], addresses)

    # -- one guest -------------------------------------------------------------------------

    def _nudged(self) -> None:
        while nudge := self.nudges.next():
            if nudge.gone():
                self._late(nudge)
                continue
            try:
                nudge.answer(self._answer(nudge))
            except PveOspfError as error:
                journal.error(f"guest {nudge.vmid} {nudge.phase}: {error.message}")
                nudge.answer("")
            if self._moving:
                self._watch_moves()
        self._want(AFTER_NUDGE)

    def _late(self, nudge: Nudge) -> None:
        """The hook has given up and does the work itself, or did not come to it: its guest is
        looked at now, and once more when the hook's time is certainly over."""
        nudge.answer("")
        if nudge.phase == "post-stop":
            self._has_stopped(nudge.vmid)
        self._want(0)
        self._want(AFTER_LATE)

    def _answer(self, nudge: Nudge) -> str:
        """What the hook is told: "0", "1 WHY NOT", or "" that the work is its own."""
        if nudge.source and nudge.phase in ("pre-start", "post-start"):
            incoming.expect(nudge.vmid, nudge.source)
            self._moving.setdefault(nudge.vmid, Move(guestfiles.is_here(nudge.vmid),
                                                     time.monotonic()))
        # Not by yesterday's policy, nor without a bridge that came with the guest.
        if _config_mark() != self._config or (
                nudge.phase == "post-start" and self._bridge_is_new(nudge.vmid)):
            self._sync()
        if not (self.picture and self.held):
            return ""
        match nudge.phase:
            case "pre-start":
                return self._pre_start(self.picture, self.held, nudge)
            case "post-start":
                self._guest(self.picture, self.held, nudge.vmid, started=True)
            case "post-stop":
                incoming.forget(nudge.vmid)
                self._has_stopped(nudge.vmid)
                self._guest(self.picture, self.held, nudge.vmid, started=False)
        return "0"

    def _has_stopped(self, vmid: int) -> None:
        """The run that was known last: one that has begun since is another."""
        run = self.picture.runs.get(vmid) if self.picture else None
        if run:
            self.memory.stopped[vmid] = run, time.monotonic()

    def _pre_start(self, picture: Picture, held: Held, nudge: Nudge) -> str:
        self.memory.stopped.pop(nudge.vmid, None)
        if self.memory.files.changed():  # another guest may have claimed the address just now
            held.follow(self.memory.files.read(picture.runs, time.monotonic()))
            self._want(0)
        guest = self.memory.files.read_here(nudge.vmid, picture.node.name)
        if nudge.source and not guest:
            guest = held.guest(nudge.vmid)  # its configuration comes with it
        if not guest or not guest.attached:
            return "0" if guest else ""
        narrow = held.about(nudge.vmid, guest, lambda _guest, _narrow: False)
        if prestart.needs_asking(narrow, guest, nudge.source):
            return ""
        verdict = prestart.verdict(narrow, guest, nudge.source)
        for warning in verdict.warnings:
            journal.warning(warning)
        return f"1 {hookscript.refused(nudge.vmid, verdict.refusal)}" if verdict.refusal else "0"

    def _bridge_is_new(self, vmid: int) -> bool:
        """Whether a bridge of the guest's was made or made anew since the last look: Proxmox
        makes `vmbr1v5` with the first guest that has tag=5, and takes it away with the last."""
        if not self.picture:
            return False
        guest = self.memory.files.read_here(vmid, self.picture.node.name)
        known = {i.name: i.index for i in self.picture.node.interfaces}
        names = {name for claim in (claims(guest) if guest and guest.attached else ())
                 for name in (claim.net.bridge,
                              device_of(claim.net, self.picture.node.interfaces))}
        return any(known.get(name, 0) != rtnetlink.index(name) for name in names)

    def _guest(self, picture: Picture, held: Held, vmid: int, *, started: bool,
               patience: float = RETRY) -> None:
        """Makes the kernel right for one guest; the full sync that follows does the rest.
        Raises Busy when another sync does not end within `patience` seconds."""
        def runs(guest: Guest, narrow: Picture) -> bool:
            # Of a container the hook says that LXC has reported RUNNING.
            run = pve.vm_run(vmid) if guest.kind == "qemu" else "started"
            return started and run is not None and look.guest_runs(
                guest, run, narrow.node, self.memory)

        guest = self.memory.files.read_here(vmid, picture.node.name)
        if started and not guest:
            return  # a whole look has to say what that means: it is no reason to withdraw
        with sync.locked(patience):
            narrow = held.about(vmid, guest, runs)
            result = sync.settle(narrow)
        journal.changes(f"guest {vmid}: ", result)
        self._frr_has_to_see(result)
        held.done(vmid, narrow, result.done)
        if result.due:
            self._due.append(result.due)
        self._announce(picture, result)

    # -- live migration ----------------------------------------------------------------------

    def _watch_moves(self) -> None:
        """A configuration is moved at the switchover: the target announces, the source
        withdraws, at that moment and not at the next glance."""
        try:
            for vmid, move in list(self._moving.items()):
                self._watch_move(vmid, move)
        except CannotTell as error:  # pmxcfs crashed; a whole look finds them again
            self._complain(error)
            self._moving = {}
            self._want(RETRY)

    def _watch_move(self, vmid: int, move: Move) -> None:
        here = guestfiles.is_here(vmid)
        if here == move.owned or not (self.picture and self.held):
            return
        if not (here or guestfiles.is_elsewhere(vmid)):
            del self._moving[vmid]  # destroyed, or /etc/pve is gone: for a whole look
            self._want(0)
            return
        try:
            self._guest(self.picture, self.held, vmid, started=here, patience=SHORTLY)
        except sync.Busy:
            return  # the next time round, which is at once
        except PveOspfError as error:
            self._complain(error)
            return
        self._moving[vmid] = Move(here, time.monotonic())
        self._want(AFTER_NUDGE)


@dataclass(frozen=True)
class _Arp:
    """What is done when ARP requests have come in on an uplink."""

    responder: arp.Responder
    number: int

    def __call__(self) -> None:
        self.responder.handle(self.number)


def _moving(picture: Picture, before: Mapping[int, Move]) -> dict[int, Move]:
    """The VMs that a live migration is moving now."""
    coming = [vmid for vmid in incoming.expected() if _elsewhere(picture, vmid)]
    return moving.followed(before, moving.leaving(picture.own_guests(), picture.runs), coming,
                           time.monotonic())


def _elsewhere(picture: Picture, vmid: int) -> bool:
    guest = picture.cluster.guest(vmid)
    return guest is None or guest.node != picture.node.name


def _config_mark() -> object:
    """Changes when pve-ospf.yaml does."""
    marks: list[object] = []
    for path in (pve.CLUSTER_CONFIG, pve.LOCAL_CONFIG, Path("/etc/pve/local")):
        try:
            status = path.lstat()
            marks.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            marks.append(None)
    return tuple(marks)


def _notify(state: str) -> None:
    """Tells systemd (sd_notify); nobody, where it did not start us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    # An error: systemd is starting itself anew; the next word arrives.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as connection:
        connection.sendto(state.encode(), address.replace("@", "\0", 1))
