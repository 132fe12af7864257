"""PVE::GuestHelpers: finding and running a guest's hookscript."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import pmxcfs

# PVE::Tools::run_command and the daemons it runs in leave exactly this.
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/sbin:/bin:/usr/sbin:/usr/bin"}


class HookError(Exception):
    """The script cannot be run, or failed; the text is PVE's."""


def storage_directories(text: str) -> dict[str, Path]:
    """The directory storages of storage.cfg: name → path."""
    found = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("dir:"):
            name = line.split()[1]
        elif line[:1].strip():
            name = ""
        elif name and line.split()[:1] == ["path"]:
            found[name] = Path(line.split()[1])
    return found


def check_hookscript(volume: str) -> Path:
    """The script's path on this node; raises HookError in PVE's words."""
    storage, _, rest = volume.partition(":")
    kind, _, name = rest.partition("/")
    try:
        directory = storage_directories((pmxcfs.ROOT / "storage.cfg").read_text())[storage]
    except KeyError:
        raise HookError(f"storage '{storage}' does not exist") from None
    if kind != "snippets" or not name:
        raise HookError(f"'{volume}' is not in the snippets directory")
    path = directory / "snippets" / name
    if not path.is_file():
        raise HookError(f"script '{volume}' does not exist")
    if not os.access(path, os.X_OK):
        raise HookError(f"script '{volume}' is not executable")
    return path


def exec_hookscript(
    options: dict[str, str], vmid: int, phase: str, *, stop_on_error: bool = False
) -> None:
    """Run the guest's hookscript, if it has one: no timeout, until its output is closed.

    Raises HookError with stop_on_error (pre-start); else a failure only warns.
    """
    volume = options.get("hookscript")
    if not volume:
        return
    try:
        _run([str(check_hookscript(volume)), str(vmid), phase])
    except HookError as error:
        message = f"hookscript error for {vmid} on {phase}: {error}"
        if stop_on_error:
            raise HookError(message) from None
        print(message, file=sys.stderr)


def _run(command: list[str]) -> None:
    """Pass the output on until both pipes are closed, by whoever holds them open."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
        )
    except OSError as error:
        raise HookError(f"command '{' '.join(command)}' failed: {error.strerror}") from None
    assert process.stdout
    for line in process.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
    if status := process.wait():
        raise HookError(f"command '{' '.join(command)}' failed: exit code {status}")
