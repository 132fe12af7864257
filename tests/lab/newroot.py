#!/usr/bin/python3 -I
"""Make / the root of this mount namespace, which is our own, and run a command in it:
    tests/lab/newroot.py EMPTY-DIRECTORY CMD…
Mounts of it are private from then on, as `unshare --mount` makes them where it can.

In a chroot (a bare Debian tree in which `make test` is run) it is not: whoever enters the
namespaces of a node or of a container from there lands in the machine's own root instead, and
pivot_root(), which LXC needs, is refused. Elsewhere this changes nothing.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 1 << 18, 2
libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: bytes | int | None) -> None:
    if getattr(libc, name)(*arguments):
        sys.exit(f"lab: {name}: {os.strerror(ctypes.get_errno())}")


def identity() -> tuple[int, int]:
    status = Path("/").stat()
    return status.st_dev, status.st_ino


def main(place: str, *command: str) -> None:
    ours, back = identity(), Path.cwd()
    chroot = os.open("/", os.O_PATH)
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    call("setns", namespace, CLONE_NEWNS)  # and so into its root
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    os.fchdir(chroot)
    if identity() != ours:
        new = os.fsencode(f".{Path(place).resolve()}")
        call("mount", b".", new, None, MS_BIND | MS_REC, None)
        os.chdir(new)
        call("pivot_root", b".", b".")
        call("umount2", b".", MNT_DETACH)
    os.chdir(back)
    os.close(chroot)
    os.close(namespace)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
