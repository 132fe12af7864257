"""How a change in progress hears that it is to end, so that it can go back first.

SIGHUP is what a dropped terminal sends; without this it would leave half of a change.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator

from .errors import PveOspfError

Out = Callable[[str], None]


class Ended(PveOspfError):
    """Somebody ends us, or the terminal is gone."""


ENDING = (signal.SIGHUP, signal.SIGTERM)


def end(number: int, _frame: object) -> None:
    """A handler: raises Ended where the program is just then."""
    for each in ENDING:
        signal.signal(each, later)  # a second one must not end the going back
    raise Ended(f"ended by {signal.Signals(number).name}")


def later(_number: int, _frame: object) -> None:
    """Not now. Unlike SIG_IGN, FRR's programs do not inherit it."""


@contextlib.contextmanager
def held(signals: Iterable[signal.Signals],
         handler: Callable[[int, object], None]) -> Iterator[None]:
    """Signals go to `handler` meanwhile, but for those that are ignored (nohup)."""
    before = {each: signal.getsignal(each) for each in signals}
    before = {each: former for each, former in before.items() if former is not signal.SIG_IGN}
    try:
        for each in before:
            signal.signal(each, handler)
        yield
    finally:
        for each, former in before.items():
            signal.signal(each, former)


def reason(error: BaseException) -> str:
    """Why it ended, in one line for a person."""
    match error:
        case PveOspfError():
            return error.message
        case KeyboardInterrupt():
            return "interrupted"
        case BrokenPipeError():
            return "nobody reads the output any more"
        case OSError():
            return str(error)
    return f"{type(error).__name__}: {error}"


def to_whom_listens(out: Out) -> Out:
    """`out` that is not stopped by a terminal or a pipe that is gone."""
    def say(line: str) -> None:
        with contextlib.suppress(OSError):
            out(line)
    return say
