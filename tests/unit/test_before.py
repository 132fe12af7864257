"""What the kernel's values were: kept by interface, and read back whatever is in the file."""

from pathlib import Path

import pytest

from pve_ospf import before
from pve_ospf.sysctls import Sysctl

VALUES = frozenset({Sysctl("conf", "vmbr1", "proxy_arp", 0),
                    Sysctl("conf", "all", "send_redirects", 1),
                    Sysctl("neigh", "vmbr1", "proxy_delay", 80)})


@pytest.fixture(autouse=True)
def indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.setattr(before, "BEFORE", tmp_path / "before")
    there = {"vmbr1": 2, "all": 0}
    monkeypatch.setattr(before, "_index", there.get)
    return there


def test_what_was_kept_is_there_again() -> None:
    assert before.kept() == frozenset()
    before.keep(VALUES)
    assert before.kept() == VALUES
    before.keep(())
    assert before.kept() == frozenset()


def test_a_bridge_made_anew_has_values_of_its_own(indexes: dict[str, int]) -> None:
    before.keep(VALUES)
    indexes["vmbr1"] = 7
    assert {s.device for s in before.kept()} == {"all"}
    del indexes["vmbr1"]
    assert {s.device for s in before.kept()} == {"all"}
    before.keep(VALUES)
    assert "vmbr1" not in before.BEFORE.read_text()


def test_what_was_torn_is_left_out() -> None:
    before.BEFORE.write_text("2 conf vmbr1 proxy_arp 0\n\n2 neigh vmbr1 prox\n2 x vmbr1 y 0\n")
    assert before.kept() == {Sysctl("conf", "vmbr1", "proxy_arp", 0)}


def test_a_directory_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before, "BEFORE", Path("/nonexistent/before"))
    before.keep(VALUES)
    assert before.kept() == frozenset()
