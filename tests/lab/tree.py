"""Debian root trees, made once and cached; every machine's root is an overlay over one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tests.lab.mirror import find_mirror, proxy
from tests.lab.process import LabError, run

SUITES = ("bookworm", "trixie", "sid")
CACHE = Path(os.environ.get("PVE_OSPF_LAB_CACHE", "/var/cache/pve-ospf-lab"))
PACKAGES = (
    *("frr", "frr-pythontools", "lxc", "openvpn", "nftables", "tcpdump"),
    *(
        "iproute2",
        "iputils-ping",
        "iputils-arping",
        "traceroute",
        "curl",
        "procps",
        "busybox-static",
    ),
    *(
        "python3-pyroute2",
        "python3-jinja2",
        "python3-yaml",
        "python3-proxmoxer",
        "python3-requests",
    ),
)
RECIPE = 1
"""Raised when the way a tree is made changes, so that old ones are made again."""

# Services of a package must not start in a tree: there is no init in it, and
# what they would start would run on the machine.
POLICY = "#!/bin/sh\nexit 101\n"

BUILD = """
set -eu
tree=$1 suite=$2 archive=$3 debs=$4; shift 4
debootstrap --variant=minbase --cache-dir="$debs" "$suite" "$tree" "$archive"
install -m 755 /dev/stdin "$tree/usr/sbin/policy-rc.d" <<'POLICY'
{policy}POLICY
echo force-unsafe-io >"$tree/etc/dpkg/dpkg.cfg.d/lab"
cp "$tree.sources" "$tree/etc/apt/sources.list"
cp "$tree.apt" "$tree/etc/apt/apt.conf.d/99lab"
mount -t proc proc "$tree/proc"
mount --bind "$debs" "$tree/var/cache/apt/archives"
export DEBIAN_FRONTEND=noninteractive
chroot "$tree" apt-get -qq update
chroot "$tree" apt-get -qq -y --no-install-recommends dist-upgrade
chroot "$tree" apt-get -qq -y --no-install-recommends install "$@"
rm -rf "$tree"/var/lib/apt/lists/* "$tree/etc/apt/apt.conf.d/99lab"
"""


def tree_path(suite: str) -> Path:
    """Where the tree of `suite` is, or is to be, in the cache."""
    if suite not in SUITES:
        raise LabError(f"no tree for suite {suite!r}; there are {', '.join(SUITES)}")
    recipe = " ".join((suite, *PACKAGES, BUILD, POLICY, str(RECIPE)))
    return CACHE / "trees" / f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def tree(suite: str) -> Path:
    """The finished tree of `suite`; raises LabError when it has not been made yet."""
    path = tree_path(suite)
    if not path.is_dir():
        raise LabError(f"no root tree of {suite} in {CACHE}: run tests/lab/setup {suite} first")
    return path


def build(suite: str) -> Path:
    """Make the tree of `suite` unless it is there; needs the network, takes a minute or two."""
    path = tree_path(suite)
    if path.is_dir():
        return path
    with locked(CACHE / "trees" / f"{suite}.lock"):
        if path.is_dir():  # somebody else made it while we waited
            return path
        _build(suite, path)
        prune(path.parent.glob(f"{suite}-*[0-9a-f]"), keep=path)
    return path


def _build(suite: str, path: Path) -> None:
    mirror = find_mirror()
    part = path.with_name(f".{path.name}.part")
    log = CACHE / f"build-{suite}.log"
    debs = CACHE / "debs" / suite
    debs.mkdir(parents=True, exist_ok=True)
    (debs / "partial").mkdir(exist_ok=True)
    remove(part)
    sources, settings = (part.with_name(part.name + end) for end in (".sources", ".apt"))
    sources.write_text(mirror.sources_list(suite))
    # The machine's proxy, timeouts and checks: what it takes to read its mirror here.
    settings.write_text(run(["apt-config", "dump", "Acquire"]).stdout)
    say(f"making the root tree of {suite} (a minute or two, once; log: {log})")
    started = time.monotonic()
    # Own mount and PID namespaces: nothing stays mounted or running when this is killed.
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    script = f"exec >{log} 2>&1\n" + BUILD.format(policy=POLICY)
    done = run(
        [*words, "sh", "-c", script, "sh", part, suite, mirror.archive, debs, *PACKAGES],
        timeout=1800,
        check=False,
        env={**os.environ, **proxy()},
    )
    if not done.ok:
        raise LabError(f"the tree of {suite} could not be made; the end of {log}:\n{_tail(log)}")
    sources.unlink()
    settings.unlink()
    part.rename(path)
    say(f"root tree of {suite} made in {time.monotonic() - started:.0f} s")


def prune(candidates: Iterable[Path], keep: Path) -> None:
    """Remove finished cache directories other than `keep` that no lab holds."""
    for old in candidates:
        if old == keep or not old.is_dir():
            continue
        with hold(old, exclusive=True) as got:
            if got:
                remove(old)
                old.with_name(old.name + ".use").unlink(missing_ok=True)


def in_use(path: Path) -> TextIO:
    """A shared lock on a cache directory; it is not pruned until the returned file is closed."""
    lock = path.with_name(path.name + ".use").open("w")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


@contextmanager
def hold(path: Path, *, exclusive: bool) -> Iterator[bool]:
    """Try for the lock that `in_use` takes; yields whether it was had."""
    with path.with_name(path.name + ".use").open("w") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for, and hold, the lock file `path`; the kernel lets go of it when we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """A progress line."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def remove(path: Path) -> None:
    """Remove a directory with all that is in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def main(arguments: list[str]) -> int:
    """`python3 -m tests.lab.tree [SUITE…] [vm]`: make what is missing (default: all).

    `vm` stands for QEMU and a guest to run, over the trees that VMs are run on.
    """
    from tests.lab import vmlayer  # it is made of what is here

    try:
        for word in arguments or (*SUITES, "vm"):
            if word != "vm":
                build(word)
                continue
            for suite in vmlayer.SUITES:
                build(suite)
                vmlayer.build(suite)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
