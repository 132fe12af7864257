"""A container's root filesystem: busybox, a web server and nothing more."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

STORAGE = Path("/mnt/pve/shared/images")
"""All nodes see it, so a container that moves takes no copying."""

FILE_SIZE = 256 * 2**20
"""Bytes of the file that the web server has; sparse, so it costs no memory."""

# What is done first at a shutdown: nothing, for so long that the `pct exec ID -- reboot` that
# asked for it has ended, as where systemd is PID 1.
INITTAB = """::sysinit:/etc/init.d/rcS
::respawn:/bin/busybox httpd -f -p 80 -h /www
::shutdown:/bin/busybox usleep 100000
"""
START = """#!/bin/sh
ip link set lo up
[ ! -e /etc/network/up ] || . /etc/network/up
"""


def path(vmid: int) -> Path:
    return STORAGE / str(vmid) / "rootfs"


def create(vmid: int) -> None:
    root = path(vmid)
    for name in (
        "bin",
        "dev",
        "etc/init.d",
        "etc/network",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "www",
    ):
        (root / name).mkdir(parents=True)
    for name in ("sbin", "usr/bin", "usr/sbin"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to("/bin")
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    subprocess.run(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], check=True)
    if not (root / "bin/init").exists():
        (root / "bin/init").symlink_to("busybox")
    (root / "etc/inittab").write_text(INITTAB)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    script = root / "etc/init.d/rcS"
    script.write_text(START)
    script.chmod(0o755)
    with (root / "www/file").open("wb") as file:
        file.truncate(FILE_SIZE)
    (root / "www/index.html").write_text(f"container {vmid}\n")


def write_network(vmid: int, commands: list[str]) -> None:
    (path(vmid) / "etc/network/up").write_text("\n".join(commands) + "\n")


def copy(source: int, target: int) -> None:
    shutil.copytree(path(source), path(target), symlinks=True)


def remove(vmid: int) -> None:
    shutil.rmtree(path(vmid).parent)
