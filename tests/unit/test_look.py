"""What a look remembers of VMs that may only wait."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pve_ospf import incoming, look, qmp
from pve_ospf.look import Memory
from pve_ospf.model import Guest

VM = Guest(200, "qemu", "pve1", hookscript="local:snippets/pve-ospf", lock="migrate")


@dataclass
class Qemu:
    """Says what it is told to, and counts how often it is asked."""

    says: str | None = "inmigrate"
    asked: int = 0
    now: float = 1000.0

    def status(self, _vmid: int) -> str | None:
        self.asked += 1
        return self.says


@pytest.fixture
def qemu(monkeypatch: pytest.MonkeyPatch) -> Qemu:
    found = Qemu()
    monkeypatch.setattr(qmp, "status", found.status)
    monkeypatch.setattr("pve_ospf.look.time.monotonic", lambda: found.now)
    return found


def test_qemu_is_asked_at_certain_times_of_a_transition_and_then_never_again(
        qemu: Qemu) -> None:
    memory, when = Memory(), []
    for tenth in range(3000):
        qemu.now, before = 1000 + tenth / 10, qemu.asked
        assert look._status(VM, "4711", memory) == "inmigrate"
        if qemu.asked > before:
            when.append(tenth / 10)
    assert when == [0, 1, 3, 10, 30]
    assert memory.due() is None
    look._status(replace(VM, lock="create"), "4711", memory)
    assert qemu.asked == 6, "another lock is another transition"
    assert memory.due() == qemu.now + 1


def test_what_runs_is_not_asked_again(qemu: Qemu) -> None:
    memory = Memory()
    qemu.says = "running"
    look._status(VM, "4711", memory)
    qemu.now += 60
    assert look._status(VM, "4711", memory) == "running"
    assert qemu.asked == 1
    assert memory.due() is None


def test_who_is_expected_and_since_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "DIRECTORY", tmp_path / "incoming")
    assert incoming.ages() == {}
    incoming.expect(200, "pve2")
    (tmp_path / "incoming/200.new").touch()
    assert incoming.expected() == {200}
    assert 0 <= incoming.ages()[200] < 60
    incoming.forget(200)
    assert incoming.expected() == frozenset()
