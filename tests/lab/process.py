"""The lab's one door to other programs."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Word = str | Path | int | float


class LabError(Exception):
    """The lab itself could not do what it was asked; the text is for a person."""


class CommandFailed(LabError):
    """A program exited non-zero, or did not end in time; carries what it said."""

    def __init__(self, result: Result, why: str) -> None:
        self.result = result
        super().__init__(f"{result.command}: {why}\n{result.output}".rstrip())


@dataclass(frozen=True)
class Result:
    """What a finished program left behind."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    elapsed: float
    """Seconds from start to end."""

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    @property
    def command(self) -> str:
        return shlex.join(self.argv)

    @property
    def output(self) -> str:
        """Both streams, for messages and for a look with `in`."""
        return self.stdout + self.stderr


def run(
    argv: Sequence[Word],
    *,
    check: bool = True,
    timeout: float = 60,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a program to its end and collect what it says.

    `timeout` is in seconds; `env` replaces our environment. Raises CommandFailed on a
    non-zero exit (unless check=False), and always when the time is over: then the
    program and what it started (its process group) have been killed.
    """
    words = tuple(str(word) for word in argv)
    # Memory files and not pipes: a daemon that keeps our descriptors open must not make
    # us wait for it, only the program itself is waited for.
    out, err, given = (os.memfd_create(name) for name in ("stdout", "stderr", "stdin"))
    os.write(given, stdin.encode("utf-8", "surrogateescape"))
    os.lseek(given, 0, os.SEEK_SET)
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            words, stdin=given, stdout=out, stderr=err, env=env, start_new_session=True
        )
        late = _wait(process, timeout)
        elapsed = time.monotonic() - started
        result = Result(words, process.returncode, _content(out), _content(err), elapsed)
    finally:
        for descriptor in (out, err, given):
            os.close(descriptor)
    if late:
        raise CommandFailed(result, f"still running after {timeout:g} s")
    if check and not result.ok:
        raise CommandFailed(result, f"exit {result.returncode}")
    return result


def _wait(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait for the end; True when the process group had to be killed for it."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        kill_group(process)
        return True
    except BaseException:  # Ctrl-C: the program is in a session of its own
        kill_group(process)
        raise
    return False


def kill_group(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Kill a program that leads its own session, and all of its process group."""
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _content(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read().decode("utf-8", "surrogateescape")
