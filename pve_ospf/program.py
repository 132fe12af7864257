"""Other programs, run to their end within a limit, or let go of."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from .errors import CannotTell


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished program left behind; `code` is its exit code."""

    code: int
    out: str
    err: str

    def first_line(self) -> str:
        """What it said first, of errors rather than of progress."""
        said = lines(self.err) + lines(self.out)
        errors = [line for line in said
                  if re.search(r"error|%|fail|refused", line, re.IGNORECASE)]
        return (errors or said or [f"exit code {self.code}"])[0]


def run(arguments: Sequence[str | Path], timeout: float, given: str = "", *,
        keep: int | None = None, umask: int = -1) -> Result:
    """Runs a program to its end, in the C locale; `timeout` is in seconds. It reads `given`.

    It gets the descriptor `keep`, if any: a lock, to hold it should we be killed.

    When the time is over, or an exception interrupts the wait, it and its children are killed.
    Raises CannotTell when the time is over, and when the program is not there.
    """
    command = [str(word) for word in arguments]
    # Files, not pipes: the daemons that frrinit.sh starts keep theirs open for ever.
    with TemporaryFile() as out, TemporaryFile() as err, TemporaryFile() as text:
        text.write(given.encode())
        text.seek(0)
        try:
            child = subprocess.Popen(command, stdin=text, stdout=out, stderr=err,
                                     env={**os.environ, "LC_ALL": "C"}, start_new_session=True,
                                     umask=umask,
                                     pass_fds=[] if keep is None else [keep])
        except FileNotFoundError:
            raise CannotTell(f"{command[0]} is not installed",
                             "apt install frr frr-pythontools") from None
        ended = False
        try:
            ended = _ends_within(child, timeout)
        finally:  # also on Ctrl-C and when a hook's time is up: nobody else would end it
            if not ended:
                os.killpg(child.pid, signal.SIGKILL)
            code = child.wait()
        if not ended:
            raise CannotTell(f"{' '.join(command)}: no answer within {timeout:g} s",
                             "A daemon of FRR hangs; see: systemctl status frr")
        return Result(code, _text(out), _text(err))


def lines(text: str) -> list[str]:
    """The lines that say something."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _ends_within(child: subprocess.Popen[bytes], timeout: float) -> bool:
    # Popen.wait(timeout) looks every 50 ms only: as long again as vtysh takes.
    process = os.pidfd_open(child.pid)
    try:
        return bool(select.select([process], [], [], timeout)[0])
    finally:
        os.close(process)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "surrogateescape")
