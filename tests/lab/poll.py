"""Waiting for something to become true, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.lab.process import CommandFailed

T = TypeVar("T")


class NotInTime(AssertionError):
    """What was waited for did not come true before the deadline."""


def poll(predicate: Callable[[], T], deadline: float, message: str, *, every: float = 0.05) -> T:
    """Ask until the answer is true, and return it; `deadline` and `every` are in seconds.

    A program that fails while asked counts as "not yet": what it said is told when the
    time is over. Raises NotInTime then, with `message` and the last answer.
    """
    started = time.monotonic()
    while True:
        last: object
        try:
            last = answer = predicate()
            if answer:
                return answer
        except CommandFailed as error:
            last = error
        if time.monotonic() - started > deadline:
            raise NotInTime(f"{message}: not after {deadline:g} s; last seen: {last}")
        time.sleep(every)
