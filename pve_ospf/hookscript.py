"""The work of a hook where no agent does it: `VMID PHASE [BEGAN]`, as root.

Proxmox sets no time limit and waits, so there is one here; only pre-start may refuse, and only
for an address that the policy forbids or that another running guest holds. In post-stop the
output is invisible and too much of it deadlocks the stop: there, and everywhere else, the
journal is told.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator

from . import incoming, journal, prestart
from .errors import PveOspfError
from .look import look
from .model import Finding
from .sync import sync

PATIENCE = 2.0
"""Seconds from the hook's beginning after which it gives up, whatever it waits for; the agent
does what is left once it is back."""


_GIVEN_UP = (f"given up after {PATIENCE:g} s; the agent does it once it is back: "
             "systemctl status pve-ospf")
_TO_END = 0.2
"""Seconds it then has to end in an orderly way."""


class _TimeUp(PveOspfError):
    """The hook took too long, whatever it waited for."""


def main(arguments: list[str]) -> int:
    """The exit code: non-zero only to refuse a start. `BEGAN`: when the hook was called,
    nanoseconds of the monotonic clock."""
    if len(arguments) not in (2, 3) or not all(a.isdigit() for a in arguments[:1] + arguments[2:]):
        print("usage: pve-ospf VMID PHASE (called by Proxmox VE)", file=sys.stderr)
        return 2
    vmid, phase = int(arguments[0]), arguments[1]
    began = int(arguments[2]) if len(arguments) == 3 else time.monotonic_ns()
    try:
        with _time_limit(f"guest {vmid} {phase}", began):
            return _phase(vmid, phase, began)
    except PveOspfError as error:
        journal.error(f"guest {vmid} {phase}: {error.message}")
    except Exception as error:  # noqa: BLE001 - whatever breaks here must not break the guest
        journal.error(f"guest {vmid} {phase}: {type(error).__name__}: {error}")
    return 0


def _phase(vmid: int, phase: str, began: int) -> int:
    source = os.environ.get("PVE_MIGRATED_FROM")
    if source and phase in ("pre-start", "post-start"):
        incoming.expect(vmid, source)
    match phase:
        case "pre-start":
            return _pre_start(vmid, source)
        case "post-start":
            journal.result(f"guest {vmid} {phase}: ", sync(since=began))
        case "post-stop":
            incoming.forget(vmid)
            journal.result(f"guest {vmid} {phase}: ", sync(stopped=[vmid]))
        case _:
            pass  # pre-stop is no commitment: a shutdown can time out and the guest runs on
    return 0


def _pre_start(vmid: int, source: str | None) -> int:
    picture = look()
    guest = picture.cluster.guest(vmid)
    if guest is None or not guest.attached:
        return 0
    verdict = prestart.verdict(picture, guest, source)
    for warning in verdict.warnings:
        journal.warning(warning)
    if verdict.refusal is None:
        return 0
    print(refused(vmid, verdict.refusal), file=sys.stderr)
    return 1


def refused(vmid: int, refusal: Finding) -> str:
    """What Proxmox shows of a refusal; the journal gets it, too."""
    journal.error(f"guest {vmid} refused: {refusal.message}")
    return f"pve-ospf: guest {vmid}: {refusal.message}; {refusal.fix}"


@contextlib.contextmanager
def _time_limit(what: str, began: int) -> Iterator[None]:
    signals = itertools.count()

    def give_up(_signal: int, _frame: object) -> None:
        if next(signals):
            # Python swallows an exception that comes up in a finalizer. Whatever the process
            # is at, it ends: the kernel lets go of its lock.
            journal.error(f"{what}: {_GIVEN_UP}")
            os._exit(0)
        raise _TimeUp(_GIVEN_UP)

    signal.signal(signal.SIGALRM, give_up)
    left = PATIENCE - (time.monotonic_ns() - began) / 1e9
    signal.setitimer(signal.ITIMER_REAL, max(left, 0.05), _TO_END)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
