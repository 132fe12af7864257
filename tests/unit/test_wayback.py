"""What goes back, and when, where that needs no FRR."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from pve_ospf import frrconf, frrfiles, lock, wayback
from pve_ospf.errors import CannotTell
from pve_ospf.frrconf import statements
from pve_ospf.frrfiles import Memory
from pve_ospf.wayback import Former, Record

OLD = "hostname mine\n" + frrconf.block("router ospf\n ospf router-id 10.0.0.1\nexit\n!\n")
NEW = "hostname mine\n" + frrconf.block("router ospf\n ospf router-id 10.0.0.2\nexit\n!\n")


def record(*files: Former) -> Record:
    return Record("1", wayback.boot_id(), list(files), Memory(), Memory(), True, True, True,
                  "", "", [], [], None, None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(frrfiles, "STATE", tmp_path)
    monkeypatch.setattr(wayback, "PLACE", tmp_path / "apply")
    monkeypatch.setattr(wayback, "RECORD", tmp_path / "apply/record.json")
    monkeypatch.setattr(wayback, "OUTCOME", tmp_path / "apply/outcome")
    return tmp_path


def test_a_record_is_read_as_it_was_written_and_is_roots_alone(place: Path) -> None:
    written = wayback.hold(record(Former("/etc/frr/frr.conf", OLD, NEW, True, [416, 1, 1])), 60)
    assert wayback.read() == written
    assert (place / "apply/record.json").stat().st_mode & 0o777 == 0o600
    assert (place / "apply").stat().st_mode & 0o777 == 0o700
    wayback.stay(written)
    assert wayback.read() is None and wayback.outcome("1") == wayback.CONFIRMED
    assert wayback.outcome("2") == ""


def test_a_damaged_record_is_cannot_tell(place: Path) -> None:
    (place / "apply").mkdir()
    (place / "apply/record.json").write_text('{"number": "1"')
    with pytest.raises(CannotTell, match="damaged"):
        wayback.read()


def test_when_it_is_due() -> None:
    waiting = replace(record(), until=time.clock_gettime(time.CLOCK_BOOTTIME) + 60)
    assert 50 < waiting.due_in() <= 60
    assert replace(waiting, boot="another").due_in() == 0
    assert replace(waiting, until=1.0).due_in() == 0
    assert record().due_in() == 0


def test_what_somebody_wrote_meanwhile_stays(place: Path) -> None:
    path = place / "frr.conf"
    former = Former(str(path), OLD, NEW, False, [])
    path.write_text(NEW)
    assert wayback.stuck(record(former)) == [str(path)]
    for text in (NEW, OLD):
        path.write_text(text)
        assert wayback.before(former, record(former)) == OLD
    # As `write memory` leaves it, with a line of the administrator's.
    path.write_text("hostname mine\nrouter ospf\n ospf router-id 10.0.0.2\n passive-interface x\n")
    said = wayback.before(former, record(former))
    assert said is not None and "10.0.0.2" not in said and said.count("router-id") == 1
    assert {s.text for s in statements(said)} == {
        "hostname mine", "ospf router-id 10.0.0.1", "passive-interface x"}


def test_a_switch_goes_back_by_its_line(place: Path) -> None:
    path = place / "daemons"
    former = Former(str(path), "ospfd=no\n", "ospfd=yes\n", False, [], "ospfd=yes", "ospfd=no")
    path.write_text("bgpd=yes\nospfd=yes\n")
    assert wayback.before(former, record(former)) == "bgpd=yes\nospfd=no\n"


def test_one_lock_is_held_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RUN", tmp_path)
    with lock.held("x"), pytest.raises(TimeoutError), lock.held("x"):
        pass
    with lock.held("x"):
        pass
