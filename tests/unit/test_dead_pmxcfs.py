"""pmxcfs has crashed: /etc/pve is there, and every access to it is refused with ENOTCONN."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from pve_ospf import (
    agent,
    attach,
    guestfiles,
    hookscript,
    incoming,
    journal,
    look,
    pve,
    readings,
    wayback,
)
from pve_ospf.errors import CannotTell
from pve_ospf.guestfiles import GuestFiles
from pve_ospf.moving import Move

WORDS = "Transport endpoint is not connected"


@pytest.fixture(autouse=True)
def _dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if isinstance(path, str | Path) and Path(path).is_relative_to(pve.PVE):
                raise OSError(errno.ENOTCONN, WORDS, str(path))
            return real(path, *arguments, **named)
        return call

    for module, names in ((os, ("stat", "lstat", "readlink", "open", "scandir", "listdir",
                                "access", "unlink")), (io, ("open",))):
        for name in names:
            monkeypatch.setattr(module, name, refuse(getattr(module, name)))


@pytest.mark.parametrize("ask", [
    pve.mounted, pve.node_name, pve.ring_addresses, pve.node_addresses, pve.sdn_routing,
    lambda: pve.read_config("pve1"), lambda: pve.router_id("pve1"),
    lambda: pve.publish("pve1", IPv4Address("10.0.0.1")), lambda: pve.publish("pve1", None),
    lambda: guestfiles.is_here(101), lambda: guestfiles.is_elsewhere(101),
    lambda: GuestFiles().read(), lambda: GuestFiles(follow=True).read(), look.look,
    lambda: attach.attach([101], print),
])
def test_cannot_tell(ask: Callable[[], object]) -> None:
    with pytest.raises(CannotTell, match="/etc/pve.*" + WORDS) as told:
        ask()
    assert told.value.hint


def test_check_says_so_and_exits_3() -> None:
    report = readings.check()
    assert report.exit_code == 3
    assert WORDS in report.unread[0].reason


@pytest.mark.parametrize("phase", ["pre-start", "post-start", "post-stop", "pre-stop"])
def test_a_hook_refuses_no_start(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(journal, "error", told.append)
    monkeypatch.setattr(hookscript, "sync", lambda **_: look.look())
    monkeypatch.setattr(incoming, "forget", lambda _: None)
    assert hookscript.main(["101", phase]) == 0
    assert all(WORDS in words for words in told)
    assert bool(told) is (phase != "pre-stop")


def test_apply_tells_the_cluster_nothing_and_goes_on() -> None:
    told: list[str] = []
    wayback.publish(None, told.append)
    assert WORDS in told[0]


def test_the_agent_that_watches_a_move_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "error", lambda _: None)
    resident = object.__new__(agent.Agent)
    resident._moving = {101: Move(owned=True, since=0.0)}  # noqa: SLF001
    resident._due, resident._problem = [], ""  # noqa: SLF001
    resident._watch_moves()  # noqa: SLF001
    assert resident._moving == {}  # noqa: SLF001
    assert resident._due, "a whole look follows"  # noqa: SLF001
