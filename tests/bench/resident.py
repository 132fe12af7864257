"""The benchmark's own programs inside the lab's machines (see inside/), and route watchers."""

from __future__ import annotations

import calendar
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.machine import Machine
from tests.lab.poll import poll
from tests.lab.process import LabError, Word, kill_group

INSIDE = Path(__file__).with_name("inside")
PYTHON = "/usr/bin/python3"
_numbers = itertools.count(1)


def put(machine: Machine, name: str) -> str:
    """Copies a program of inside/ into the machine; its path there."""
    path = f"/run/bench/{name}"
    machine.write(path, (INSIDE / name).read_text())
    return path


class Resident:
    """A program of inside/ that runs in a machine."""

    def __init__(self, machine: Machine, name: str, *arguments: Word) -> None:
        words: list[Word] = [PYTHON, "-I", put(machine, name), *arguments]
        self._process = machine.popen(words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        kill_group(self._process)

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            raise LabError(line + self._process.stdout.read()) from None

    def end(self) -> Any:
        """Its last word, after its input has ended."""
        assert self._process.stdin
        self._process.stdin.close()
        return self.answer()


@dataclass(frozen=True)
class Run:
    """A program that has been run: start (clock), duration in seconds, exit code, peak KiB."""

    began: float
    seconds: float
    code: int
    peak: int

    @property
    def ended(self) -> float:
        return self.began + self.seconds


class Spawner(Resident):
    """Runs programs in a machine, and times them there."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "spawn.py")

    def run(self, *argv: Word) -> Run:
        return self._several([argv], together=False)[0]

    def together(self, programs: Sequence[Sequence[Word]]) -> list[Run]:
        """All at once; in the order in which they ended."""
        return self._several(programs, together=True)

    def _several(self, programs: Sequence[Sequence[Word]], together: bool) -> list[Run]:
        argvs = [[str(word) for word in argv] for argv in programs]
        return [Run(*answer) for answer in self.ask(programs=argvs, together=together)]


@dataclass(frozen=True)
class Event:
    """A host route came (or was replaced), or went, in a machine's kernel."""

    when: float
    address: str
    gone: bool
    text: str


class Watch:
    """`ip monitor route` on a machine."""

    def __init__(self, machine: Machine) -> None:
        name = f"/run/watch-{next(_numbers)}"
        path = Path(f"/proc/{machine.pid}/root{name}")
        self._process = machine.popen(
            ["sh", "-c", f"exec stdbuf -oL env TZ=UTC ip -ts monitor route >{name}"])
        poll(path.exists, 5, "the monitor writes")
        time.sleep(0.1)  # it exists a moment before the monitor listens
        self._file = path.open(encoding="ascii")
        self._rest = ""
        self.events: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        kill_group(self._process)
        self._file.close()

    def read(self) -> list[Event]:
        """Everything that was seen so far."""
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        self.events += [event for event in map(_event, lines) if event]
        return self.events

    def seen(self, address: str, *, gone: bool = False, since: float = 0,
             timeout: float = 15) -> float:
        """When the host route came, or went; polls."""
        what = f"a route to {address} {'gone' if gone else 'there'}"
        return poll(lambda: self._find(address, gone, since), timeout, what, every=0.005)

    def _find(self, address: str, gone: bool, since: float) -> float:
        return next((event.when for event in self.read() if event.address == address
                     and event.gone == gone and event.when >= since), 0.0)

    def of(self, address: str, since: float = 0) -> list[Event]:
        return [e for e in self.read() if e.address == address and e.when >= since]


def _event(line: str) -> Event | None:
    """iproute2's short timestamp, microseconds, then what happened."""
    stamp, _, text = line.partition("] ")
    if not stamp.startswith("["):
        return None
    whole, _, fraction = stamp[1:].partition(".")
    when = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction}")
    gone = text.startswith("Deleted ")
    text = text.removeprefix("Deleted ")
    return Event(when, text.partition(" ")[0], gone, text)
