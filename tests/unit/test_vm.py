"""Whether a VM whose QEMU lives runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pve_ospf import vm
from pve_ospf.model import Guest

VM = Guest(200, "qemu", "pve1")
INCOMING = ("/usr/bin/kvm", "-id", "200", "-incoming", "unix:/run/x", "-S")


@pytest.mark.parametrize(("lock", "words", "doubt"), [
    ("", INCOMING, False),
    ("migrate", INCOMING, True),
    ("create", INCOMING, True),
    ("backup", ("/usr/bin/kvm", "-S"), True),
    ("backup", ("/usr/bin/kvm", "-id", "200"), False),
    ("migrate", ("/usr/bin/kvm", "-id", "200"), False),
    ("snapshot", INCOMING, False),
    ("migrate", ("/usr/bin/kvm", "-name", "-incoming-web"), False),
])
def test_only_one_that_was_told_to_wait_and_is_locked_is_in_doubt(
        lock: str, words: tuple[str, ...], doubt: bool) -> None:
    assert vm.in_doubt(replace(VM, lock=lock), words) == doubt


def test_a_container_never_is() -> None:
    assert not vm.in_doubt(replace(VM, kind="lxc", lock="migrate"), INCOMING)


@pytest.mark.parametrize(("lock", "arrived", "status", "runs"), [
    ("migrate", True, None, True),
    ("create", True, "inmigrate", False),
    ("backup", True, "prelaunch", False),
    ("backup", False, "running", True),
    ("migrate", False, "running", True),
    ("migrate", False, "paused", False),
    ("migrate", False, None, False),
])
def test_what_settles_the_doubt(lock: str, arrived: bool, status: str | None,
                                runs: bool) -> None:
    assert vm.runs(replace(VM, lock=lock), arrived=arrived, status=status) == runs


def test_qemu_is_asked_five_times_in_a_transition_and_then_no_more() -> None:
    asked, now, when = 0, 100.0, []
    while (due := vm.ask_due(asked, 100.0)) is not None:
        now, asked = max(now, due), asked + 1
        when.append(now - 100.0)
    assert when == [0, 1, 3, 10, 30]
