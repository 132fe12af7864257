"""What pmxcfs does beyond being a directory: atomic writes, .vmlist and .version kept right.

Used in the nodes by pct, qm and pvesh, and by the lab itself. Real pmxcfs makes both files up
when they are read (src/pmxcfs/status.c of pve-cluster), each node with counters of its own
that begin anew with its start; here all nodes see one pair of files, written .vmlist first.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path("/etc/pve")
KINDS = {"lxc": "lxc", "qemu-server": "qemu"}
COUNTED = (
    *("corosync.conf", "corosync.conf.new", "storage.cfg", "user.cfg", "domains.cfg"),
    *("notifications.cfg", "priv/notifications.cfg", "priv/shadow.cfg", "priv/tfa.cfg"),
    *("priv/token.cfg", "datacenter.cfg", "vzdump.cron", "vzdump.conf", "jobs.cfg"),
    *("ha/crm_commands", "ha/manager_status", "ha/resources.cfg", "ha/rules.cfg"),
    *("ha/groups.cfg", "ha/fence.cfg", "status.cfg", "replication.cfg", "ceph.conf"),
    *("sdn/vnets.cfg", "sdn/zones.cfg", "sdn/controllers.cfg", "sdn/subnets.cfg"),
    *("sdn/ipams.cfg", "sdn/fabrics.cfg", "sdn/.running-config", "firewall/cluster.fw"),
)
"""Files below /etc/pve with a counter in .version; no other file has one."""

SEEN = ".lab-seen"
"""What this stand-in remembers of the files, to know which were changed by hand."""

Mark = list[int]
"""A file as it was: change time in ns, inode, size."""


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
    """Write a file in one step, and count it."""
    with changing(root):
        _replace(path, text)
        _refresh(root)


def rename(old: Path, new: Path, root: Path = ROOT) -> None:
    """Move a guest's config to another node."""
    with changing(root):
        old.rename(new)
        _refresh(root)


def remove(path: Path, root: Path = ROOT) -> None:
    with changing(root):
        path.unlink()
        _refresh(root)


def refresh(root: Path = ROOT) -> None:
    """Make .vmlist and .version right after files were changed by hand."""
    with changing(root):
        _refresh(root)


def _refresh(root: Path) -> None:
    seen: dict[str, Mark] = _read(root / SEEN, {})
    now = dict(_marks(root))
    changed = {path for path in seen.keys() | now.keys() if seen.get(path) != now.get(path)}
    version = _read(root / ".version", None) or {
        "starttime": int(time.time()),
        "clinfo": 2,
        "vmlist": 0,
        **dict.fromkeys(COUNTED, 0),
        "kvstore": {},
    }
    version["vmlist"] = _refresh_vmlist(root, [Path(path) for path in now], changed)
    for path in changed & set(COUNTED):
        version[path] += 1
    _replace(root / ".version", json.dumps(version, indent=0) + "\n")
    _replace(root / SEEN, json.dumps(now))


def _refresh_vmlist(root: Path, paths: list[Path], changed: set[str]) -> int:
    """Count a write or a removal once, a rename to another node twice; the list's version.

    A list without guests has no "ids", as the real one.
    """
    old: dict[str, Any] = _read(root / ".vmlist", {"version": 0})
    version: int = old["version"] + sum(path.endswith(".conf") for path in changed - set(COUNTED))
    ids = {}
    for path in sorted(path for path in paths if path.suffix == ".conf" and len(path.parts) == 4):
        known = old.get("ids", {}).get(path.stem)
        entry = {"node": path.parts[1], "type": KINDS[path.parts[2]], "version": version}
        if known and str(path) not in changed:
            entry["version"] = known["version"]
        ids[path.stem] = entry
    version = max(version, 1)
    _replace(
        root / ".vmlist",
        json.dumps({"version": version} | ({"ids": ids} if ids else {}), indent=1) + "\n",
    )
    return version


def _marks(root: Path) -> Iterator[tuple[str, Mark]]:
    """Every file that is counted, by its path below /etc/pve."""
    found = [root / path for path in COUNTED]
    for kind in KINDS:
        found += root.glob(f"nodes/*/{kind}/*.conf")
    for path in found:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        mark = [status.st_mtime_ns, status.st_ino, status.st_size]
        yield str(path.relative_to(root)), mark


def _read(path: Path, default: Any) -> Any:
    return json.loads(path.read_text()) if path.exists() else default


def _replace(path: Path, text: str) -> None:
    """As PVE does: a temporary name in the same directory, then a rename over the old file."""
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    # A guest's description may hold bytes that are no UTF-8.
    temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
    temporary.chmod(0o640)
    temporary.rename(path)
