"""The only way to FRR: its daemons' sockets, vtysh, ospfd -C, frr-reload.py.

What is read often is asked over the socket that vtysh itself uses (lib/vty.c, vtysh_read), one
command and one answer at a time: vtysh's start costs 37 ms of CPU, more than any answer. A
stopped daemon never answers, so each call has a time limit, and what belongs to one daemon is
asked of that daemon alone: another that hangs does no harm then.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from . import lock
from .errors import CannotTell, Refused
from .program import Result, lines, run
from .secrecy import hidden

DAEMONS = Path("/usr/lib/frr")
QUAGGA_DAEMONS = (Path("/usr/lib/quagga"), Path("/usr/sbin"))
RUN = Path("/run/frr")
RELOAD = DAEMONS / "frr-reload.py"

_ALWAYS = frozenset({"watchfrr", "zebra", "mgmtd", "staticd"})

_DOES_IT_RUN = "Does FRR run? systemctl status frr; to set it up: pve-ospf apply"

_VERSION = re.compile(r"^ospfd version (\d+(?:\.\d+)*)", re.MULTILINE)
_NOT_ENABLED = re.compile(r"% OSPF (is not enabled|instance not found)")
_DIFF_HEADINGS = re.compile(r"Lines To (Delete|Add)|=+|")


def show(command: str, timeout: float = 2.0) -> object:
    """The JSON of a `show …` command (without the word json), parsed.

    `{}` when ospfd runs but no `router ospf` is configured: FRR answers that with nothing or
    with a sentence, by version and command. Raises CannotTell when FRR is down, hangs, or
    says anything else that is not JSON.
    """
    daemon = "ospfd" if " ospf" in command else "zebra"
    said = _asked(daemon, [f"{command} json"], timeout)[0].strip()
    return _json(command, said)


def answers(daemon: str) -> bool:
    """Whether this one daemon answers, whatever the others do."""
    try:
        _asked(daemon, ["show version"], 5)
    except CannotTell:
        return False
    return True


def show_and_config(command: str, timeout: float = 2.0) -> tuple[object, str]:
    """What show() says of ospfd, and ospfd's running configuration. Raises CannotTell."""
    said, config = _asked("ospfd", [f"{command} json", "show running-config"], timeout)
    return _json(command, said.strip()), config


def _json(command: str, said: str) -> object:
    if command.startswith("show ip ospf") and (not said or _NOT_ENABLED.match(said)):
        return {}
    try:
        answer: object = json.loads(said)
    except json.JSONDecodeError:
        raise CannotTell(f"'{command} json' was not answered in JSON: {said[:80]!r}",
                         "This version of FRR may not be supported.") from None
    return answer


def _asked(daemon: str, commands: Sequence[str], timeout: float) -> list[str]:
    """What a daemon answers to each of these. Raises CannotTell."""
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(timeout)
            connection.connect(str(RUN / f"{daemon}.vty"))
            # Refused without: show running-config.
            return [_answer(connection, command, deadline)
                    for command in ("enable", *commands)][1:]
        except TimeoutError:
            raise CannotTell(f"{daemon}: no answer within {timeout:g} s",
                             "A daemon of FRR hangs; see: systemctl status frr") from None
        except OSError as error:
            raise CannotTell(f"{daemon} does not answer: {error.strerror or error}",
                             _DOES_IT_RUN) from None


def _answer(connection: socket.socket, command: str, deadline: float) -> str:
    """An answer ends with three zero bytes and the command's result (lib/command.h)."""
    connection.sendall(command.encode() + b"\0")
    said = bytearray()
    while said[-4:-1] != b"\0\0\0":
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = connection.recv(1 << 18)
        if not piece:
            raise ConnectionResetError(errno.ECONNRESET, "it closed the connection")
        said += piece
    text = said[:-4].decode("utf-8", "surrogateescape")
    if said[-1]:
        raise CannotTell(f"FRR refuses '{command}': {next(iter(lines(text)), said[-1])}",
                         _DOES_IT_RUN)
    return text


def version() -> tuple[int, ...]:
    """The version of the installed ospfd, also when no daemon runs; (1, …) is Quagga.

    Raises CannotTell when there is neither FRR nor Quagga.
    """
    for directory in (DAEMONS, *QUAGGA_DAEMONS):
        if (directory / "ospfd").exists():
            found = _VERSION.search(run([directory / "ospfd", "--version"], 5).out)
            if found:
                return tuple(int(part) for part in found[1].split("."))
    raise CannotTell("no ospfd found: FRR is not installed", "apt install frr frr-pythontools")


def running(daemon: str) -> bool:
    """Whether FRR's daemon of that name lives, by its own pid file."""
    try:
        pid = int((RUN / f"{daemon}.pid").read_text())
        return Path(f"/proc/{pid}/comm").read_text().strip() == daemon
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False


def process(daemon: str) -> tuple[int, int] | None:
    """Process id of a daemon of FRR's, and its start in clock ticks since the machine's; None
    when it does not live."""
    try:
        pid = int((RUN / f"{daemon}.pid").read_text())
        # "PID (COMM) STATE …": the start is field 22, the 20th behind the name.
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    fields = rest.split()
    return (pid, int(fields[19])) if name == daemon and fields[0] != "Z" else None


def signs() -> tuple[object, ...]:
    """What of FRR is visible without asking it: changes whenever one of its daemons does."""
    return tuple(map(_sign, _SIGNS))


_SIGNS = tuple((RUN / f"{daemon}.pid", RUN / f"{daemon}.vty")
               for daemon in ("watchfrr", "zebra", "ospfd"))


def _sign(files: tuple[Path, Path]) -> tuple[object, ...]:
    mark = _inode(files[0])
    return mark, _inode(files[1]), mark and _proc(files[0], mark).exists()


@lru_cache(maxsize=len(_SIGNS))
def _proc(pid: Path, _mark: tuple[int, int]) -> Path:
    """Asked twice a second, for years."""
    try:
        return Path("/proc", pid.read_text().strip() or "none")
    except OSError:
        return Path("/proc/none")


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def watched(daemon: str) -> bool:
    """Whether watchfrr lives and starts this daemon again when it ends."""
    found = process("watchfrr")
    try:
        return found is not None and daemon.encode() in Path(
            f"/proc/{found[0]}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def end(daemon: str) -> None:
    """Ends a daemon at once, for watchfrr to start it again.

    That is FRR's own way: started by us it would live in our service's cgroup, and under the
    restrictions of our service. SIGKILL, because at SIGTERM ospfd takes back every LSA first,
    and the routes are gone for longer (measured: 11.1 s, against 5.1 s).
    """
    found = process(daemon)
    if found:
        with suppress(ProcessLookupError):
            os.kill(found[0], signal.SIGKILL)


def others() -> list[str]:
    """FRR's daemons that run beside ospfd and those that always do: somebody else's routing."""
    names = {path.stem for path in RUN.glob("*.pid")} - _ALWAYS - {"ospfd"}
    return sorted(name for name in names if running(name))


def running_config(daemon: str = "ospfd") -> str:
    """What a daemon ("": all of them) is configured to do now, as text. Raises CannotTell."""
    return _vtysh(["-c", " ".join(f"show running-config {daemon} no-header".split())], 10).out


def configure(statements: Sequence[str]) -> None:
    """Configuration statements given to the running daemons. Raises Refused with FRR's words."""
    words = ["-c", "configure terminal"]
    for statement in statements:
        words += ["-c", statement]
    result = run(["vtysh", *words], 10)
    if result.code:
        raise Refused(f"FRR refused {'; '.join(statements)}: {result.first_line()}")


def load(path: Path) -> None:
    """Configuration statements given to the running daemons by a file: what must not be seen
    in the process list. Raises Refused, with FRR's words but not the statements."""
    result = run(["vtysh", "-f", path], 10)
    if result.code:
        raise Refused(f"FRR refused a key: {hidden(result.first_line())}")


def clear_process() -> None:
    """Starts OSPF over, with the router id it was given last; every neighbour is lost for
    a while."""
    _vtysh(["-d", "ospfd", "-c", "clear ip ospf process"], 10)


def validate(path: Path) -> list[str]:
    """What FRR finds wrong in an integrated configuration file, one line each.

    `vtysh -C` knows the grammar of all daemons; the daemons need not run.
    """
    result = run(["vtysh", "-C", "-f", path], 20)
    if not result.code:
        return []
    return [*lines(hidden(result.out + result.err))] or [f"vtysh -C failed with {result.code}"]


def validate_ospfd(path: Path) -> list[str]:
    """What ospfd itself finds wrong in a file of its own. Its exit code is always 0: what
    counts is what it says. The file must be readable to the user frr."""
    result = run([DAEMONS / "ospfd", "-C", "-f", path], 20)
    return [line.partition("] ")[2] or line for line in lines(hidden(result.err))
            if "on config line" in line]


def reload_diff(path: Path, daemon: str = "ospfd") -> list[str]:
    """The commands frr-reload would give a daemon ("": all of them) to make it what the file
    says.

    Raises CannotTell when it cannot be computed.
    """
    only = ["--daemon", daemon] if daemon else []
    result = run([RELOAD, *only, "--test", path], 60)
    if result.code or "ERROR" in result.err:
        raise CannotTell(f"frr-reload.py --test failed: {result.first_line()}")
    commands: list[str] = []
    stanza = ""
    for line in result.out.splitlines():
        # Each statement comes with its stanza, and from 10.x on with an exit; once is enough.
        if line.strip() != "exit" and line != stanza and not _DIFF_HEADINGS.fullmatch(line):
            commands.append(line)
            stanza = stanza if line.startswith(" ") else line
    return commands


def reload(path: Path) -> None:
    """Makes the running ospfd what the file says; nothing is written to FRR's files.

    With `--daemon` it leaves every other daemon alone. A plain reload of frr.conf switches
    IPv6 forwarding on where it was off (8.4, 10.3), which makes the kernel drop the default
    routes it learnt, and undoes what the administrator changed at run time.

    Two at once would make a mixture. One whose apply was killed goes on by itself, and holds
    the lock meanwhile. Raises Refused with what FRR said, and CannotTell.
    """
    try:
        with lock.held("reload", 60) as descriptor:
            # It writes what it adds, keys among it, into a file beside FRR's sockets.
            result = run([RELOAD, "--stdout", "--daemon", "ospfd", "--reload", path], 60,
                         keep=descriptor, umask=0o077)
    except TimeoutError as error:
        raise CannotTell("another reload of FRR is at work") from error
    if result.code:
        raise Refused(f"frr-reload.py failed: {result.first_line()}")


def _vtysh(arguments: Sequence[str], timeout: float) -> Result:
    result = run(["vtysh", *arguments], timeout)
    if result.code:
        raise CannotTell(f"vtysh {' '.join(arguments)}: {result.first_line()}",
                         _DOES_IT_RUN)
    return result
