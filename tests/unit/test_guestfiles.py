"""The guests' files followed: what counts of one that is being written while its guest runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from pve_ospf import guestfiles, pve
from pve_ospf.guestfiles import SETTLE, GuestFiles
from pve_ospf.model import Guest

NET = "net0: name=eth0,bridge=vmbr1,hwaddr=BC:24:11:00:00:01,ip=198.51.100.7/32"
WHOLE = f"arch: amd64\nhookscript: local:snippets/pve-ospf\n{NET}\n"


@dataclass
class Pmxcfs:
    """A directory that counts as /etc/pve does."""

    root: Path
    count: int = 0

    def write(self, text: str, vmid: int = 101, node: str = "pve1") -> None:
        folder = self.root / "nodes" / node / "lxc"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{vmid}.conf").write_text(text)
        self.count += 1
        listed = self.root / ".vmlist"
        ids = json.loads(listed.read_text())["ids"] if listed.exists() else {}
        ids[str(vmid)] = {"node": node, "type": "lxc", "version": self.count}
        listed.write_text(json.dumps({"version": self.count, "ids": ids}))
        (self.root / ".version").write_text(f'{{"starttime": 1, "vmlist": {self.count}}}')


@pytest.fixture
def etc_pve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pmxcfs:
    for module in (pve, guestfiles):
        monkeypatch.setattr(module, "PVE", tmp_path)
    monkeypatch.setattr(guestfiles, "_VMLIST", tmp_path / ".vmlist")
    monkeypatch.setattr(guestfiles, "_VERSION", tmp_path / ".version")
    (tmp_path / "nodes/pve1").mkdir(parents=True)
    (tmp_path / "local").symlink_to("nodes/pve1")
    found = Pmxcfs(tmp_path)
    found.write(WHOLE)
    return found


def _guest(files: GuestFiles, now: float, *, running: bool = True) -> Guest:
    (guest,) = files.read({101} if running else (), now).guests
    return guest


@pytest.mark.parametrize("torn", ["", "arch: amd64\n", "arch: amd64\nhooksc",
                                  WHOLE.replace(NET, NET[:40])])
def test_a_torn_file_changes_nothing_of_a_guest_that_runs_until_it_has_lasted(
        etc_pve: Pmxcfs, torn: str) -> None:
    files = GuestFiles(follow=True)
    before = _guest(files, 0)
    assert before.attached
    etc_pve.write(torn)
    now = _guest(files, 10)
    assert (now.nets, now.hookscript) == (before.nets, before.hookscript)
    assert files.due() == 10 + SETTLE
    later = _guest(files, 10 + SETTLE)
    assert later.incomplete or torn == "arch: amd64\n", "cannot tell"
    etc_pve.write(WHOLE)
    _guest(files, 20)
    assert _guest(files, 20 + SETTLE) == before
    assert files.due() is None


def test_of_one_that_does_not_run_every_change_counts_at_once(etc_pve: Pmxcfs) -> None:
    files = GuestFiles(follow=True)
    assert _guest(files, 0, running=False).attached
    etc_pve.write("arch: amd64\n")
    assert not _guest(files, 0, running=False).attached


def test_only_what_was_counted_is_read_again(etc_pve: Pmxcfs) -> None:
    files = GuestFiles(follow=True)
    before = _guest(files, 0)
    assert not files.changed()
    etc_pve.write(WHOLE, 102, "pve2")
    assert files.changed()
    assert files.read({101}, 0).guest(101) is before
    assert not files.changed()
