"""`pct`: what an administrator does to containers."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from . import guestconfig, pmxcfs, remote, rootfs
from .container import (
    GuestError,
    check_lock,
    is_running,
    load,
    lock_config,
    start,
    stop,
)
from .guestconfig import GuestConfig, config_path
from .hookscript import HookError
from .network import NetworkError
from .options import change, checked, known

DEFAULTS = {
    "arch": "amd64",
    "cores": "1",
    "memory": "128",
    "ostype": "unmanaged",
    "swap": "0",
    "rootfs": "shared:{vmid}/vm-{vmid}-disk-0.raw,size=1G",
}


def parse(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """PVE's way: `-name value`, `--name value`, `--name=value`; the rest is positional."""
    positional, options = [], {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            positional.append(word)
            continue
        name, has_value, value = word.lstrip("-").partition("=")
        options[name] = value if has_value else next(rest, "")
    return positional, options


def must_run(vmid: int) -> None:
    load(vmid)
    if not is_running(vmid):
        raise GuestError(f"CT {vmid} not running")


def do_create(words: list[str]) -> None:
    (number, *_), options = parse(words)  # a template may follow the VMID; there is but one
    vmid = int(number)
    taken = [
        path for kind in pmxcfs.KINDS for path in pmxcfs.ROOT.glob(f"nodes/*/{kind}/{vmid}.conf")
    ]
    if taken:
        raise GuestError(
            f"unable to create CT {vmid} - CT {vmid} already exists on node '{taken[0].parts[-3]}'"
        )
    begin = options.pop("start", "0") == "1"
    config = GuestConfig(vmid, config_path(vmid))
    for key, value in DEFAULTS.items():
        config.options[key] = value.format(vmid=vmid)
    config.options["hostname"] = f"CT{vmid}"
    for key, value in options.items():
        if not known(key):
            raise GuestError(f"Unknown option: {key}\n400 unable to parse option")
        config.options[key] = checked(key, value)
    rootfs.create(vmid)
    config.write()
    if begin:
        do_start([number])


def do_start(words: list[str]) -> None:
    vmid = int(words[0])
    load(vmid)
    if is_running(vmid):
        raise GuestError(f"CT {vmid} already running")
    with lock_config(vmid):
        config = load(vmid)
        check_lock(config)
        start(vmid, config)


def do_stop(words: list[str]) -> None:
    vmid = int(words[0])
    must_run(vmid)
    with lock_config(vmid):
        check_lock(load(vmid))
        stop(vmid, kill=True)


def do_shutdown(words: list[str]) -> None:
    (number, *_), options = parse(words)
    vmid = int(number)
    must_run(vmid)
    with lock_config(vmid):
        check_lock(load(vmid))
        timeout = int(options.get("timeout", 60))
        stop(vmid, kill=False, timeout=timeout, then_kill=options.get("forceStop") == "1")


def do_reboot(words: list[str]) -> None:
    """vm_reboot: a shutdown (killed at its end) and a start under one lock, with all phases."""
    (number, *_), options = parse(words)
    vmid = int(number)
    with lock_config(vmid):
        if not is_running(vmid):
            return
        stop(vmid, kill=False, timeout=int(options.get("timeout", 60)), then_kill=True)
        start(vmid, load(vmid))


def do_set(words: list[str]) -> None:
    (number, *_), options = parse(words)
    delete = options.pop("delete", "").replace(";", ",").replace(" ", ",")
    change(int(number), options, [name for name in delete.split(",") if name])


def do_config(words: list[str]) -> None:
    """Pending changes are shown as if they were made already, as `pct config` does."""
    config = load(int(words[0]))
    config.apply_pending()
    for key in sorted(config.options):
        print(f"{key}: {config.options[key]}")
    for key, value in config.live.raw:
        print(f"{key}: {value}")


def do_list(_: list[str]) -> None:
    print(f"{'VMID':<10} {'Status':<10} {'Lock':<12} {'Name':<20}")
    for path in sorted((pmxcfs.ROOT / "local/lxc").glob("*.conf")):
        config = load(int(path.stem))
        state = "running" if is_running(config.vmid) else "stopped"
        lock, name = config.options.get("lock", ""), config.options.get("hostname", "")
        print(f"{config.vmid:<10} {state:<10} {lock:<12} {name:<20}")


def do_status(words: list[str]) -> None:
    load(int(words[0]))
    print("status:", "running" if is_running(int(words[0])) else "stopped")


def do_destroy(words: list[str]) -> None:
    vmid = int(words[0])
    with lock_config(vmid):
        check_lock(load(vmid))
        if is_running(vmid):
            raise GuestError(f"unable to destroy CT {vmid} - container is running")
        rootfs.remove(vmid)
        pmxcfs.remove(config_path(vmid))


def do_clone(words: list[str]) -> None:
    """As PVE's: a new MAC address, and the same address and hookscript as the original's."""
    (number, new_number, *_), options = parse(words)
    vmid, new = int(number), int(new_number)
    config = load(vmid)
    if config_path(new).exists():
        raise GuestError(f"unable to create CT {new}: config file already exists")
    copy = GuestConfig(new, config_path(new), live=config.live)
    for key, net in list(config.nets().items()):
        net.pop("hwaddr")
        copy.options[f"net{key}"] = guestconfig.complete_net(guestconfig.print_net(net))
    copy.options["hostname"] = options.get("hostname", f"Copy-of-CT-{copy.options['hostname']}")
    copy.options["rootfs"] = DEFAULTS["rootfs"].format(vmid=new)
    rootfs.copy(vmid, new)
    copy.write()


def do_unlock(words: list[str]) -> None:
    config = load(int(words[0]))
    config.options.pop("lock", None)
    config.write()


def do_exec(words: list[str]) -> None:
    vmid, *command = words
    must_run(int(vmid))
    if command[:1] == ["--"]:
        command = command[1:]
    sys.stdout.flush()
    os.execvp(  # noqa: S606
        "lxc-attach",
        ["lxc-attach", "-P", "/var/lib/lxc", "-n", vmid, "--clear-env", "--", *command],
    )


def do_migrate(words: list[str]) -> None:
    """PVE::LXC::Migrate in restart mode, over ssh as there."""
    (number, target, *_), options = parse(words)
    vmid = int(number)
    if target == socket.gethostname():
        raise GuestError("target is local node.")
    if not (pmxcfs.ROOT / "nodes" / target).is_dir():
        raise GuestError(f"no such cluster node '{target}'")
    with lock_config(vmid):
        config = load(vmid)
        check_lock(config)
        running = is_running(vmid)
        if running and "restart" not in options:
            raise GuestError("running container can only be migrated in restart mode")
        if running:
            stop(vmid, kill=False, timeout=int(options.get("timeout", 180)))
        config.options["lock"] = "migrate"
        config.write()
        place = pmxcfs.ROOT / "nodes" / target / "lxc" / f"{vmid}.conf"
        pmxcfs.rename(config.path, place)
    remote.run(target, ["pct", "unlock", number])
    if running:
        remote.run(target, ["pct", "start", number])


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "clone": do_clone,
    "config": do_config,
    "create": do_create,
    "destroy": do_destroy,
    "exec": do_exec,
    "list": do_list,
    "migrate": do_migrate,
    "reboot": do_reboot,
    "set": do_set,
    "shutdown": do_shutdown,
    "start": do_start,
    "status": do_status,
    "stop": do_stop,
    "unlock": do_unlock,
}


def main(words: list[str]) -> int:
    command = COMMANDS.get(words[0] if words else "")
    if command is None:
        print(f"ERROR: unknown command 'pct {' '.join(words)}'", file=sys.stderr)
        return 255
    try:
        command(words[1:])
    except (GuestError, HookError, NetworkError, remote.RemoteError) as error:
        print(error, file=sys.stderr)
        return 255
    except OSError as error:  # /etc/pve is read-only or gone
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 255
    return 0
