"""What nobody sees on a terminal: hooks and the agent tell the journal (or syslog)."""

from __future__ import annotations

import syslog

from .model import Finding
from .sync import Result

syslog.openlog("pve-ospf", syslog.LOG_PID, syslog.LOG_DAEMON)


def error(message: str) -> None:
    """Something failed."""
    _log(syslog.LOG_ERR, message)


def warning(message: str) -> None:
    """Something needs an administrator."""
    _log(syslog.LOG_WARNING, message)


def info(message: str) -> None:
    """Something was done."""
    _log(syslog.LOG_INFO, message)


def result(before: str, done: Result | None) -> None:
    """What a sync did and found; None: another one did it, and has told."""
    if done is None:
        return
    changes(before, done)
    for finding in done.findings:
        found(finding)


def changes(before: str, done: Result) -> None:
    """What a sync changed, and what it could not."""
    for change in done.done:
        info(f"{before}{change}")
    for text, reason in done.failed:
        error(f"{before}{text} failed: {reason}")


def found(finding: Finding) -> None:
    """A finding, in one line."""
    warning(f"{finding.subject}: {finding.message}" + (f"; {finding.fix}" if finding.fix else ""))


def _log(priority: int, message: str) -> None:
    # Guests' names and values are users' text: one line, whatever they hold.
    syslog.syslog(priority, "".join(c if c.isprintable() else "?" for c in message))
