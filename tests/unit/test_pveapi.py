"""What of Proxmox's answer counts: whether the guest's configuration says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pve_ospf import guestfiles, pveapi
from pve_ospf.errors import CannotTell, Refused
from pve_ospf.model import Guest
from pve_ospf.snippet import VOLUME

GUEST = Guest(101, "lxc", "pve1")
PERL = 'perl: warning: Setting locale failed.\nperl: warning: Falling back to "C".\n'


class _Refusal(Exception):  # noqa: N818 - in the place of proxmoxer's own
    pass


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "nodes/pve1/lxc/101.conf"
    path.parent.mkdir(parents=True)
    path.write_text("arch: amd64\n")
    monkeypatch.setattr(guestfiles, "PVE", tmp_path)
    monkeypatch.setattr(pveapi, "_ARRIVES", 0.1)
    monkeypatch.setattr(pveapi.shutil, "which", lambda _: "/usr/bin/pvesh")  # type: ignore[attr-defined]
    return path


def _proxmoxer(monkeypatch: pytest.MonkeyPatch, path: Path, *, works: bool, words: str) -> None:
    """proxmoxer 2.2: what is on standard error is a failure, and nothing else is."""
    def change(**options: str) -> None:
        if works:
            lines = [f"{key}: {value}\n" for key, value in options.items() if key != "delete"]
            path.write_text("arch: amd64\n" + "".join(lines))
        if words:
            raise _Refusal(f"500 Internal Server Error: {words}")

    class Resource:
        def __call__(self, *_: object) -> Resource:
            return self
        put = staticmethod(change)

    package, core = ModuleType("proxmoxer"), ModuleType("proxmoxer.core")
    package.ProxmoxAPI = lambda **_: Resource()  # type: ignore[attr-defined]
    core.ResourceException = _Refusal  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "proxmoxer", package)
    monkeypatch.setitem(sys.modules, "proxmoxer.core", core)
    monkeypatch.setattr(pveapi, "find_spec", lambda _: True)


@pytest.mark.parametrize("volume", [VOLUME, None])
def test_words_on_standard_error_are_no_refusal(
        file: Path, monkeypatch: pytest.MonkeyPatch, volume: str | None) -> None:
    if volume is None:
        file.write_text(f"arch: amd64\nhookscript: {VOLUME}\n")
    _proxmoxer(monkeypatch, file, works=True, words=PERL)
    pveapi.set_hookscript(GUEST, volume)
    assert (VOLUME in file.read_text()) is (volume is not None)


def test_a_refusal_is_told_in_proxmoxs_words(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _proxmoxer(monkeypatch, file, works=False, words="only root can set 'hookscript' config")
    with pytest.raises(Refused, match="only root can set"):
        pveapi.set_hookscript(GUEST, VOLUME)


def test_silence_is_no_success(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _proxmoxer(monkeypatch, file, works=False, words="")
    with pytest.raises(Refused, match="no reason given"):
        pveapi.set_hookscript(GUEST, VOLUME)


def test_a_guest_that_has_moved_meanwhile(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _proxmoxer(monkeypatch, file, works=True, words="")
    file.rename(file.with_suffix(".gone"))
    with pytest.raises(CannotTell, match="101.conf"):
        pveapi.set_hookscript(Guest(101, "qemu", "pve1"), VOLUME)


@pytest.mark.parametrize("code", [0, 255])
def test_of_pvesh_the_exit_status_decides(
        file: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def run(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(returncode=code, stderr=PERL)

    monkeypatch.setattr(pveapi, "find_spec", lambda _: None)
    monkeypatch.setattr(subprocess, "run", run)
    if code:
        with pytest.raises(Refused, match="locale"):
            pveapi.set_hookscript(GUEST, VOLUME)
    else:
        pveapi.set_hookscript(GUEST, VOLUME)
    assert file.exists()
