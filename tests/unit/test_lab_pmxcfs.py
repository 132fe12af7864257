"""The lab's .vmlist and .version, as src/pmxcfs/status.c of pve-cluster makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.standin import pmxcfs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for node in ("pve1", "pve2"):
        for kind in pmxcfs.KINDS:
            (tmp_path / "nodes" / node / kind).mkdir(parents=True)
    pmxcfs.refresh(tmp_path)
    return tmp_path


def shown(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / name).read_text())
    return found


def conf(root: Path, node: str, vmid: int = 100) -> Path:
    return root / "nodes" / node / "qemu-server" / f"{vmid}.conf"


def test_without_guests_there_are_no_ids(root: Path) -> None:
    assert shown(root, ".vmlist") == {"version": 1}


def test_every_write_rename_and_removal_is_counted_in_both(root: Path) -> None:
    versions = [shown(root, ".vmlist")["version"]]

    def counted() -> int:
        versions.append(shown(root, ".vmlist")["version"])
        assert shown(root, ".version")["vmlist"] == versions[-1]
        return int(versions[-1] - versions[-2])

    pmxcfs.replace(conf(root, "pve1"), "memory: 64\n", root)
    assert counted() == 1
    pmxcfs.replace(conf(root, "pve1"), "memory: 64\n", root)
    assert counted() == 1
    pmxcfs.rename(conf(root, "pve1"), conf(root, "pve2"), root)
    assert counted() == 2, "left one node, came to the other"
    entry = {"node": "pve2", "type": "qemu", "version": versions[-1]}
    assert shown(root, ".vmlist")["ids"] == {"100": entry}
    pmxcfs.remove(conf(root, "pve2"), root)
    assert counted() == 1


def test_the_other_guests_versions_stay(root: Path) -> None:
    pmxcfs.replace(conf(root, "pve1", 100), "", root)
    before = shown(root, ".vmlist")["ids"]["100"]
    pmxcfs.replace(conf(root, "pve1", 101), "", root)
    assert shown(root, ".vmlist")["ids"]["100"] == before


def test_only_known_files_have_a_counter_of_their_own(root: Path) -> None:
    before = shown(root, ".version")
    for name in ("storage.cfg", "pve-ospf.yaml"):
        (root / name).write_text("x")
    pmxcfs.refresh(root)
    assert shown(root, ".version") == before | {"storage.cfg": 1}
