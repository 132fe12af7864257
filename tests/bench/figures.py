"""Figures and verdicts, and how they are printed: Markdown, as BENCHMARKS.md has them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
UNITS = {"ms": 1e3, "s": 1.0, "MB": 1.0, "%": 1.0, "": 1.0}


@dataclass(frozen=True)
class Row:
    """One figure: what was measured, in seconds where `unit` is one of time."""

    name: str
    values: Sequence[float]
    unit: str = "ms"

    def text(self) -> str:
        if not self.values:
            return f"| {self.name} | never | | | 0 |"
        scaled = [value * UNITS[self.unit] for value in self.values]
        of = (statistics.median(scaled), min(scaled), max(scaled))
        middle, least, most = (_number(value) for value in of)
        return f"| {self.name} | {middle} {self.unit} | {least} | {most} | {len(scaled)} |"


@dataclass(frozen=True)
class Verdict:
    """A goal, and whether it held; `hard`: when it did not, the benchmark fails."""

    text: str
    held: bool
    hard: bool = False

    def line(self) -> str:
        failed = "NOT HELD (hard)" if self.hard else "not held"
        return f"- {'held' if self.held else failed}: {self.text}"


@dataclass
class Table:
    """What one part of the benchmark has to say."""

    title: str
    rows: list[Row] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, name: str, values: Iterable[float], unit: str = "ms") -> None:
        self.rows.append(Row(name, list(values), unit))

    def goal(self, text: str, held: bool, *, hard: bool = False) -> None:
        self.verdicts.append(Verdict(text, held, hard))

    def text(self) -> str:
        lines = [f"## {self.title}", "", "| | median | min | max | runs |",
                 "|---|---:|---:|---:|---:|", *(row.text() for row in self.rows), ""]
        lines += [verdict.line() for verdict in self.verdicts]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    @property
    def failed(self) -> bool:
        return any(verdict.hard and not verdict.held for verdict in self.verdicts)


def rounds(name: str, items: Sequence[T]) -> Iterator[T]:
    """The items, with progress on standard error."""
    terminal = sys.stderr.isatty()
    for number, item in enumerate(items, start=1):
        if terminal:
            print(f"\r{name}: {number}/{len(items)} ", end="", file=sys.stderr, flush=True)
        elif number in (1, len(items)):
            print(f"{name}: {number}/{len(items)}", file=sys.stderr, flush=True)
        yield item
    if terminal:
        print(file=sys.stderr)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("inf")


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 \
        else f"{value:.2f}"
