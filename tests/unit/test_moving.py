"""How long and how closely the agent looks for the switchover of a migration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pve_ospf.model import Guest
from pve_ospf.moving import CLOSELY, LONG, STARTS, Move, followed, leaving, over, patience

VM = Guest(200, "qemu", "pve1", hookscript="local:snippets/pve-ospf", lock="migrate")


def test_what_is_watched_keeps_its_age_until_it_changes_hands() -> None:
    first = followed({}, leaving=[200], coming=[201], now=5)
    assert first == {200: Move(True, 5), 201: Move(False, 5)}
    assert followed(first, [200], [201], now=9) == first
    assert followed(first, [], [200], now=9) == {200: Move(False, 9)}
    assert followed(first, [], [], now=9) == {}


def test_it_is_looked_closely_but_not_for_ever() -> None:
    assert patience([], 0) is None
    assert patience([Move(True, 0)], LONG - 1) == CLOSELY
    assert patience([Move(True, 0), Move(False, 1)], LONG) == CLOSELY, "the younger counts"
    assert patience([Move(True, 0)], LONG) is None


@pytest.mark.parametrize("guest", [
    replace(VM, lock=None), replace(VM, lock="backup"), replace(VM, kind="lxc"),
    replace(VM, hookscript=None), replace(VM, vmid=201)])
def test_only_one_of_ours_that_runs_and_is_locked_for_it_may_leave(guest: Guest) -> None:
    assert leaving([VM], {200}) == (200,)
    assert leaving([guest], {200}) == ()


@pytest.mark.parametrize(("guest", "lives", "age", "ended"), [
    (replace(VM, node="pve2"), True, 1e6, False),
    (VM, True, 5, False),
    (replace(VM, lock=None), True, 5, True),
    (replace(VM, node="pve2", lock=None), True, 5, False),
    (replace(VM, node="pve2"), False, STARTS - 1, False),
    (replace(VM, node="pve2"), False, STARTS, True),
    (None, True, 1e6, False),
    (None, False, STARTS, True),
], ids=["copied for days", "arrived, still locked", "arrived", "its source unlocked it",
        "about to start", "its QEMU has ended", "unknown, but it waits", "unknown and gone"])
def test_when_a_vm_is_no_longer_on_its_way(
        guest: Guest | None, lives: bool, age: float, ended: bool) -> None:
    assert over(guest, "pve1", lives=lives, age=age) is ended
