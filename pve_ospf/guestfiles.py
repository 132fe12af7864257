"""The guests of the whole cluster, from their configuration files in /etc/pve.

Read once as a whole, or followed: pmxcfs counts every write of a guest's file in .vmlist, so a
resident process reads again only what changed. inotify would not see other nodes' changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import guests as guest_text
from .errors import CannotTell
from .model import Finding, Guest, GuestKind
from .picture import Cluster
from .pve import PMXCFS, PVE, below, exists, mounted, read

SETTLE = 1.0
"""Seconds a running guest's file has to be left alone before what it announces counts anew.

A hot-plug writes the file several times, without the address in between (facts), and an
address that goes and comes back within a second is away for ten (facts: MinLSArrival).
"""

_KINDS: tuple[tuple[GuestKind, str], ...] = (("lxc", "lxc"), ("qemu", "qemu-server"))
_DIRECTORIES = dict(_KINDS)
_CONFIG_FILE = re.compile(r"([1-9]\d{2,8})\.conf")
_VMLIST, _VERSION = PVE / ".vmlist", PVE / ".version"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a guest's file is, and which version of it; None: read it in any case."""

    vmid: int
    kind: GuestKind
    node: str
    version: int | None = None

    @property
    def path(self) -> Path:
        return PVE / "nodes" / self.node / _DIRECTORIES[self.kind] / f"{self.vmid}.conf"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file says, and what it will be taken to say once it has settled."""

    place: _Place
    guest: Guest
    findings: tuple[Finding, ...]
    settled: Guest | None = None
    due: float = 0.0

    @property
    def unreadable(self) -> bool:
        return any(finding.code == "unreadable" for finding in self.findings)


@dataclass
class GuestFiles:
    """The guests' files as last read; `read` brings it up to date.

    `follow`: by what pmxcfs counts. Otherwise every file is read each time.
    """

    follow: bool = False
    _seen: dict[int, _Seen] = field(default_factory=dict)
    _version: str = ""

    def changed(self) -> bool:
        """Whether pmxcfs has counted a change since the last read(). Costs one small file.

        False where it counts none: without /etc/pve, or before pmxcfs is up.
        """
        return _version() not in ("", self._version)

    def read(self, running: Collection[int] = (), now: float = 0.0) -> Cluster:
        """All guests of all nodes; none on a machine without Proxmox. Raises CannotTell when
        /etc/pve is not mounted, or does not know this node.

        `now` is in seconds. Of guests in `running` that were read before, changed interfaces
        and hookscripts count only once their file has been left alone for SETTLE seconds; see
        due().
        """
        if not (exists(PVE) or exists(PMXCFS)):
            return Cluster()
        _known_here()
        version = _version() if self.follow else ""
        places = {place.vmid: place for place in (_counted() if version else _found())}
        if version.partition("/")[0] != self._version.partition("/")[0]:
            self._seen = {vmid: replace(seen, place=replace(seen.place, version=None))
                          for vmid, seen in self._seen.items()}
        seen = {vmid: self._look(place, vmid in running, now) for vmid, place in places.items()}
        self._seen = {vmid: found for vmid, found in seen.items() if found}
        self._version = version
        known = self._seen.values()
        return Cluster(tuple(s.guest for s in known), tuple(f for s in known for f in s.findings))

    def due(self) -> float | None:
        """When an unsettled file is to be looked at again, in read()'s seconds."""
        return min((s.due for s in self._seen.values() if s.settled), default=None)

    def read_here(self, vmid: int, node: str) -> Guest | None:
        """One guest of this node, anew and at once: a hook has said that something happened.
        None when it is not here. Raises CannotTell."""
        for kind, _ in _KINDS:
            seen = _read(_Place(vmid, kind, node))
            if seen:
                known = self._seen.get(vmid)
                if known and (known.place.kind, known.place.node) == (kind, node):
                    seen = replace(seen, place=known.place)
                self._seen[vmid] = seen
                return seen.guest
        return None

    def _look(self, place: _Place, running: bool, now: float) -> _Seen | None:
        known = self._seen.get(place.vmid)
        # pmxcfs counts writes: a file that could not be read has not changed when it can be.
        if not known or place.version is None or known.place != place or known.unreadable:
            return _merged(known, _read(place), running, now)
        if known.settled and now >= known.due:
            return replace(known, guest=known.settled, settled=None)
        return known


def _merged(known: _Seen | None, fresh: _Seen | None, running: bool, now: float) -> _Seen | None:
    """What counts of a file that was just read: all but the interfaces of a guest that runs,
    and whether it is ours, which have to settle first. One torn at a line's end shows nothing
    of it (see guests.py for the others)."""
    if (not known or not fresh or not running or known.guest.node != fresh.guest.node
            or _settling(fresh.guest) == _settling(known.guest)):
        return fresh
    return replace(fresh, guest=replace(fresh.guest, nets=known.guest.nets,
                                        hookscript=known.guest.hookscript,
                                        incomplete=known.guest.incomplete),
                   settled=fresh.guest, due=now + SETTLE)


def _settling(guest: Guest) -> tuple[object, ...]:
    return guest.nets, guest.hookscript


def hookscript(guest: Guest) -> str | None:
    """What its file says now. Raises CannotTell, also when it has just moved."""
    place = _Place(guest.vmid, guest.kind, guest.node)
    try:
        text = read(place.path)
    except FileNotFoundError as error:
        raise CannotTell(f"{place.path}: {error.strerror}", "was the guest moved?") from error
    return guest_text.parse(text, guest.vmid, guest.kind, guest.node)[0].hookscript


def is_here(vmid: int) -> bool:
    """Whether this node owns the VM's configuration, at this moment. Raises CannotTell."""
    return exists(PVE / "local/qemu-server" / f"{vmid}.conf")


def is_elsewhere(vmid: int) -> bool:
    """Whether another node is seen to own the VM's configuration. Only that makes it gone from
    here: without /etc/pve there is no file either. Raises CannotTell."""
    return mounted() and not is_here(vmid) and bool(
        below(PVE / "nodes", f"*/qemu-server/{vmid}.conf"))


def _known_here() -> None:
    if not mounted():
        raise CannotTell("/etc/pve is not mounted: which guests this node owns is not known",
                         "see: systemctl status pve-cluster")
    if not exists(PVE / "local"):
        raise CannotTell(f"{PVE}/local leads nowhere: which guests this node owns is not known",
                         "was the node renamed? see: ls -l /etc/pve/local /etc/pve/nodes")


def _version() -> str:
    """What pmxcfs has counted: since when, and how many changes of guests' files."""
    try:
        text = read(_VERSION)
    except (FileNotFoundError, CannotTell):
        return ""
    started = re.search(r'"starttime"\s*:\s*(\d+)', text)
    count = re.search(r'"vmlist"\s*:\s*(\d+)', text)
    return f"{started[1]}/{count[1]}" if started and count else ""


def _counted() -> Iterator[_Place]:
    """Every guest's file by .vmlist, which lists none where there is none."""
    try:
        listed = json.loads(read(_VMLIST)).get("ids", {})
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise CannotTell(f"{_VMLIST}: {error}", "see: systemctl status pve-cluster") from error
    for vmid, entry in listed.items():
        if entry["type"] in _DIRECTORIES:
            yield _Place(int(vmid), entry["type"], entry["node"], entry["version"])


def _found() -> Iterator[_Place]:
    try:
        nodes = _names(PVE / "nodes")
    except OSError as error:
        raise CannotTell(f"{PVE}/nodes: {error.strerror}",
                         "see: systemctl status pve-cluster") from error
    for node in nodes:
        for kind, directory in _KINDS:
            for name in _names_or_none(PVE / "nodes" / node / directory):
                match = _CONFIG_FILE.fullmatch(name)
                if match:
                    yield _Place(int(match[1]), kind, node)


def _read(place: _Place) -> _Seen | None:
    path = place.path
    try:
        guest, problems = guest_text.parse(read(path), place.vmid, place.kind, place.node)
    except FileNotFoundError:
        return None  # moved to another node or destroyed since it was listed
    except CannotTell as error:
        guest = Guest(place.vmid, place.kind, place.node, incomplete=True)
        return _Seen(place, guest, (Finding("unreadable", str(path), error.message, error.hint),))
    return _Seen(place, guest, tuple(
        Finding("unparsable", f"{path}:{p.line}" if p.line else str(path), p.text,
                "correct the line; the guest's other lines count meanwhile") for p in problems))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _names_or_none(folder: Path) -> list[str]:
    try:
        return _names(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []  # a node that was never used for this kind of guest
    except OSError as error:
        raise CannotTell(f"{folder}: {error.strerror}") from error
