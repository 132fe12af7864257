"""PVE::LXC: starting and stopping a container, with every hook where PVE has it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import guestconfig, network, rootfs
from .guestconfig import GuestConfig
from .hookscript import exec_hookscript

LXC = Path("/var/lib/lxc")
LOCKS = {
    "lxc": "/run/lock/lxc/pve-config-{}.lock",
    "qemu-server": "/var/lock/qemu-server/lock-{}.conf",
}
LOCK_TIMEOUT = 10
"""Seconds that PVE waits for a guest's lock."""


class GuestError(Exception):
    """What was asked cannot be done; the text is PVE's."""


@contextmanager
def lock_config(
    vmid: int, kind: str = "lxc", timeout: float = LOCK_TIMEOUT
) -> Iterator[None]:
    """The guest's lock, held by every action on it. Raises GuestError after `timeout` seconds."""
    path = Path(LOCKS[kind].format(vmid))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise GuestError(f"can't lock file '{path}' - got timeout") from None
                time.sleep(0.02)
        yield


def load(vmid: int, kind: str = "lxc") -> GuestConfig:
    try:
        return guestconfig.load(vmid, kind)
    except FileNotFoundError:
        name = f"nodes/{socket.gethostname()}/{kind}/{vmid}.conf"
        raise GuestError(f"Configuration file '{name}' does not exist") from None


def check_lock(config: GuestConfig) -> None:
    if lock := config.options.get("lock"):
        raise GuestError(f"{'CT' if config.is_container else 'VM'} is locked ({lock})")


def is_running(vmid: int) -> bool:
    """As PVE sees it: anything of that name in /proc/net/unix."""
    return f"@/var/lib/lxc/{vmid}/command" in Path("/proc/net/unix").read_text()


def start(vmid: int, config: GuestConfig) -> None:
    """vm_start; the caller holds the lock."""
    if config.apply_pending():
        config.write()
    write_lxc_config(vmid, config)
    rootfs.write_network(vmid, network.guest_commands(config.nets()))
    exec_hookscript(config.options, vmid, "pre-start", stop_on_error=True)
    launch(vmid)
    exec_hookscript(config.options, vmid, "post-start")


def launch(vmid: int) -> None:
    """What systemd does for pve-container@ID: run lxc-start; returns when LXC says RUNNING."""
    log = Path(f"/var/log/lxc/{vmid}.log")
    log.parent.mkdir(exist_ok=True)
    command = ["lxc-start", "-d", "-n", str(vmid), "-P", str(LXC), "-o", str(log), "-l", "DEBUG"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GuestError(f"startup for container '{vmid}' failed\n{done.stderr.strip()}")


def stop(vmid: int, *, kill: bool, timeout: int | None = None, then_kill: bool = False) -> None:
    """vm_stop: pre-stop, lxc-stop, and wait for the monitor (and so for post-stop) to be gone.

    `timeout` in seconds is for a shutdown. Raises GuestError when the guest still runs then.
    """
    monitor = socket.socket(socket.AF_UNIX)
    try:
        monitor.connect(f"\0{LXC}/{vmid}/command")
    except ConnectionRefusedError:
        return  # it does not run
    exec_hookscript(load(vmid).options, vmid, "pre-stop")
    command = ["lxc-stop", "-P", str(LXC), "-n", str(vmid)]
    if kill:
        command.append("--kill")
    else:
        command += [] if then_kill else ["--nokill"]
        command += ["--timeout", str(timeout)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"command '{' '.join(command)}' failed: exit code {done.returncode}", file=sys.stderr)
    if not _closed(monitor, None if done.returncode == 0 else 1.0):
        raise GuestError("container did not stop")


def _closed(monitor: socket.socket, timeout: float | None) -> bool:
    """Whether the monitor hangs up within `timeout` seconds (None: however long it takes)."""
    ready, _, _ = select.select([monitor], [], [], timeout)
    return bool(ready) and monitor.recv(1) == b""


def write_lxc_config(vmid: int, config: GuestConfig) -> None:
    """update_lxc_config, for what the lab's containers need of it."""
    lines = [
        "lxc.cgroup.relative = 0",
        f"lxc.cgroup.dir.monitor = lxc.monitor/{vmid}",
        f"lxc.cgroup.dir.container = lxc/{vmid}",
        "lxc.cgroup.dir.container.inner = ns",
        f"lxc.rootfs.path = dir:{rootfs.path(vmid)}",
        f"lxc.uts.name = {config.options.get('hostname', f'CT{vmid}')}",
        "lxc.tty.max = 0",
        "lxc.pty.max = 16",
        "lxc.console.path = none",
        "lxc.monitor.unshare = 1",
        "lxc.mount.auto = proc:mixed sys:mixed",
        # What the guests' init takes for "power off".
        "lxc.signal.halt = SIGUSR2",
        "lxc.hook.post-stop = /usr/share/lxc/hooks/lxc-pve-poststop-hook",
    ]
    for number, net in config.nets().items():
        lines += _lxc_net(vmid, number, net)
    lines += [f"{key} = {value}" for key, value in config.live.raw]
    directory = LXC / str(vmid)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config").write_text("\n".join(lines) + "\n")


def _lxc_net(vmid: int, number: int, net: dict[str, str]) -> list[str]:
    mtu = network.bridge_mtu(net["bridge"])
    wanted = int(net.get("mtu", mtu))
    if wanted > mtu:
        raise GuestError(f"net{number}: MTU size '{wanted}' is bigger than bridge MTU '{mtu}'")
    prefix = f"lxc.net.{number}"
    return [
        f"{prefix}.type = veth",
        f"{prefix}.veth.pair = veth{vmid}i{number}",
        f"{prefix}.hwaddr = {net['hwaddr']}",
        f"{prefix}.name = {net['name']}",
        f"{prefix}.mtu = {wanted}",
        f"{prefix}.script.up = /usr/share/lxc/lxcnetaddbr",
    ]


def net_up(vmid: int, veth: str) -> None:
    """lxcnetaddbr: LXC has made the host-side interface; put it where the config says."""
    net = load(vmid).nets()[int(veth.rpartition("i")[2])]
    network.ip("link", "set", "dev", veth, "up", "mtu", str(network.bridge_mtu(net["bridge"])))
    network.plug(veth, net)


def post_stop(vmid: int, target: str) -> int:
    """lxc-pve-poststop-hook, run by LXC's monitor; `target` is LXC_TARGET. The exit code.

    Nothing is done for a container whose config has left this node.
    """
    if not guestconfig.config_path(vmid).is_file():
        return 0
    config = load(vmid)
    for number in config.nets():
        network.delete(f"veth{vmid}i{number}")
    if config.apply_pending():
        config.write()
    if target == "reboot":
        # PVE ends the monitor and has systemd start a new one; no hook phase is run.
        write_lxc_config(vmid, config)
        rootfs.write_network(vmid, network.guest_commands(config.nets()))
        _launch_after(vmid, os.getppid())
        return 1
    exec_hookscript(config.options, vmid, "post-stop")
    return 0


def _launch_after(vmid: int, monitor: int) -> None:
    """Start the container again once its monitor has ended, outside of the monitor's session."""
    if os.fork():
        return
    os.setsid()
    for descriptor in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), descriptor)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while Path(f"/proc/{monitor}").exists() or is_running(vmid):
        time.sleep(0.02)
    launch(vmid)
    os._exit(0)
