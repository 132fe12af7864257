"""A Proxmox node: FRR, LXC, the shared /etc/pve, and stand-ins for PVE's commands."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.cluster import Cluster
from tests.lab.frr import FrrMachine
from tests.lab.layer import layer
from tests.lab.poll import poll
from tests.lab.process import Result, Word
from tests.lab.standin import pmxcfs
from tests.lab.vmlayer import vm_layer

STANDIN = Path(__file__).with_name("standin")
PROGRAMS = {
    "/usr/sbin/pct": "pct.main(sys.argv[1:])",
    "/usr/sbin/qm": "qm.main(sys.argv[1:])",
    "/usr/bin/pvesh": "pvesh.main(sys.argv[1:])",
    "/usr/bin/vzdump": "qm.vzdump(sys.argv[1:])",
    "/usr/libexec/qemu-server/pve-bridge": "qemuserver.bridge(sys.argv[1])",
    "/usr/libexec/qemu-server/pve-bridgedown": "network.unplug(sys.argv[1])",
    "/usr/sbin/qmeventd": "qmeventd.serve()",
    "/usr/share/lxc/lxcnetaddbr": "container.net_up(int(sys.argv[1]), sys.argv[5])",
    "/usr/share/lxc/hooks/lxc-pve-poststop-hook": (
        "container.post_stop(int(os.environ['LXC_NAME']), os.environ.get('LXC_TARGET', 'stop'))"
    ),
    "/usr/share/pve-standin/remote": "remote.serve()",
}
"""Path in the node → what it calls."""

MIGRATION = 180
"""Seconds that PVE gives a container to shut down before it moves."""

VM_MEMORY = "80"
"""MiB; Debian's kernel does not boot with 64."""

HELD = 64
"""KiB per second: at this pace a VM of 80 MiB takes minutes."""

_DEAD_FUSE = """
import ctypes, os
try:
    os.mknod("/dev/fuse", 0o20666, os.makedev(10, 229))
except FileExistsError:
    pass
fuse = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fuse
if libc.mount(b"pmxcfs", b"/etc/pve", b"fuse", 0, options):
    raise OSError(ctypes.get_errno(), "mount")
"""
"""With this process the file system's server ends."""


class Node(FrrMachine):
    """A node of the cluster; /etc/pve is the lab's directory, the rest is its own."""

    # Proxmox sets rp_filter loose, and forwarding not at all.
    sysctls = {
        "net.ipv4.ip_forward": "0",
        "net.ipv4.conf.all.rp_filter": "2",
        "net.ipv4.conf.default.rp_filter": "2",
    }

    def __init__(
        self,
        name: str,
        suite: str,
        directory: Path,
        cgroup: Path,
        *,
        cluster: Cluster,
        deb: Path | None,
        vms: bool = False,
    ) -> None:
        super().__init__(name, suite, directory, cgroup)
        self._cluster = cluster
        self._deb = deb
        self._vms = vms
        self._images = directory / "images"

    def layers(self) -> list[Path]:
        package = [layer(self._deb, self.suite)] if self._deb else []
        qemu = [vm_layer(self.suite)] if self._vms else []
        return package + qemu + super().layers()

    def binds(self) -> list[tuple[Path, str]]:
        """/etc/pve, beside it a way to mount it again, and a storage that all nodes share."""
        self._images.mkdir(exist_ok=True)
        return [
            (self._cluster.path, "/var/lib/pve-cluster"),
            (self._cluster.path, "/etc/pve"),
            (self._images, "/mnt/pve/shared"),
        ]

    def start(self) -> None:
        self._install_standins()
        super().start()
        self.sh(
            f"ln -s /etc/pve/nodes/{self.name} /run/pve-local; mkdir -p /run/pve;"
            "setsid /usr/share/pve-standin/remote </dev/null >/dev/null 2>&1 &"
        )
        if self._vms:
            self.sh(
                "setsid /usr/sbin/qmeventd </dev/null >/dev/null 2>&1 &"
                "until [ -S /run/qmeventd.sock ]; do sleep 0.02; done",
                timeout=20,
            )
        self.frr_start()

    def _install_standins(self) -> None:
        """Put PVE's commands into what is to be the node's upper layer."""
        upper = self._directory / "upper"
        package = upper / "usr/share/pve-standin/standin"
        shutil.copytree(STANDIN, package, ignore=shutil.ignore_patterns("__pycache__"))
        for path, call in PROGRAMS.items():
            module = call.partition(".")[0]
            program = upper / path.lstrip("/")
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(
                "#!/usr/bin/python3 -I\n"
                "import os, sys\n"
                "sys.path.insert(0, '/usr/share/pve-standin')\n"
                f"from standin import {module}\n"
                f"sys.exit({call})\n"
            )
            program.chmod(0o755)
        (upper / "var/lib/vz/snippets").mkdir(parents=True)
        # By it a program knows that /etc/pve belongs here, also while it is not mounted.
        (upper / "usr/bin/pmxcfs").write_text("#!/bin/sh\nexit 1\n")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """As Machine.write(); what is below /etc/pve is counted in .vmlist and .version too."""
        super().write(path, text, mode)
        if path.startswith("/etc/pve/"):
            self.pve_refresh()

    def pve_refresh(self) -> None:
        """Make .vmlist and .version right after files below /etc/pve were changed by hand."""
        pmxcfs.refresh(self._cluster.path)

    # -- guests ------------------------------------------------------------------------

    def pct(self, *words: Word, check: bool = True, timeout: float = 60) -> Result:
        """`pct WORDS…`; raises CommandFailed as run() does."""
        return self.run(["pct", *words], check=check, timeout=timeout)

    def create(self, vmid: int, address: str, *, bridge: str = "vmbr1", **options: str) -> None:
        """A stopped container with `address` (CIDR) and the usual gateway for such guests.

        `options` go to `pct create`; net0 replaces the whole interface.
        """
        net = f"name=eth0,bridge={bridge},ip={address},gw=169.254.1.1"
        words = [
            word for key, value in ({"net0": net} | options).items() for word in (f"--{key}", value)
        ]
        self.pct("create", vmid, *words)

    def running(self, vmid: int) -> bool:
        return "running" in self.pct("status", vmid).stdout

    def logs(self) -> dict[str, str]:
        """LXC tells everything at its debug level; what a hook said is there and nowhere else."""
        logs = super().logs()
        for path in [path for path in logs if path.startswith("/var/log/lxc/")]:
            telling = ("ERROR", "WARN", "produced output")
            lines = [line for line in logs[path].splitlines() if any(w in line for w in telling)]
            logs[path] = "\n".join(lines)
        return logs

    def snippet(self, name: str, text: str, mode: int = 0o755) -> str:
        """Put a script into the node's snippets; the volume's name for `hookscript:`."""
        self.write(f"/var/lib/vz/snippets/{name}", text, mode)
        return f"local:snippets/{name}"

    def migrate(self, vmid: int, target: Node, *, timeout: float = MIGRATION) -> None:
        """Move a container in restart mode; `timeout` is its shutdown's, in seconds."""
        words: list[Word] = [
            "migrate",
            vmid,
            target.name,
            "--restart",
            1,
            "--timeout",
            int(timeout),
        ]
        self.pct(*words, timeout=timeout + 60)

    # -- virtual machines ----------------------------------------------------------------

    def qm(self, *words: Word, check: bool = True, timeout: float = 60) -> Result:
        """`qm WORDS…`; raises CommandFailed as run() does."""
        return self.run(["qm", *words], check=check, timeout=timeout)

    def create_vm(self, vmid: int, address: str, *, bridge: str = "vmbr1", **options: str) -> None:
        """A stopped VM with `address` (CIDR) and the usual gateway for such guests.

        `options` go to `qm create`; net0 and ipconfig0 replace the whole of theirs.
        """
        plain = {"net0": f"virtio,bridge={bridge}", "memory": VM_MEMORY}
        plain["ipconfig0"] = f"ip={address},gw=169.254.1.1"
        words = [word for key, value in (plain | options).items() for word in (f"--{key}", value)]
        self.qm("create", vmid, *words)

    def vm_runs(self, vmid: int) -> bool:
        """Whether QEMU runs here for the guest, be it paused, and has its vCPUs running."""
        said = self.qm("lab-qmp", vmid, "query-status", check=False)
        return said.ok and json.loads(said.stdout)["status"] == "running"

    def qmp(self, vmid: int, command: str, **arguments: Any) -> Any:
        """One command to the guest's QEMU, over the socket that takes one client at a time."""
        return json.loads(self.qm("lab-qmp", vmid, command, json.dumps(arguments)).stdout)

    def migrate_vm(
        self, vmid: int, target: Node, *, check: bool = True, timeout: float = 60, **options: Word
    ) -> Result:
        """Move a VM with `qm migrate --online`, to the end; `options` as for begin_migration()."""
        words = _migrate_words(vmid, target, options)
        return self.qm(*words, check=check, timeout=timeout)

    def begin_migration(
        self, vmid: int, target: Node, **options: Word
    ) -> subprocess.Popen[str]:
        """Start an online migration and return; wait for the end of it with communicate().

        `options`: bwlimit in KiB/s; linger, the seconds that the source's QEMU outlives the
        move; poll, the seconds between two looks at the copy; remote_vmid, which makes it a
        migration to another cluster where the guest has that number.
        """
        return self.popen(["qm", *_migrate_words(vmid, target, options)])

    def hold_migration(self, vmid: int, target: Node, **options: Word) -> subprocess.Popen[str]:
        """begin_migration() so slow that the guest stays here until release_migration().

        Returns when the copy is under way, and so both hooks of the target have run.
        """
        process = self.begin_migration(vmid, target, bwlimit=HELD, **options)
        poll(lambda: self.migration_status(vmid) == "active", 30, f"VM {vmid} is being copied")
        return process

    def release_migration(self, vmid: int) -> None:
        """Let a migration go on at full speed."""
        self.qmp(vmid, "migrate-set-parameters", **{"max-bandwidth": 16 << 30})

    def migration_status(self, vmid: int) -> str:
        """What QEMU says: `active`, `completed`, …; "" before there was any."""
        said = self.qm("lab-qmp", vmid, "query-migrate", check=False)
        return str(json.loads(said.stdout).get("status", "")) if said.ok else ""

    def cancel_migration(self, vmid: int) -> None:
        """Interrupt `qm migrate`, as a stop of its task does."""
        self.run(["pkill", "-INT", "-f", f"^/usr/bin/python3 -I /usr/sbin/qm .*migrate {vmid} "])

    def kill_vm(self, vmid: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill the guest's QEMU on this node."""
        self.sh(f"kill -{how.value} $(cat /run/qemu-server/{vmid}.pid)")

    # -- the cluster file system, out of order --------------------------------------------

    def pve_gone(self) -> contextlib.AbstractContextManager[None]:
        """/etc/pve not mounted: an empty directory, as before pve-cluster starts."""
        return self._pve_changed("umount /etc/pve", "mount --bind /var/lib/pve-cluster /etc/pve")

    def pve_dead(self) -> contextlib.AbstractContextManager[None]:
        """pmxcfs has crashed: every access to /etc/pve is refused with ENOTCONN."""
        return self._pve_changed(f"python3 -I -c '{_DEAD_FUSE}'", "umount /etc/pve")

    def pve_read_only(self) -> contextlib.AbstractContextManager[None]:
        """Writes fail, as without quorum (there with EACCES, here with EROFS)."""
        return self._pve_changed(
            "mount -o remount,bind,ro /etc/pve", "mount -o remount,bind,rw /etc/pve"
        )

    @contextlib.contextmanager
    def half_written(self, vmid: int) -> Iterator[None]:
        """A guest's config of which only the first half is there, cut in the middle of a line."""
        path = f"/etc/pve/local/lxc/{vmid}.conf"
        whole = self.read(path)
        self.write(path, whole[: len(whole) // 2].rstrip("\n"))
        try:
            yield
        finally:
            self.write(path, whole)

    @contextlib.contextmanager
    def _pve_changed(self, change: str, back: str) -> Iterator[None]:
        self.sh(change)
        try:
            yield
        finally:
            self.sh(back)


def _migrate_words(vmid: int, target: Node, options: dict[str, Word]) -> list[Word]:
    given = dict(options)
    remote = given.pop("remote_vmid", None)
    words: list[Word] = ["migrate", vmid] if remote is None else ["remote-migrate", vmid, remote]
    words += [target.name, "--online", 1]
    for name, value in given.items():
        words += [f"--lab-{name}" if name in ("linger", "poll") else f"--{name}", value]
    return words
