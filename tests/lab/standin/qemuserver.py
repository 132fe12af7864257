"""PVE::QemuServer: starting and stopping a virtual machine, with every hook where PVE has it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import guestconfig, network, pmxcfs, qmp
from .container import GuestError, check_lock, load
from .guestconfig import GuestConfig
from .hookscript import exec_hookscript

KIND = "qemu-server"
GUEST = Path("/usr/share/pve-standin/guest")
CONSOLES = Path("/var/log/qemu-server")
INCOMING = Path("/mnt/pve/shared/.nodes")
"""Where an incoming VM listens: the nodes share this directory as ssh forwards PVE's socket."""

POLL = 0.05
"""Seconds between two looks at a QEMU that is to end; PVE takes one."""


def pid(vmid: int) -> int:
    """vm_running_locally: the PID of the guest's QEMU, 0 when there is none.

    By the pid file alone, as PVE: a QEMU whose pid file is gone does not run for it.
    """
    pidfile = qmp.RUN / f"{vmid}.pid"
    try:
        found = int(pidfile.read_text())
        command = Path(f"/proc/{found}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return found if str(pidfile).encode() in command else 0


def load_of(vmid: int, node: str = "") -> GuestConfig:
    """The guest's config, from another node's directory while it comes from there."""
    if not node:
        return load(vmid, KIND)
    path = pmxcfs.ROOT / "nodes" / node / KIND / f"{vmid}.conf"
    try:
        return guestconfig.parse(vmid, path, path.read_text())
    except FileNotFoundError:
        name = f"nodes/{node}/{KIND}/{vmid}.conf"
        raise GuestError(f"Configuration file '{name}' does not exist") from None


def start(
    vmid: int,
    config: GuestConfig,
    *,
    migrated_from: str = "",
    other_cluster: bool = False,
    paused: bool = False,
) -> None:
    """vm_start_nolock. A guest that migrates waits for its memory, with both hooks run.

    Raises GuestError, and HookError when pre-start refuses.
    """
    if not migrated_from and config.apply_pending():
        config.write()
    if migrated_from and not other_cluster:
        os.environ["PVE_MIGRATED_FROM"] = migrated_from
    exec_hookscript(config.options, vmid, "pre-start", stop_on_error=True)
    state = ["-S"] if paused else []
    if migrated_from:
        incoming_socket(vmid).unlink(missing_ok=True)
        state = ["-incoming", f"unix:{incoming_socket(vmid)}", "-S"]
    launch(vmid, config, state)
    (qmp.RUN / f"{vmid}.cleanup").write_text(str(int(time.time())))
    if migrated_from:
        set_migration_caps(vmid)
    else:
        for number, net in config.nets().items():
            if net.get("link_down") == "1":
                qmp.command(vmid, "set_link", name=f"net{number}", up=False)
    exec_hookscript(config.options, vmid, "post-start")


def incoming_socket(vmid: int) -> Path:
    return INCOMING / f"{vmid}.migrate"


def set_migration_caps(vmid: int) -> None:
    wanted = [{"capability": name, "state": True} for name in ("auto-converge", "xbzrle")]
    qmp.command(vmid, "migrate-set-capabilities", capabilities=wanted)


def launch(vmid: int, config: GuestConfig, state: list[str]) -> None:
    """Run QEMU, which leaves the session it is started from; returns when its taps are plugged."""
    for directory in (qmp.RUN, CONSOLES):
        directory.mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        [*command_line(vmid, config), *state],
        executable="/usr/bin/qemu-system-x86_64",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise GuestError(f"start failed: QEMU exited with code {done.returncode}")


def command_line(vmid: int, config: GuestConfig) -> list[str]:
    """config_to_command, for what the lab's guests need of it.

    The guest learns its addresses from the kernel's command line, where PVE has cloud-init.
    """
    run = qmp.RUN / str(vmid)
    words = ["/usr/bin/kvm", "-name", f"{config.options.get('name', f'VM{vmid}')}"]
    words += ["-no-shutdown", "-nodefaults", "-no-user-config", "-display", "none"]
    words += ["-chardev", f"socket,id=qmp,path={run}.qmp,server=on,wait=off"]
    words += ["-mon", "chardev=qmp,mode=control"]
    words += ["-chardev", "socket,id=qmp-event,path=/run/qmeventd.sock,reconnect=5"]
    words += ["-mon", "chardev=qmp-event,mode=control"]
    words += ["-pidfile", f"{run}.pid", "-daemonize"]
    words += ["-machine", "pc,accel=tcg", "-m", config.options.get("memory", "512")]
    words += ["-chardev", f"socket,id=serial0,path={run}.serial0,server=on,wait=off,"
              f"logfile={CONSOLES}/{vmid}.console"]
    words += ["-device", "isa-serial,chardev=serial0"]
    arguments = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr nosmp audit=0"
    arguments += " lsm=capability tsc=reliable no_timer_check"
    for number, net in config.nets().items():
        tap = f"tap{vmid}i{number}"
        script = "/usr/libexec/qemu-server/pve-bridge"
        words += ["-netdev", f"type=tap,id=net{number},ifname={tap},script={script},"
                  f"downscript={script}down"]
        words += ["-device", f"virtio-net-pci,mac={net['macaddr']},netdev=net{number},"
                  f"bus=pci.0,addr={0x12 + number:#x},id=net{number},romfile="]
        ipconfig = guestconfig.parse_properties(config.options.get(f"ipconfig{number}", ""))
        if "/" in ipconfig.get("ip", ""):
            arguments += f" lab.net=eth{number},{ipconfig['ip']},{ipconfig.get('gw', '')}"
    kernel = ["-kernel", f"{GUEST}/vmlinuz", "-initrd", f"{GUEST}/initramfs"]
    return [*words, *kernel, "-append", arguments]


def bridge(tap: str) -> None:
    """pve-bridge, run by QEMU: put the tap where the config says, which may still be elsewhere."""
    vmid, number = tap.removeprefix("tap").split("i")
    migrated_from = os.environ.get("PVE_MIGRATED_FROM", "")
    config = load_of(int(vmid), migrated_from)
    value = config.options.get(f"net{number}", "")
    if not migrated_from:
        value = config.pending.options.get(f"net{number}", value)
    net = guestconfig.parse_vm_net(value)
    mtu = str(network.bridge_mtu(net["bridge"]))
    network.ip("link", "set", "dev", tap, "up", "promisc", "on", "mtu", mtu)
    # link_down is the emulated card's: the tap is plugged all the same.
    network.plug(tap, net | {"link_down": "0"})


def stop(
    vmid: int,
    *,
    skip_lock: bool = False,
    no_check: bool = False,
    shutdown: bool = False,
    timeout: float = 60,
    force: bool | None = None,
) -> None:
    """_do_vm_stop; the caller holds the lock. `timeout` in seconds.

    With no_check (a migration's end) nothing is read of the config, no hook is run and nothing
    cleaned up. Raises GuestError when the guest still runs and is not to be killed.
    """
    force = not shutdown if force is None else force
    config = None if no_check else load(vmid, KIND)
    running = pid(vmid)
    if not running:
        return
    if config:
        if not skip_lock:
            check_lock(config)
        exec_hookscript(config.options, vmid, "pre-stop")
    try:
        qmp.command(vmid, "system_powerdown" if shutdown else "quit")
        reason = "" if wait_for_end(vmid, timeout) else "got timeout"
    except qmp.QmpError as error:
        reason = str(error)
    if reason and not force and pid(vmid):
        raise GuestError(f"VM quit/powerdown failed - {reason}")
    if reason:
        terminate(vmid, running)
    if config:
        stop_cleanup(vmid, config, apply_pending=True)


def terminate(vmid: int, running: int) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(running, how)
        if wait_for_end(vmid, 10):
            return


def wait_for_end(vmid: int, timeout: float) -> bool:
    """Whether the guest's QEMU ends within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while pid(vmid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def stop_migrated(vmid: int, node: str) -> None:
    """`qm stop --migratedfrom`: QEMU is told to end, and not waited for."""
    config = load_of(vmid, node)
    if running := pid(vmid):
        os.kill(running, signal.SIGTERM)
    stop_cleanup(vmid, config)


def stop_cleanup(
    vmid: int, config: GuestConfig, *, apply_pending: bool = False, hook: bool = True
) -> None:
    """vm_stop_cleanup: once for each start, by whoever comes first; it runs post-stop.

    That is how qemu-server does it since 9.2; before, `qm cleanup` ran post-stop, later.
    """
    flag = qmp.RUN / f"{vmid}.cleanup"
    if not flag.exists():
        return
    for suffix in ("qmp", "pid", "serial0"):
        (qmp.RUN / f"{vmid}.{suffix}").unlink(missing_ok=True)
    if apply_pending and config.apply_pending():
        config.write()
    if hook:
        exec_hookscript(config.options, vmid, "post-stop")
    flag.unlink(missing_ok=True)


def resume(vmid: int) -> None:
    """vm_resume with nocheck, as a migration does it."""
    state = qmp.status(vmid, timeout=60)
    if state == "running":
        return
    if state == "shutdown":
        qmp.command(vmid, "system_reset")
    qmp.command(vmid, "system_wakeup" if state == "suspended" else "cont")
