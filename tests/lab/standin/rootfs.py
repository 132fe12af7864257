"""A container's root filesystem: busybox, a web server and nothing more."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

STORAGE = Path("/mnt/pve/shared/images")
"""All nodes see it, so a container that moves takes no copying."""

FILE_SIZE = 256 * 2**20
"""Bytes of the file that the web server has; sparse, so it costs no memory."""

# PID 1. busybox's own init takes two seconds to shut down; this one a tenth of a second, so
# that a `pct exec ID -- reboot` that asked for it has ended, as where systemd is PID 1.
# busybox's poweroff, halt and reboot ask PID 1 by these signals.
INIT = """#!/bin/sh
trap 'usleep 100000; exec poweroff -f' USR1 USR2
trap 'usleep 100000; exec reboot -f' TERM
ip link set lo up
[ ! -e /etc/network/up ] || . /etc/network/up
httpd -p 80 -h /www
while :; do
	sleep 3600 &
	wait $!
done
"""
DIRECTORIES = ("bin", "dev", "etc/network", "proc", "root", "run", "sys", "tmp", "usr", "www")


def path(vmid: int) -> Path:
    return STORAGE / str(vmid) / "rootfs"


def create(vmid: int) -> None:
    root = path(vmid)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    for name in ("sbin", "usr/bin", "usr/sbin"):
        (root / name).symlink_to("/bin")
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    subprocess.run(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], check=True)
    init = root / "bin/init"
    init.unlink(missing_ok=True)  # it is a link to busybox
    init.write_text(INIT)
    init.chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    with (root / "www/file").open("wb") as file:
        file.truncate(FILE_SIZE)
    (root / "www/index.html").write_text(f"container {vmid}\n")


def write_network(vmid: int, commands: list[str]) -> None:
    (path(vmid) / "etc/network/up").write_text("\n".join(commands) + "\n")


def copy(source: int, target: int) -> None:
    shutil.copytree(path(source), path(target), symlinks=True)


def remove(vmid: int) -> None:
    shutil.rmtree(path(vmid).parent)
