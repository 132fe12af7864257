"""The command as a process: what it says, to whom, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRINTING = """
import sys
from pve_ospf import cli, readings
def run(as_json, what_if, out):
    for number in range(500):
        out(f"line {number}")
    print("the end", file=sys.stderr)
    return 1
readings.run = run
sys.exit(cli.main(sys.argv[1:]))
"""


def _without_a_reader(*arguments: str) -> tuple[int, str]:
    """Exit status and what is said on standard error, with nobody at the pipe's other end."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", PRINTING, *arguments], check=False,
                              stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("arguments", "expected"), [
    (["check"], (1, "the end\n")), (["--help"], (0, "")), (["--version"], (0, ""))])
def test_it_ends_as_it_would_when_nobody_reads_on(
        arguments: list[str], expected: tuple[int, str]) -> None:
    assert _without_a_reader(*arguments) == expected


def test_a_reader_of_errors_that_is_gone_is_no_error_either() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", PRINTING, "nonsense"], check=False,
                          stderr=writer, cwd=ROOT)
    os.close(writer)
    assert done.returncode == 2
