"""What pmxcfs does beyond being a directory: atomic writes, and .vmlist kept right.

Used in the nodes by pct and pvesh, and by the lab itself.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path("/etc/pve")
KINDS = {"lxc": "lxc", "qemu-server": "qemu"}


@contextmanager
def changing(root: Path) -> Iterator[None]:
    """One change of the cluster at a time, over all nodes."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace(path: Path, text: str, root: Path = ROOT) -> None:
    """Write a file in one step, and count it in .vmlist when it is a guest's config."""
    with changing(root):
        _replace(path, text)
        _refresh(root, path.stem)


def rename(old: Path, new: Path, root: Path = ROOT) -> None:
    """Move a guest's config to another node."""
    with changing(root):
        old.rename(new)
        _refresh(root, new.stem)


def remove(path: Path, root: Path = ROOT) -> None:
    with changing(root):
        path.unlink()
        _refresh(root, path.stem)


def refresh(root: Path = ROOT, changed: str = "") -> None:
    """Make .vmlist right after files were changed by hand; `changed` is a VMID."""
    with changing(root):
        _refresh(root, changed)


def _refresh(root: Path, changed: str) -> None:
    """The version of the list rises with every write, a guest's with each of its own."""
    path = root / ".vmlist"
    old: dict[str, Any] = (
        json.loads(path.read_text()) if path.exists() else {"version": 0, "ids": {}}
    )
    version = old["version"] + 1
    ids = {}
    for kind, name in KINDS.items():
        for conf in sorted(root.glob(f"nodes/*/{kind}/*.conf")):
            known = old["ids"].get(conf.stem)
            entry = {"node": conf.parent.parent.name, "type": name, "version": version}
            if known and conf.stem != changed and known["node"] == entry["node"]:
                entry["version"] = known["version"]
            ids[conf.stem] = entry
    _replace(path, json.dumps({"version": version, "ids": ids}, indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    """As PVE does: a temporary name in the same directory, then a rename over the old file."""
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    # A guest's description may hold bytes that are no UTF-8.
    temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
    temporary.chmod(0o640)
    temporary.rename(path)
