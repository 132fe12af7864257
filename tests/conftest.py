"""What all tests have in common: the package under test, and a report of a lab that failed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import adjacency
from tests.lab import lab as labs

DIST = Path(__file__).parents[1] / "dist"
LINES = 120
"""Lines of each log that a failure shows."""

Sizes = dict[str, int]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "loses_adjacency: takes an OSPF neighbour away in a way that the lab cannot see"
    )
    config.addinivalue_line(
        "markers", "quiet: needs a machine that does nothing else; run by `make soak`, one by one"
    )
    config.addinivalue_line(
        "markers", "soak: more of the same, on one more release of FRR; run by `make soak`"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcome", help="a file for the number that passed and who failed")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """For tests/run, which looks at failed tests again: how many passed; a line for each failed."""
    if path := config.getoption("--outcome"):
        stats = terminalreporter.stats
        failed = {report.nodeid for kind in ("failed", "error") for report in stats.get(kind, [])}
        lines = [str(len(stats.get("passed", []))), *sorted(failed)]
        Path(path).write_text("".join(f"{line}\n" for line in lines), "utf-8")


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package under test: $PVE_OSPF_DEB, else the newest in dist/."""
    if named := os.environ.get("PVE_OSPF_DEB"):
        return Path(named).resolve()
    built = sorted(DIST.glob("pve-ospf_*.deb"), key=lambda path: path.stat().st_mtime)
    if not built:
        pytest.fail(f"no package in {DIST}: build it with `make deb`", pytrace=False)
    return built[-1]


@pytest.fixture(autouse=True)
def _lab_watch(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test during which an adjacency was lost that nobody took: the machine's fault."""
    before = {
        lab: (adjacency.disturbance(lab), frozenset(adjacency.losses(lab))) for lab in labs.live
    }
    request.node.stash[_SIZES] = {lab: _sizes(lab) for lab in labs.live}
    yield
    expected = request.node.get_closest_marker("loses_adjacency")
    for lab, (undisturbed, known) in before.items():
        if expected or lab not in labs.live or adjacency.disturbance(lab) != undisturbed:
            continue
        if lost := [line for line in adjacency.losses(lab) if line not in known]:
            pytest.fail(
                "the machine's fault, not the test's: too slow to keep OSPF's adjacencies\n"
                + "\n".join(lost),
                pytrace=False,
            )


_SIZES = pytest.StashKey[dict[labs.Lab, Sizes]]()


def _sizes(lab: labs.Lab) -> Sizes:
    return {name: len(text) for name, text in lab.logs().items()}


@pytest.hookimpl(hookwrapper=True)  # type: ignore[misc,unused-ignore]
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put the logs of every machine of every lab that is up beside a failure."""
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    if not report.failed:
        return
    before = item.stash.get(_SIZES, {})
    for lab in labs.live:
        for name, text in lab.logs().items():
            new = text[before.get(lab, {}).get(name, 0) :]
            if new.strip():
                report.sections.append((f"{name} during this test", _tail(new)))


def _tail(text: str) -> str:
    lines = text.splitlines()
    left_out = [f"… {len(lines) - LINES} lines before"] if len(lines) > LINES else []
    return "\n".join(left_out + lines[-LINES:])
