"""The only reader and writer of FRR's files, and of what we remember about them.

Each file is replaced in one step, so that a crash leaves the old one or the new one. What we
put into it is remembered first: were it lost with the markers (`write memory`), our own
statements would look like the administrator's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from . import lock, switches
from .errors import CannotTell, Refused
from .ospfd import Dialect, Part

FRR = Path("/etc/frr")
QUAGGA = Path("/etc/quagga")
STATE = Path("/var/lib/pve-ospf")
DEFAULT = Path("/etc/default/frr")
MORE_SWITCHES = (FRR / "daemons.conf", DEFAULT, Path("/etc/sysconfig/frr"))
"""Where frrcommon.sh also looks for `ospfd=yes`: one of them is enough."""

Kind = Literal["integrated", "split", "quagga", "sdn"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which files hold the configuration; `part` None is all of it."""

    kind: Kind
    files: tuple[tuple[Path, Part | None], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A file and what it shall hold; `old` None: it does not exist, `new` None: it goes."""

    path: Path
    old: str | None
    new: str | None
    private: bool = True
    """0640 frr:frr, as FRR wants its configuration; else the file keeps what it has. What is
    ours is root's alone: there are keys in it."""


@dataclass(slots=True)
class Memory:
    """What we changed: blocks by file, the newest last; lines we replaced, by file (None:
    there was none); files we made; statements the administrator's part had as well; whether
    we had the service started at boot, and the other daemons that were switched on then."""

    blocks: dict[str, list[str]] = field(default_factory=dict)
    lines: dict[str, str | None] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    shared: list[tuple[str, str]] = field(default_factory=list)
    service: bool = False
    daemons: list[str] = field(default_factory=list)
    owners: dict[str, list[int]] = field(default_factory=dict)
    """Mode, uid and gid of each file before we first wrote it: on Debian 13 frr.conf is
    root's, 0644."""


MERGED = Layout("sdn", ((FRR / "frr.conf.local", None), (FRR / "frr.conf", None)))
"""Where Proxmox SDN writes frr.conf and merges frr.conf.local into it. In both: SDN writes when
it is told to, and FRR may start before."""


def layout(dialect: Dialect) -> Layout:
    """Which of the layouts this node has: the one FRR reads, never the one we would like.

    While frr.conf exists, FRR ignores the daemons' own files; without it a file with
    something in it means that the administrator uses those.
    """
    if dialect.quagga:
        return Layout("quagga", ((QUAGGA / "zebra.conf", "zebra"),
                                 (QUAGGA / "ospfd.conf", "ospfd")))
    own = [path for path in (FRR / "zebra.conf", *FRR.glob("*d.conf"))
           if path.exists() and path.stat().st_size]
    if not (FRR / "frr.conf").exists() and (
            own or switches.is_split(read(FRR / "vtysh.conf") or "")):
        return Layout("split", ((FRR / "zebra.conf", "zebra"), (FRR / "ospfd.conf", "ospfd")))
    return Layout("integrated", ((FRR / "frr.conf", None),))


def read(path: Path) -> str | None:
    """A file's text, every byte kept; None when it does not exist."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def ospfd_enabled() -> bool:
    """Whether FRR starts ospfd when it starts."""
    return enabled("ospfd")


def enabled(daemon: str) -> bool:
    """Whether FRR starts this daemon when it starts."""
    return any(switches.enabled(read(path) or "", daemon)
               for path in (FRR / "daemons", *MORE_SWITCHES))


def others_enabled() -> frozenset[str]:
    """The daemons that FRR starts when it starts, but for ospfd and those it always starts."""
    texts = (read(path) or "" for path in (FRR / "daemons", *MORE_SWITCHES))
    return frozenset[str]().union(*map(switches.switched_on, texts)) - {
        "ospfd", "staticd", "mgmtd"}


def write(change: Change) -> None:
    """Makes a file what it shall be, in one step and for good. Keeps a copy of the old one."""
    if change.old is not None:
        _keep(change.path)
    path = change.path.resolve()
    if change.new is None:
        path.unlink(missing_ok=True)
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(change.new.encode("utf-8", "surrogateescape"))
            _owned(Path(name), change)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


@contextlib.contextmanager
def scratch(text: str) -> Iterator[Path]:
    """A file with `text` that FRR's programs can read and others cannot."""
    lock.RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=lock.RUN) as name:
        Path(name).chmod(0o755)
        path = Path(name) / "frr.conf"
        write(Change(path, None, text))
        yield path


@contextlib.contextmanager
def alone(patience: float = 0) -> Iterator[None]:
    """Holds off a second apply. Raises Refused when another is at work, for all of `patience`
    seconds."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock.held("apply", patience))
        except TimeoutError:
            raise Refused("another pve-ospf apply is at work",
                          "Wait for it to end, then try again.") from None
        yield


def recall() -> Memory:
    """What we remember. Raises CannotTell when it cannot be understood."""
    text = read(STATE / "frr.json")
    if text is None:
        return Memory()
    try:
        return Memory(**json.loads(text))
    except (json.JSONDecodeError, TypeError) as error:
        raise CannotTell(f"{STATE}/frr.json is damaged: {error}",
                         "Move it away; then look for lines of ours in /etc/frr/frr.conf "
                         "outside of our block.") from None


def remember(memory: Memory) -> None:
    """Writes down what we changed, unless that is what is written."""
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    old, new = read(STATE / "frr.json"), json.dumps(asdict(memory), indent=1) + "\n"
    if old != new:
        write(Change(STATE / "frr.json", None, new, private=False))


def forget() -> None:
    """Removes what we remember and the copies we kept."""
    (STATE / "frr.json").unlink(missing_ok=True)
    shutil.rmtree(STATE / "before", ignore_errors=True)


def _keep(path: Path) -> None:
    """A copy of the file as it was before our last change of it."""
    if path.is_relative_to(STATE) or path.is_relative_to(lock.RUN):
        return
    (STATE / "before").mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(path, STATE / "before" / path.name)
        (STATE / "before" / path.name).chmod(0o600)


def _owned(path: Path, change: Change) -> None:
    if change.path.is_relative_to(STATE):
        path.chmod(0o600)  # there may be a key in what we remember
    elif change.private:
        path.chmod(0o640)
        shutil.chown(path, "frr", "frr")
    elif change.path.exists():
        there = change.path.stat()
        path.chmod(there.st_mode & 0o7777)
        os.chown(path, there.st_uid, there.st_gid)
    else:
        path.chmod(0o644)


def owner(path: Path) -> list[int]:
    """Mode, uid and gid, for `hand_back`; [] when the file does not exist."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return []
    return [there.st_mode & 0o7777, there.st_uid, there.st_gid]


def hand_back(path: Path, former: list[int]) -> None:
    """Gives a file the mode and owner it had before us, where both are known."""
    if former and path.exists():
        mode, uid, gid = former
        os.chown(path, uid, gid)
        path.chmod(mode)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
