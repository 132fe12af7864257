"""The socket hooks ask on: whoever comes hears something at once, and everybody is answered."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pve_ospf import nudge
from pve_ospf.nudge import WAIT, Nudges


@pytest.fixture
def nudges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nudges]:
    monkeypatch.setattr(nudge, "PATH", tmp_path / "agent")
    found = Nudges()
    yield found
    found.close()


def _hook(words: str = "101 post-start") -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(10)
    connection.connect(str(nudge.PATH))
    connection.send(words.encode())
    return connection


def _heard(hook: socket.socket) -> list[bytes]:
    """Everything until the answer; of several "wait" one."""
    found = [hook.recv(64)]
    while found[-1] == WAIT:
        found.append(hook.recv(64))
    return [WAIT, found[-1]] if len(found) > 1 else found


def test_one_alone_is_not_told_to_wait(nudges: Nudges) -> None:
    with _hook() as hook:
        first = nudges.next()
        assert first
        assert (first.vmid, first.phase, first.source) == (101, "post-start", None)
        first.answer("0")
        assert hook.recv(64) == b"0"


def test_of_several_all_but_the_first_wait_and_are_answered_in_turn(nudges: Nudges) -> None:
    hooks = [_hook(f"{vmid} pre-start pve2") for vmid in (101, 102, 103)]
    asked = []
    while found := nudges.next():
        asked.append((found.vmid, found.source))
        found.answer(str(found.vmid))
    assert asked == [(101, "pve2"), (102, "pve2"), (103, "pve2")]
    assert _heard(hooks[0]) == [b"101"]
    for number, hook in enumerate(hooks[1:], 102):
        assert _heard(hook) == [WAIT, str(number).encode()]


def test_who_comes_while_something_takes_long_is_told_so_meanwhile(nudges: Nudges) -> None:
    """And then waits without anything being readable: `waiting` has to say it."""
    heard: list[bytes] = []

    def ask() -> None:
        with _hook() as hook:
            heard.append(hook.recv(64))
            heard.append(_heard(hook)[-1])

    asking = threading.Thread(target=ask)
    with nudges.held():
        asking.start()
        deadline = time.monotonic() + 10
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
        assert heard == [WAIT]
    assert nudges.waiting
    found = nudges.next()
    assert found
    assert not nudges.waiting
    found.answer("0")
    asking.join(10)
    assert heard == [WAIT, b"0"]


def test_who_waits_is_told_so_again_as_long_as_the_agent_works(
        nudges: Nudges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nudge, "AGAIN", 0.05)
    with _hook() as first, _hook("102 pre-start") as second:
        with nudges.held():
            assert [second.recv(64) for _ in range(3)] == [WAIT] * 3
        while found := nudges.next():
            found.answer(str(found.vmid))
        assert _heard(first) == [WAIT, b"101"]
        assert _heard(second)[-1] == b"102"


def test_more_than_it_has_descriptors_for_stay_in_line(nudges: Nudges) -> None:
    """It ended the agent once, with a thousand hooks waiting."""
    hooks = [_hook(f"{vmid} post-start") for vmid in range(101, 106)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 3, hard))
        try:
            served: list[int] = []
            while (found := nudges.next()) or len(served) < len(hooks):
                assert found
                served.append(found.vmid)
                found.answer("0")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert served == [101, 102, 103, 104, 105]
    assert [_heard(hook)[-1] for hook in hooks] == [b"0"] * 5


def test_one_that_has_given_up_is_known(nudges: Nudges) -> None:
    _hook().close()
    with _hook("102 post-stop") as waits:
        first, second = nudges.next(), nudges.next()
        assert first
        assert second
        assert first.gone()
        assert not second.gone()
        first.answer("0")  # to nobody, and no error
        second.answer("0")
        assert _heard(waits) == [WAIT, b"0"]


@pytest.mark.parametrize("words", ["", "101", "x post-start"])
def test_nonsense_is_hung_up_on(nudges: Nudges, words: str) -> None:
    with _hook(words) as hook:
        assert nudges.next() is None
        assert hook.recv(64) == b""


def test_one_that_is_slow_to_speak_keeps_nobody_waiting(nudges: Nudges) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as slow, _hook() as hook:
        slow.connect(str(nudge.PATH))
        first = nudges.next()
        assert first
        first.answer("0")
        assert hook.recv(64) == b"0"
        assert nudges.next() is None
        slow.send(b"102 pre-start")
        later = nudges.next()
        assert later
        assert later.vmid == 102
        later.answer("0")
