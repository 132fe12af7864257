"""The agent's loop: nobody waits for an answer that does not come, and nothing ends it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pve_ospf import agent as agents
from pve_ospf import guestfiles, nudge, sync
from pve_ospf.agent import Agent
from pve_ospf.announce import Desired, Node
from pve_ospf.config import Config
from pve_ospf.errors import CannotTell
from pve_ospf.frrwatch import FrrWatch
from pve_ospf.held import Held
from pve_ospf.interfaces import Roles
from pve_ospf.moving import Move
from pve_ospf.nudge import WAIT
from pve_ospf.picture import Cluster, Picture
from pve_ospf.routes import KernelState

PICTURE = Picture(Config(()), Cluster(), Node("pve1", Roles()), KernelState(), Desired())


class _NoFrr(FrrWatch):
    """FRR is not asked here."""

    def start(self) -> None:
        pass


class _Agent(Agent):
    """One whose full sync does nothing but what a test has it do."""

    syncs = 0

    def _full_sync(self) -> None:
        self.syncs += 1
        now = time.monotonic()
        self._due = [due for due in self._due if due > now]
        self._timer = now + agents.TIMER
        self.in_sync()

    def in_sync(self) -> None:
        pass


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Agent]:
    monkeypatch.setattr(nudge, "PATH", tmp_path / "agent")
    found = _Agent(frr=_NoFrr())
    yield found
    found.nudges.close()


class _Hook(threading.Thread):
    """Asks, notes what it hears, and ends the agent when it has its answer."""

    def __init__(self, agent: Agent, words: str = "101 post-start") -> None:
        super().__init__(daemon=True)
        self.heard: list[bytes] = []
        self._agent, self._words = agent, words

    def run(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(10)
            connection.connect(str(nudge.PATH))
            connection.send(self._words.encode())
            try:
                while not self.heard or self.heard[-1] == WAIT:
                    self.heard.append(connection.recv(64))
            except TimeoutError:
                self.heard.append(b"never")
        self._agent.ending = True


def test_a_hook_that_came_during_a_sync_is_answered_at_its_end(agent: _Agent) -> None:
    hook = _Hook(agent)

    def in_sync() -> None:
        if agent.syncs == 1:
            hook.start()
            deadline = time.monotonic() + 10
            while not hook.heard and time.monotonic() < deadline:
                time.sleep(0.01)

    agent.in_sync = in_sync  # type: ignore[method-assign]
    assert agent.run() == 0
    hook.join(10)
    assert hook.heard[0] == WAIT
    assert hook.heard[-1] == b"", "the work is its own, for nothing is held here"


def test_a_hook_that_gave_up_has_its_guest_looked_at_now_and_later(
        agent: _Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "AFTER_LATE", 0.6)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(nudge.PATH))
        connection.send(b"101 post-start")
    began = time.monotonic()
    when: list[float] = []

    def in_sync() -> None:
        when.append(time.monotonic() - began)
        agent.ending = len(when) == 4

    agent.in_sync = in_sync  # type: ignore[method-assign]
    assert agent.run() == 0
    assert when[3] < agents.TIMER, "at the start, at once, after any nudge, and once more"


class _Dying(FrrWatch):
    """A thread that ends as soon as it looks."""

    def _run(self) -> None:
        pass


def test_without_the_thread_that_watches_frr_it_ends_for_systemd_to_start_both_anew(
        agent: _Agent) -> None:
    agent.frr = _Dying()
    with pytest.raises(CannotTell, match="watches FRR has ended"):
        agent.run()
    assert not nudge.PATH.exists(), "hooks do their own work"


def test_a_lock_that_is_held_at_the_switchover_is_waited_for_and_nothing_else(
        agent: _Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended the agent once. The move stays to be done, at each time round."""
    tries = []

    def guest(*_: object, **__: object) -> None:
        tries.append(True)
        if len(tries) < 3:
            raise sync.Busy("held")

    monkeypatch.setattr(guestfiles, "is_here", lambda _vmid: True)
    monkeypatch.setattr(agent, "_guest", guest)
    agent.picture, agent.held = PICTURE, Held(PICTURE)
    agent._moving = {200: Move(False, time.monotonic())}
    for turn in range(1, 5):
        agent._watch_moves()
        assert len(tries) == min(turn, 3)
        assert agent._moving[200].owned is (turn >= 3)


def test_a_full_sync_that_finds_the_lock_held_keeps_what_serves_hooks(agent: Agent) -> None:
    agent.picture = PICTURE
    agent.held = held = Held(PICTURE)
    agent._failed(sync.Busy("held"))
    assert agent.held is held
    assert min(agent._due) <= time.monotonic(), "again at once"
    agent._locked_out -= sync.LOCK_PATIENCE
    agent._failed(sync.Busy("held"))
    assert agent.held is None, "not for ever: hooks then do their own work, and say so"
