"""program.run on real children: none of them outlives the wait for it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from pve_ospf import program
from pve_ospf.errors import CannotTell

SCRIPT = "echo $$ >{0}/shell; sleep 60 & echo $! >{0}/sleep; : >{0}/started; wait"


class _TimeUp(Exception):
    """What the hook's SIGALRM raises."""


@pytest.fixture
def alarm(tmp_path: Path) -> None:
    """SIGALRM, as soon as the script has written its process ids."""

    def ring(_number: int, _frame: object) -> None:
        if (tmp_path / "started").exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise _TimeUp

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.02)
                continue
        return True
    os.kill(pid, signal.SIGKILL)
    return False


def _no_child_left() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def _run(directory: Path, timeout: float) -> None:
    program.run(["sh", "-c", SCRIPT.format(directory)], timeout)


@pytest.mark.usefixtures("alarm")
def test_an_interrupted_wait_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(_TimeUp):
        _run(tmp_path, 30)
    assert _no_child_left(), "the shell is neither killed nor reaped"
    assert all(_ends(int((tmp_path / name).read_text())) for name in ("shell", "sleep"))


def test_nor_does_one_whose_time_is_over(tmp_path: Path) -> None:
    with pytest.raises(CannotTell, match="no answer within 1 s"):
        _run(tmp_path, 1)
    assert _no_child_left()
    assert all(_ends(int((tmp_path / name).read_text())) for name in ("shell", "sleep"))
