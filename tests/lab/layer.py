"""The package installed over a root tree, once for each of its contents, shared by all nodes."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from tests.lab.process import LabError, run
from tests.lab.tree import CACHE, locked, prune, remove, say, tree

KEPT = 4
"""Layers of a suite that are kept beside the newest: branches and half-done work take turns."""

# dpkg writes into an overlay over the tree, in mount and PID namespaces of its own.
INSTALL = """
set -eu
tree=$1 part=$2 deb=$3
mkdir -p "$part/upper" "$part/work" "$part/root"
mount -t overlay -o "lowerdir=$tree,upperdir=$part/upper,workdir=$part/work" overlay "$part/root"
mount -t proc proc "$part/root/proc"
mount -t tmpfs tmp "$part/root/tmp"
mount -t tmpfs run "$part/root/run"
cp "$deb" "$part/root/tmp/package.deb"
DEBIAN_FRONTEND=noninteractive chroot "$part/root" dpkg -i /tmp/package.deb
"""


def layer(deb: Path, suite: str) -> Path:
    """The directory that `deb` adds to the tree of `suite`; installs it if that is not done yet.

    Raises LabError with dpkg's words when it cannot be installed.
    """
    if not deb.is_file():
        raise LabError(f"no package {deb}: build it first (make deb)")
    base = tree(suite)
    key = hashlib.sha256(deb.read_bytes() + str(base).encode() + INSTALL.encode()).hexdigest()[:16]
    path = CACHE / "layers" / f"{suite}-{key}"
    with locked(CACHE / "layers" / f"{suite}.lock"):
        if not path.is_dir():
            _install(deb, base, path)
        path.touch()  # the newest is the last used
        old = sorted(path.parent.glob(f"{suite}-*[0-9a-f]"), key=lambda each: each.stat().st_mtime)
        prune(old[: -KEPT - 1], keep=path)
    return path


def _install(deb: Path, base: Path, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    remove(part)
    started = time.monotonic()
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    done = run([*words, "sh", "-c", INSTALL, "sh", base, part, deb], timeout=300, check=False)
    if not done.ok:
        raise LabError(f"{deb.name} could not be installed over {base.name}:\n{done.output}")
    (part / "upper").rename(path)
    remove(part)
    say(f"{deb.name} installed over {base.name} in {time.monotonic() - started:.1f} s")
