"""What a node needs to run virtual machines: QEMU, and a guest's kernel and initramfs.

A layer over a root tree, made once by tests/lab/setup; only labs that ask for VMs mount it.
The kernel is Debian's cloud kernel, unpacked and not installed; the guest is busybox alone.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.mirror import proxy
from tests.lab.process import LabError, run
from tests.lab.tree import CACHE, locked, prune, remove, say, tree

SUITES = ("bookworm", "trixie")
"""Those that Proxmox is based on."""

GUEST = Path("usr/share/pve-standin/guest")
"""In the layer: `vmlinuz` and `initramfs`."""

FILE_SIZE = 256 * 2**20
"""Bytes of the file that the guest's web server has, as a container's; sparse."""

MODULES = (
    *("failover", "net_failover", "virtio_ring", "virtio", "virtio_pci_legacy_dev"),
    *("virtio_pci_modern_dev", "virtio_pci", "virtio_net", "button", "evdev"),
)
"""In the order of loading; one that a kernel has built in is left out."""

RECIPE = 2
"""Raised when the way the guest is made changes, so that old ones are made again."""

SIGNED = b"~Module signature appended~\n"

# apt and dpkg in an overlay over the tree, in mount and PID namespaces of their own.
INSTALL = """
set -eu
tree=$1 part=$2 debs=$3 settings=$4
mkdir -p "$part/upper" "$part/work" "$part/root"
mount -t overlay -o "lowerdir=$tree,upperdir=$part/upper,workdir=$part/work" overlay "$part/root"
cd "$part/root"
mount -t proc proc proc
mount -t tmpfs tmp tmp
mount -t tmpfs run run
mount --bind "$debs" var/cache/apt/archives
cp "$settings" etc/apt/apt.conf.d/99lab
export DEBIAN_FRONTEND=noninteractive
chroot . apt-get -qq update
chroot . apt-get -qq -y --no-install-recommends install qemu-system-x86
depends=$(chroot . apt-cache depends linux-image-cloud-amd64)
image=$(echo "$depends" | sed -n 's/.*Depends: \\(linux-image-[^ ]*\\).*/\\1/p')
(cd tmp && chroot .. sh -c 'cd /tmp; exec apt-get -qq download "$1"' sh "${image%%[[:space:]]*}")
dpkg-deb -x tmp/linux-image-*.deb "$part/kernel"
cp bin/busybox "$part/kernel/busybox"
rm -rf var/lib/apt/lists/* var/cache/apt/*.bin var/cache/debconf/*-old var/log/* \
    etc/apt/apt.conf.d/99lab
"""

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
ip link set lo up
for word in $(cat /proc/cmdline); do
	# lab.net=NAME,ADDRESS,GATEWAY: what cloud-init does from ipconfigN.
	case $word in lab.net=*) ;; *) continue ;; esac
	IFS=, read name address gateway <<-END
	${word#lab.net=}
	END
	ip link set $name up
	ip addr add $address dev $name
	[ -z "$gateway" ] || {
		ip route add $gateway dev $name
		ip route add default via $gateway dev $name
	}
done
mount -t tmpfs www /www
truncate -s SIZE /www/file
cp /proc/sys/kernel/random/boot_id /www/boot-id
echo "virtual machine" >/www/index.html
httpd -p 80 -h /www
nc -ll -p 7 -e cat &
echo "guest is up" >/dev/console
# The power button, which is what `qm shutdown` presses.
for event in /dev/input/event*; do
	{ dd if=$event of=/dev/null bs=24 count=1 2>/dev/null && poweroff -f; } &
done
while :; do
	sleep 3600 &
	wait $!
done
"""


def vm_layer_path(suite: str) -> Path:
    """Where the layer of `suite` is, or is to be, in the cache."""
    parts = (str(tree(suite)), INSTALL, INIT, str(FILE_SIZE), *MODULES, str(RECIPE))
    return CACHE / "vm" / f"{suite}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


def vm_layer(suite: str) -> Path:
    """The finished layer of `suite`; raises LabError when it has not been made yet."""
    path = vm_layer_path(suite)
    if not path.is_dir():
        raise LabError(f"no QEMU for {suite} in {CACHE}: run tests/lab/setup vm first")
    return path


def build(suite: str) -> Path:
    """Make the layer of `suite` unless it is there; needs the network and the suite's tree."""
    path = vm_layer_path(suite)
    with locked(CACHE / "vm" / f"{suite}.lock"):
        if not path.is_dir():
            _build(suite, path)
            prune(path.parent.glob(f"{suite}-*[0-9a-f]"), keep=path)
    return path


def _build(suite: str, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    remove(part)
    part.mkdir()
    settings = part / "apt.conf"
    settings.write_text(run(["apt-config", "dump", "Acquire"]).stdout)
    debs = CACHE / "debs" / suite
    say(f"putting QEMU over the root tree of {suite} (half a minute, once)")
    started = time.monotonic()
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    done = run(
        [*words, "sh", "-c", INSTALL, "sh", tree(suite), part, debs, settings],
        timeout=900,
        check=False,
        env={**os.environ, **proxy()},
    )
    if not done.ok:
        raise LabError(f"QEMU could not be installed over {suite}:\n{done.output[-2000:]}")
    guest = part / "upper" / GUEST
    guest.mkdir(parents=True)
    (kernel,) = (part / "kernel/boot").glob("vmlinuz-*")
    kernel.rename(guest / "vmlinuz")
    (guest / "initramfs").write_bytes(gzip.compress(initramfs(part / "kernel"), 6, mtime=0))
    (part / "upper").rename(path)
    remove(part)
    say(f"QEMU over {suite} in {time.monotonic() - started:.0f} s")


def initramfs(kernel: Path) -> bytes:
    """The guest's root, from an unpacked kernel package with `busybox` beside it: a cpio."""
    modules = dict(_modules(kernel))
    files = {
        "bin/busybox": (0o100755, (kernel / "busybox").read_bytes()),
        "init": (0o100755, INIT.replace("SIZE", str(FILE_SIZE)).encode()),
        "modules/order": (0o100644, "\n".join(modules).encode()),
    }
    files |= {f"modules/{name}.ko": (0o100644, text) for name, text in modules.items()}
    entries = [(name, 0o040755, b"") for name in
               ("bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp", "www")]
    entries += [(name, mode, text) for name, (mode, text) in files.items()]
    return b"".join(_cpio_entry(*entry) for entry in [*entries, ("TRAILER!!!", 0, b"")])


def _modules(kernel: Path) -> Iterator[tuple[str, bytes]]:
    """Name → content; Debian 13 compresses them."""
    found = {path.name.partition(".")[0]: path for path in kernel.rglob("*.ko*")}
    for name in MODULES:
        if name in found:
            text = found[name].read_bytes()
            yield name, _unsigned(lzma.decompress(text) if found[name].suffix == ".xz" else text)


def _unsigned(module: bytes) -> bytes:
    """Without the signature, whose check takes an emulated CPU a tenth of a second each.

    It is appended, and ends with its length and a magic string (struct module_signature).
    """
    if not module.endswith(SIGNED):
        return module
    end = len(module) - len(SIGNED)
    return module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]


def _cpio_entry(name: str, mode: int, text: bytes) -> bytes:
    """One file in the kernel's "newc" format, owned by root, with no time."""
    fields = (0, mode, 0, 0, 1, 0, len(text), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(text)


def _padded(text: bytes) -> bytes:
    return text + b"\0" * (-len(text) % 4)
