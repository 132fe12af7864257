"""What the kernel's values were: kept by interface, and read back whatever is in the file."""

from pathlib import Path

import pytest

from pve_ospf import before
from pve_ospf.model import Interface
from pve_ospf.sysctls import Sysctl

VMBR1 = Interface(2, "vmbr1", "bridge")
VALUES = frozenset({Sysctl("conf", "vmbr1", "proxy_arp", 0),
                    Sysctl("conf", "all", "send_redirects", 1),
                    Sysctl("neigh", "vmbr1", "proxy_delay", 80)})


@pytest.fixture(autouse=True)
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before, "BEFORE", tmp_path / "before")


def test_what_was_kept_is_there_again() -> None:
    assert before.kept([VMBR1]) == frozenset()
    before.keep(VALUES, [VMBR1])
    assert before.kept([VMBR1]) == VALUES
    before.keep(frozenset(), ())
    assert before.kept([VMBR1]) == frozenset()


def test_a_bridge_made_anew_has_values_of_its_own() -> None:
    before.keep(VALUES, [VMBR1])
    assert {s.device for s in before.kept([Interface(7, "vmbr1", "bridge")])} == {"all"}
    assert {s.device for s in before.kept([])} == {"all"}


def test_what_was_torn_is_left_out() -> None:
    before.BEFORE.write_text("2 conf vmbr1 proxy_arp 0\n\n2 neigh vmbr1 prox\n2 x vmbr1 y 0\n")
    assert before.kept([VMBR1]) == {Sysctl("conf", "vmbr1", "proxy_arp", 0)}


def test_a_directory_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before, "BEFORE", Path("/nonexistent/before"))
    before.keep(VALUES, [VMBR1])
    assert before.kept([VMBR1]) == frozenset()
