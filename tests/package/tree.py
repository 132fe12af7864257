"""Whole Debians to boot: what debootstrap makes, systemd, and LXC for the guests, no FRR.

What the package depends on is downloaded, not installed: apt installs it in the test, which
has no network.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

from tests.lab.mirror import find_mirror, proxy
from tests.lab.process import LabError, Word, run
from tests.lab.tree import CACHE, locked, prune, say

SUITES = ("bookworm", "trixie")
INCLUDE = (
    *("systemd-sysv", "dbus", "ifupdown", "iproute2", "iputils-ping", "procps"),
    *("lxc", "busybox-static"),
)
CONTROL = Path(__file__).parents[2] / "debian/control"

BUILD = """
set -eu
tree=$1 suite=$2 archive=$3 debs=$4 include=$5; shift 5
debootstrap --variant=minbase --include="$include" --cache-dir="$debs" "$suite" "$tree" "$archive"
printf '#!/bin/sh\\nexit 101\\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"
echo force-unsafe-io >"$tree/etc/dpkg/dpkg.cfg.d/lab"
cp "$tree.sources" "$tree/etc/apt/sources.list"
cp "$tree.apt" "$tree/etc/apt/apt.conf.d/99lab"
mount -t proc proc "$tree/proc"
export DEBIAN_FRONTEND=noninteractive
chroot "$tree" apt-get -qq update
chroot "$tree" apt-get -qq -y --no-install-recommends dist-upgrade
chroot "$tree" apt-get -qq clean
chroot "$tree" apt-get -qq -y install --download-only "$@"
# What belongs to the building, or starts what a test has no use for (lxc-net waits for a DHCP
# server's packages that are not there).
rm "$tree/usr/sbin/policy-rc.d" "$tree/etc/apt/apt.conf.d/99lab" "$tree/etc/hostname"
for unit in lxc lxc-net lxc-monitord; do
	ln -sf /dev/null "$tree/etc/systemd/system/$unit.service"
done
"""


def dependencies() -> list[str]:
    """The packages that debian/control names under Depends."""
    found = re.search(r"^Depends:\n((?: .*\n)+)", CONTROL.read_text(), re.MULTILINE)
    assert found, f"{CONTROL}: no Depends"
    names = [line.split()[0].rstrip(",") for line in found[1].splitlines()]
    return [name for name in names if not name.startswith("$")]


def system_tree_path(suite: str) -> Path:
    recipe = " ".join((suite, *INCLUDE, BUILD, *dependencies()))
    return CACHE / "trees" / f"system-{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def system_tree(suite: str) -> Path:
    """The finished tree; raises LabError when it has not been made yet."""
    path = system_tree_path(suite)
    if not path.is_dir():
        raise LabError(f"no system tree of {suite}: run python3 -m tests.package.tree {suite}")
    return path


def build(suite: str) -> None:
    """Make the tree of `suite` unless it is there; needs the mirror, takes a minute."""
    path = system_tree_path(suite)
    # The lab's own lock for the suite: both keep what they download in the same place.
    with locked(CACHE / "trees" / f"{suite}.lock"):
        if not path.is_dir():
            _build(suite, path)
            prune(path.parent.glob(f"system-{suite}-*"), keep=path)


def _build(suite: str, path: Path) -> None:
    mirror = find_mirror()
    part = path.with_name(f".{path.name}.part")
    log = CACHE / f"build-system-{suite}.log"
    debs = CACHE / "debs" / suite
    debs.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    sources, settings = (part.with_name(part.name + end) for end in (".sources", ".apt"))
    sources.write_text(mirror.sources_list(suite))
    settings.write_text(run(["apt-config", "dump", "Acquire"]).stdout)
    say(f"making the system tree of {suite} (a minute or two, once; log: {log})")
    started = time.monotonic()
    # Own mount and PID namespaces: nothing stays mounted or running when this is killed.
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    script = f"exec >{log} 2>&1\n" + BUILD
    arguments: list[Word] = [part, suite, mirror.archive, debs, ",".join(INCLUDE), *dependencies()]
    done = run(
        [*words, "sh", "-c", script, "sh", *arguments],
        timeout=1800,
        check=False,
        env={**os.environ, **proxy()},
    )
    if not done.ok:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(f"the system tree of {suite} could not be made; the end of {log}:\n{end}")
    sources.unlink()
    settings.unlink()
    part.rename(path)
    say(f"system tree of {suite} made in {time.monotonic() - started:.0f} s")


def main(arguments: list[str]) -> int:
    """`python3 -m tests.package.tree [SUITE…]`: make the trees that are missing."""
    try:
        for suite in arguments or SUITES:
            build(suite)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
