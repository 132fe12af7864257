"""A whole Debian, booted by systemd in an LXC container, as a machine of the lab.

    the lab's namespaces → the machine (network, mounts) → the container → the guests' containers

The container has the machine's root and network for its own; the machine itself runs nothing
but lxc-start. Everything that is asked of the machine once it is up is done in the container.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.lab.cluster import Cluster
from tests.lab.frr import FrrMachine
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result, Word, run
from tests.package.tree import system_tree

BOOT = 60
"""Seconds that a boot may take; it takes one."""

CONTAINER = """\
lxc.uts.name = {name}
lxc.rootfs.path = dir:/run/system
lxc.net.0.type = none
lxc.autodev = 1
lxc.pty.max = 64
lxc.mount.auto = proc:rw sys:mixed cgroup-full:rw:force
lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file
lxc.cgroup.relative = 1
lxc.apparmor.profile = unconfined
lxc.cap.drop =
lxc.environment = container=lxc
lxc.console.logfile = /run/console
"""

# What stands in for pmxcfs: /etc/pve appears when this has run, as with the real one.
PVE_CLUSTER = """\
[Unit]
Description=The Proxmox VE cluster filesystem (stand-in)
After=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/ln -sfn /etc/pve/nodes/%H /run/pve-local
ExecStart=/bin/mount --bind /var/lib/pve-cluster /etc/pve
[Install]
WantedBy=multi-user.target
"""
# Starts what has `onboot: 1`, and stops every guest before the rest goes down.
PVE_GUESTS = """\
[Unit]
Description=PVE guests (stand-in)
After=pve-cluster.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'grep -ls "^onboot: 1" /etc/pve/lxc/*.conf | xargs -rn1 basename -s .conf \
 | xargs -rn1 pct start'
ExecStop=/bin/sh -c 'pct list | grep -w running | cut -d " " -f 1 | xargs -rn1 pct stop'
[Install]
WantedBy=multi-user.target
"""


class System(FrrMachine):
    """A plain Debian; `installed` is what a former one left, if this one is to go on from it."""

    def __init__(
        self, name: str, suite: str, directory: Path, cgroup: Path, *, installed: Path | None
    ) -> None:
        super().__init__(name, suite, directory, cgroup)
        self.installed = installed
        self._booted = False

    @property
    def upper(self) -> Path:
        """What this machine has written."""
        return self._directory / "upper"

    def layers(self) -> list[Path]:
        below = [] if self.installed is None else [self.installed]
        return [*below, system_tree(self.suite)]

    def start(self) -> None:
        Machine.start(self)
        self.boot()

    def boot(self) -> None:
        """Start the container, and wait until systemd has done all it had to."""
        config = CONTAINER.format(name=self.name)
        for _, target in self.binds():
            config += f"lxc.mount.entry = {target} {target.lstrip('/')} none bind,create=dir\n"
        self.write("/run/system.conf", config)
        self.sh(
            "mkdir -p /run/system /run/lxc-system;"
            "mountpoint -q /run/system || mount --bind / /run/system;"
            f"lxc-start -P /run/lxc-system -n {self.name} -f /run/system.conf -o /run/lxc.log"
        )
        self._booted = True
        poll(self.settled, BOOT, f"{self.name}: systemd is not done booting")

    def settled(self) -> bool:
        said = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        return said in ("running", "degraded")

    def poweroff(self) -> None:
        """An orderly shutdown of the container; the machine around it stays, boot() goes on."""
        self.run(["systemctl", "poweroff"], check=False)
        self._booted = False
        self.run(
            ["lxc-wait", "-P", "/run/lxc-system", "-n", self.name, "-s", "STOPPED", "-t", BOOT],
            timeout=BOOT + 10,
        )

    def stop(self) -> None:
        self._booted = False
        super().stop()

    def enter(self, argv: Iterable[Word]) -> list[str]:
        if not self._booted:
            return super().enter(argv)
        # The environment is a plain one already: Machine.run() and popen() see to that.
        attach = ["lxc-attach", "-P", "/run/lxc-system", "-n", self.name, "--keep-env", "--"]
        return super().enter([*attach, *argv])

    def logs(self) -> dict[str, str]:
        """The journal beside the files that other machines have."""
        if not self._booted:
            return {}
        return {**super().logs(), "journal": self.sh("journalctl --no-pager -b | tail -n 300")}

    # -- packages --------------------------------------------------------------------

    def copy_in(self, file: Path) -> str:
        """Put a file into /root; its path there."""
        target = f"/root/{file.name}"
        run(["cp", file, f"/proc/{self.pid}/root{target}"])
        return target

    def apt(self, *words: Word, check: bool = True) -> Result:
        """apt-get, as an administrator has it, but that it asks nothing and has no network."""
        ask_nothing = ["env", "DEBIAN_FRONTEND=noninteractive"]
        command = ["apt-get", "-y", "-oDpkg::Use-Pty=0", *words]
        return self.run([*ask_nothing, *command], check=check, timeout=300)

    def install(self, deb: Path) -> Result:
        """`apt-get install ./FILE`: apt resolves the dependencies, from what the tree has."""
        return self.apt("install", "--allow-downgrades", self.copy_in(deb))


class ProxmoxSystem(System, Node):
    """The same with /etc/pve, pct and a storage: the lab's Proxmox, as units of systemd."""

    def __init__(
        self,
        name: str,
        suite: str,
        directory: Path,
        cgroup: Path,
        *,
        installed: Path | None,
        cluster: Cluster,
    ) -> None:
        Node.__init__(self, name, suite, directory, cgroup, cluster=cluster, deb=None)
        self.installed = installed
        self._booted = False

    def binds(self) -> list[tuple[Path, str]]:
        return [(source, target) for source, target in super().binds() if target != "/etc/pve"]

    def start(self) -> None:
        self._install_standins()
        units = self.upper / "etc/systemd/system"
        wanted = units / "multi-user.target.wants"
        wanted.mkdir(parents=True)
        for name, text in (("pve-cluster", PVE_CLUSTER), ("pve-guests", PVE_GUESTS)):
            (units / f"{name}.service").write_text(text)
            (wanted / f"{name}.service").symlink_to(f"/etc/systemd/system/{name}.service")
        (self.upper / "etc/pve").mkdir()
        System.start(self)


class SystemLab(Lab):
    """A lab with whole systems in it."""

    def add_system(self, name: str, suite: str, installed: Path | None = None) -> System:
        place = (name, suite, self.directory, self.cgroup)
        return self._add(System(*place, installed=installed))

    def add_proxmox(
        self, name: str, ring: str, suite: str, installed: Path | None = None
    ) -> ProxmoxSystem:
        self.cluster.add(name, ring)
        place = (name, suite, self.directory, self.cgroup)
        return self._add(ProxmoxSystem(*place, installed=installed, cluster=self.cluster))


def keep(system: System, place: Path) -> Path:
    """Shut a system down and keep what it has written, as a layer for others."""
    system.poweroff()
    system.stop()
    shutil.rmtree(place, ignore_errors=True)
    # rename, not a copy: overlayfs's marks of what was deleted must come along.
    system.upper.rename(place)
    return place
