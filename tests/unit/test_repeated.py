"""The last result is kept, and only for equal arguments."""

from __future__ import annotations

from pve_ospf.repeated import repeated


def test_only_what_was_asked_last_is_not_worked_out_again() -> None:
    calls = []

    @repeated
    def add(one: frozenset[int], two: int = 0) -> int:
        calls.append((one, two))
        return sum(one) + two

    assert add(frozenset({1, 2}), 3) == 6
    assert add(frozenset({2, 1}), 3) == 6
    assert len(calls) == 1
    assert add(frozenset({1, 2}), two=4) == 7
    assert add(frozenset({1, 2}), 3) == 6
    assert len(calls) == 3
