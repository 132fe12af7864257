"""`qm`: what an administrator does to virtual machines, and what `qm` of another node asks."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from . import guestconfig, network, options, pmxcfs, qemuserver, qmp, remote
from .container import GuestError, check_lock, load, lock_config
from .guestconfig import GuestConfig, config_path
from .hookscript import HookError
from .network import NetworkError
from .pct import parse
from .qemumigrate import POLL, Interrupted, Migration, serve_tunnel
from .qemuserver import KIND

DEFAULTS = {"boot": "order=net0", "cores": "1", "memory": "512", "ostype": "l26", "sockets": "1"}
CLEANUP_TIMEOUT = 60
"""Seconds that `qm cleanup` waits for the guest's lock."""


def do_create(words: list[str]) -> None:
    (number, *_), given = parse(words)
    vmid = int(number)
    begin = given.pop("start", "0") == "1"
    config = new_config(vmid, given)
    config.write()
    if begin:
        do_start([number])


def new_config(vmid: int, given: dict[str, str]) -> GuestConfig:
    """A config that is not written yet. Raises GuestError for a VMID that is taken."""
    taken = [
        path for kind in pmxcfs.KINDS for path in pmxcfs.ROOT.glob(f"nodes/*/{kind}/{vmid}.conf")
    ]
    if taken:
        raise GuestError(
            f"unable to create VM {vmid} - VM {vmid} already exists on node '{taken[0].parts[-3]}'"
        )
    config = GuestConfig(vmid, config_path(vmid, KIND))
    config.options.update(DEFAULTS, name=f"VM{vmid}")
    for key, value in given.items():
        if not options.known(key, KIND):
            raise GuestError(f"Unknown option: {key}\n400 unable to parse option")
        config.options[key] = options.checked(key, value, KIND)
    return config


def do_set(words: list[str]) -> None:
    (number, *_), given = parse(words)
    delete = given.pop("delete", "").replace(";", ",").replace(" ", ",")
    options.change(int(number), given, [name for name in delete.split(",") if name], KIND)


def do_config(words: list[str]) -> None:
    config = load(int(words[0]), KIND)
    config.apply_pending()
    for key in sorted(config.options):
        print(f"{key}: {config.options[key]}")


def do_start(words: list[str]) -> None:
    """With --migratedfrom: what the source of a migration asks of its target."""
    (number, *_), given = parse(words)
    vmid, source = int(number), given.get("migratedfrom", "")
    with lock_config(vmid, KIND):
        config = qemuserver.load_of(vmid, source)
        running = qemuserver.pid(vmid)
        if running and config.options.get("lock") == "backup":
            qemuserver.resume(vmid)
            return
        if given.get("skiplock") != "1":
            check_lock(config)
        if running:
            raise GuestError(f"VM {vmid} already running")
        qemuserver.start(vmid, config, migrated_from=source)
        if source:
            print(f"migration listens on unix:{qemuserver.incoming_socket(vmid)}")


def do_stop(words: list[str]) -> None:
    (number, *_), given = parse(words)
    vmid, skip = int(number), given.get("skiplock") == "1"
    if source := given.get("migratedfrom"):
        qemuserver.stop_migrated(vmid, source)
        return
    with lock_config(vmid, KIND):
        qemuserver.stop(vmid, skip_lock=skip, timeout=float(given.get("timeout", 60)))


def do_shutdown(words: list[str]) -> None:
    (number, *_), given = parse(words)
    vmid, force = int(number), given.get("forceStop") == "1"
    with lock_config(vmid, KIND):
        qemuserver.stop(
            vmid, shutdown=True, timeout=float(given.get("timeout", 60)), force=force,
            skip_lock=given.get("skiplock") == "1",
        )


def do_reboot(words: list[str]) -> None:
    """A shutdown only; `qm cleanup`, by way of qmeventd, starts the guest again."""
    (number, *_), given = parse(words)
    vmid = int(number)
    request = qmp.RUN / f"{vmid}.reboot"
    with lock_config(vmid, KIND):
        if not qemuserver.pid(vmid):
            return
        request.touch()
        try:
            qemuserver.stop(vmid, shutdown=True, timeout=float(given.get("timeout", 60)))
        except GuestError:
            request.unlink()
            raise


def do_cleanup(words: list[str]) -> None:
    """Run by qmeventd whenever a QEMU has ended."""
    vmid, clean, guest = (int(word) for word in words)
    with lock_config(vmid, KIND, CLEANUP_TIMEOUT):
        config = load(vmid, KIND)  # what has moved away is not cleaned up after
        if clean and config.options.get("lock") == "backup" and qemuserver.pid(vmid):
            raise GuestError("skipping cleanup - 'backup' lock is present and vm is running again")
        if not qemuserver.wait_for_end(vmid, 30):
            raise GuestError("aborting cleanup, VM is still running after 30 seconds")
        if not clean:
            for net in config.nets():
                network.unplug(f"tap{vmid}i{net}")
        qemuserver.stop_cleanup(vmid, config)
        request = qmp.RUN / f"{vmid}.reboot"
        again = request.exists()
        request.unlink(missing_ok=True)
    if again:
        do_start([str(vmid)])


def qmp_of(command: str) -> Callable[[list[str]], None]:
    def do(words: list[str]) -> None:
        (number, *_), given = parse(words)
        with lock_config(int(number), KIND):
            config = load(int(number), KIND)
            if given.get("skiplock") != "1":
                check_lock(config)
            qmp.command(int(number), command)

    return do


def do_resume(words: list[str]) -> None:
    (number, *_), given = parse(words)
    with lock_config(int(number), KIND):
        config = load(int(number), KIND)
        if given.get("skiplock") != "1" and config.options.get("lock") != "backup":
            check_lock(config)
        qemuserver.resume(int(number))


def do_status(words: list[str]) -> None:
    load(int(words[0]), KIND)
    print("status:", "running" if qemuserver.pid(int(words[0])) else "stopped")


def do_list(_: list[str]) -> None:
    print(f"{'VMID':>10} {'NAME':<20} {'STATUS':<10} {'MEM(MB)':<10} {'PID':<10}")
    for path in sorted((pmxcfs.ROOT / "local" / KIND).glob("*.conf")):
        config = load(int(path.stem), KIND)
        pid, name = qemuserver.pid(config.vmid), config.options.get("name", "")
        memory = config.options.get("memory", "512")
        state = "running" if pid else "stopped"
        print(f"{config.vmid:>10} {name:<20} {state:<10} {memory:<10} {pid:<10}")


def do_destroy(words: list[str]) -> None:
    (number, *_), given = parse(words)
    vmid = int(number)
    with lock_config(vmid, KIND):
        config = load(vmid, KIND)
        if given.get("skiplock") != "1":
            check_lock(config)
        if qemuserver.pid(vmid):
            raise GuestError(f"VM {vmid} is running - destroy failed")
        pmxcfs.remove(config.path)


def do_unlock(words: list[str]) -> None:
    with lock_config(int(words[0]), KIND):
        config = load(int(words[0]), KIND)
        config.options.pop("lock", None)
        config.write()


def do_migrate(words: list[str]) -> None:
    (number, target, *_), given = parse(words)
    if target == socket.gethostname():
        raise GuestError("target is local node.")
    if not (pmxcfs.ROOT / "nodes" / target).is_dir():
        raise GuestError(f"no such cluster node '{target}'")
    _migrate(Migration(int(number), target), given)


def do_remote_migrate(words: list[str]) -> None:
    """VMID TARGET-VMID NODE, where PVE has an address and a token of the other cluster."""
    (number, remote_vmid, target, *_), given = parse(words)
    _migrate(Migration(int(number), target, int(remote_vmid)), given)


def _migrate(migration: Migration, given: dict[str, str]) -> None:
    migration.bwlimit = int(given.get("bwlimit", 0))
    migration.poll = float(given.get("lab-poll", POLL))
    migration.linger = float(given.get("lab-linger", 0))
    with lock_config(migration.vmid, KIND):
        migration.run(online=given.get("online") == "1")


def do_mtunnel(_: list[str]) -> None:
    """The target's end within a cluster. It resumes without a look at where the config is."""
    def resume(request: dict[str, Any]) -> None:
        qemuserver.resume(int(request["vmid"]))

    serve_tunnel({"resume": resume, "quit": lambda _: None})


MOMENT = 0.25
"""Seconds between two writes to pmxcfs: long enough to be seen, also on a busy machine."""


def do_remote_mtunnel(words: list[str]) -> None:
    """The target's end of a migration from another cluster: VMID and the source's name.

    The config is there before the guest is: first empty and with `lock: create`, then for a
    moment whole and without any lock, then with `lock: migrate`.
    """
    vmid, source = int(words[0]), words[1]
    empty = GuestConfig(vmid, config_path(vmid, KIND))
    new_config(vmid, {})
    empty.options["lock"] = "create"
    empty.write()

    def config(request: dict[str, Any]) -> None:
        new = guestconfig.parse(vmid, empty.path, request["conf"])
        new.pending, new.snapshots = guestconfig.Section(), {}
        time.sleep(MOMENT)
        empty.options.pop("lock")
        empty.write()
        new.options.pop("lock", None)
        for key, value in new.options.items():
            new.options[key] = options.checked(key, value, KIND)
        new.write()
        time.sleep(MOMENT)
        new.options["lock"] = "migrate"
        new.write()

    def start(_: dict[str, Any]) -> None:
        qemuserver.start(vmid, load(vmid, KIND), migrated_from=source, other_cluster=True)

    def unlock(_: dict[str, Any]) -> None:
        new = load(vmid, KIND)
        new.options.pop("lock", None)
        new.write()

    def end(request: dict[str, Any]) -> None:
        if request.get("cleanup"):
            pmxcfs.remove(empty.path)

    def locked(handler: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
        def do(request: dict[str, Any]) -> None:
            with lock_config(vmid, KIND):
                handler(request)
            # Who waits for the lock has it next: `qm cleanup`, before the config is destroyed.
            deadline = time.monotonic() + CLEANUP_TIMEOUT
            while request["cmd"] == "stop" and (qmp.RUN / f"{vmid}.cleanup").exists():
                if time.monotonic() > deadline:
                    return
                time.sleep(qemuserver.POLL)

        return do

    handlers: dict[str, Callable[[dict[str, Any]], None]] = {
        "config": config,
        "start": start,
        "stop": lambda _: qemuserver.stop(vmid, no_check=True),
        "resume": lambda _: qemuserver.resume(vmid),
        "unlock": unlock,
        "quit": end,
    }
    serve_tunnel({name: locked(handler) for name, handler in handlers.items()})


def do_qmp(words: list[str]) -> None:
    """For tests: VMID COMMAND [JSON of its arguments]; prints what QEMU returns, as JSON."""
    vmid, command, *rest = words
    arguments = json.loads(rest[0]) if rest else {}
    print(json.dumps(qmp.command(int(vmid), command, **arguments)))


def vzdump(words: list[str]) -> int:
    """`vzdump VMID`: a backup in stop mode. QEMU is started paused for it, with both hooks.

    A guest that ran goes on once the backup's snapshot is taken, without any hook. The
    backup itself takes --lab-seconds.
    """
    (number, *_), given = parse(words)
    vmid = int(number)
    with lock_config(vmid, KIND):
        config = load(vmid, KIND)
        check_lock(config)
        config.options["lock"] = "backup"
        config.write()
        ran = qemuserver.pid(vmid) != 0
        if ran:
            qemuserver.stop(vmid, skip_lock=True, shutdown=True, force=True)
        qemuserver.start(vmid, load(vmid, KIND), paused=True)
    if ran:
        qmp.command(vmid, "cont")
    time.sleep(float(given.get("lab-seconds", 0)))
    if not ran:
        do_stop([number, "--skiplock", "1"])
    do_unlock([number])
    return 0


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "cleanup": do_cleanup,
    "config": do_config,
    "create": do_create,
    "destroy": do_destroy,
    "lab-mtunnel": do_remote_mtunnel,
    "lab-qmp": do_qmp,
    "list": do_list,
    "migrate": do_migrate,
    "mtunnel": do_mtunnel,
    "reboot": do_reboot,
    "remote-migrate": do_remote_migrate,
    "reset": qmp_of("system_reset"),
    "resume": do_resume,
    "set": do_set,
    "shutdown": do_shutdown,
    "start": do_start,
    "status": do_status,
    "stop": do_stop,
    "suspend": qmp_of("stop"),
    "unlock": do_unlock,
}
ERRORS = (GuestError, HookError, NetworkError, Interrupted, qmp.QmpError, remote.RemoteError)


def main(words: list[str]) -> int:
    command = COMMANDS.get(words[0] if words else "")
    if command is None:
        print(f"ERROR: unknown command 'qm {' '.join(words)}'", file=sys.stderr)
        return 255
    try:
        command(words[1:])
    except ERRORS as error:
        print(error, file=sys.stderr)
        return 255
    except OSError as error:  # /etc/pve is read-only or gone
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 255
    return 0
