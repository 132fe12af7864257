"""The only caller of Proxmox's API: what is Proxmox's to change goes through it.

proxmoxer's `local` backend where the installed version has it (2.x, Debian 13), else `pvesh`
(Debian 12 ships proxmoxer 1.2.0, which lacks it). Both act as root@pam, the only user who may
set a hookscript.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from importlib.util import find_spec

from .errors import CannotTell, Refused
from .guestfiles import hookscript
from .model import Guest

_TIMEOUT = 60.0
"""Seconds. Proxmox waits up to 10 s for a guest's lock, and a remote node must answer."""

_ARRIVES = 2.0
"""Seconds for another node's write to arrive here by corosync; mostly it takes milliseconds."""


def set_hookscript(guest: Guest, volume: str | None) -> None:
    """Sets, or with None deletes, the guest's hookscript on whichever node owns it.

    Raises CannotTell when there is no Proxmox here, Refused with Proxmox's own words.
    """
    if shutil.which("pvesh") is None:
        raise CannotTell("pvesh is not installed: this is not a Proxmox VE node",
                         "run this on a node of the cluster")
    if find_spec("proxmoxer.backends.local"):
        _by_proxmoxer(guest, volume)
    else:
        _by_pvesh(guest, volume)


def _by_proxmoxer(guest: Guest, volume: str | None) -> None:
    from proxmoxer import ProxmoxAPI  # noqa: PLC0415 - 90 ms to import (facts)
    from proxmoxer.core import ResourceException  # noqa: PLC0415

    api = ProxmoxAPI(backend="local", timeout=_TIMEOUT)
    config = api("nodes")(guest.node)(guest.kind)(guest.vmid)("config")
    words = ""
    try:
        config.put(**({"hookscript": volume} if volume else {"delete": "hookscript"}))
    except ResourceException as error:
        words = str(error)
    except subprocess.TimeoutExpired as error:
        raise _late(guest) from error
    # proxmoxer 2.2 takes any word on standard error for a failure, and Proxmox warns there (of
    # a locale, say); a failure without words it takes for success. So the result decides.
    if not _took_effect(guest, volume):
        raise _refused(guest, words)


def _took_effect(guest: Guest, volume: str | None) -> bool:
    """Whether the guest's configuration says so; another node's takes a moment to get here.
    Raises CannotTell."""
    deadline = time.monotonic() + _ARRIVES
    while True:
        if hookscript(guest) == volume:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def _by_pvesh(guest: Guest, volume: str | None) -> None:
    path = f"/nodes/{guest.node}/{guest.kind}/{guest.vmid}/config"
    option = ["--hookscript", volume] if volume else ["--delete", "hookscript"]
    try:
        done = subprocess.run(["pvesh", "set", path, *option], check=False, text=True,
                              capture_output=True, timeout=_TIMEOUT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise _late(guest) from error
    if done.returncode != 0:
        raise _refused(guest, done.stderr)


def _late(guest: Guest) -> Refused:
    return _refused(guest, f"pvesh did not answer within {_TIMEOUT:.0f} s")


def _refused(guest: Guest, words: str) -> Refused:
    line = " ".join(words.split()) or "no reason given"
    return Refused(f"guest {guest.vmid} on {guest.node}: Proxmox refused: {line}",
                   "only root@pam may set a hookscript; see also: "
                   f"{'pct' if guest.kind == 'lxc' else 'qm'} config {guest.vmid}")
