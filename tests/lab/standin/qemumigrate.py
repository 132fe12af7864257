"""PVE::QemuMigrate: moving a VM to another node, or to a node of another cluster.

Phase by phase as there. What only a test wants has an option that begins with `lab-`.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from . import pmxcfs, qemuserver, qmp, remote
from .container import GuestError, check_lock, load
from .guestconfig import GuestConfig
from .qemuserver import KIND

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
UNLIMITED = 16 << 30
"""Bytes per second."""

POLL = 0.1
"""Seconds between two looks at the copy: PVE's pace once what remains is little (before that
it is 1 s). For so long, on average half of it, the guest stands still on both nodes."""


class Interrupted(Exception):
    """The task was told to stop."""


@dataclass
class Migration:
    """One run of `qm migrate`; the caller holds the guest's lock."""

    vmid: int
    target: str
    remote_vmid: int = 0
    """The VMID in the other cluster; 0 for a migration within the cluster."""
    bwlimit: int = 0
    """KiB per second; 0: as fast as it goes."""
    poll: float = POLL
    linger: float = 0
    """Seconds that the source's QEMU stays after the guest runs on the target."""
    config: GuestConfig = field(init=False)
    tunnel: Tunnel | None = None

    def run(self, *, online: bool) -> None:
        self.config = load(self.vmid, KIND)
        check_lock(self.config)
        running = qemuserver.pid(self.vmid) != 0
        if running and not online:
            raise GuestError("can't migrate running VM without --online")
        was_paused = running and qmp.status(self.vmid) in ("paused", "prelaunch")
        for number in SIGNALS:
            signal.signal(number, _interrupt)
        try:
            self._phase1()
        except BaseException:
            self._clean_up_phase1()
            raise
        if running:
            try:
                self._phase2()
            except BaseException:
                self._clean_up_phase2(was_paused=was_paused)
                raise
        _uninterruptible()
        self._finish(running=running, resume=not was_paused)

    def _phase1(self) -> None:
        say(f"starting migration of VM {self.vmid} to node '{self.target}'")
        self.config.options["lock"] = "migrate"
        self.config.write()
        if self.remote_vmid:
            words = ["qm", "lab-mtunnel", str(self.remote_vmid), socket.gethostname()]
            self.tunnel = Tunnel(self.target, words)
            self.tunnel.ask("config", conf=self.config.text())

    def _clean_up_phase1(self) -> None:
        _uninterruptible()
        say("aborting phase 1 - cleanup resources")
        self._unlock_here()
        if self.tunnel:
            self.tunnel.ask("quit", cleanup=True)

    def _phase2(self) -> None:
        say(f"starting VM {self.vmid} on remote node '{self.target}'")
        there = self.remote_vmid or self.vmid
        if self.remote_vmid:
            assert self.tunnel
            self.tunnel.ask("start")
        else:
            words = ["qm", "start", str(there), "--skiplock", "1"]
            remote.run(self.target, [*words, "--migratedfrom", socket.gethostname()])
            self.tunnel = Tunnel(self.target, ["qm", "mtunnel"])
        qemuserver.set_migration_caps(self.vmid)
        speed = self.bwlimit * 1024 or UNLIMITED
        downtime = int(float(self.config.options.get("migrate_downtime", 0.1)) * 1000)
        limits = {"max-bandwidth": speed, "downtime-limit": downtime}
        qmp.command(self.vmid, "migrate-set-parameters", **limits)
        uri = f"unix:{qemuserver.incoming_socket(there)}"
        say(f"start migrate command to {uri}")
        qmp.command(self.vmid, "migrate", uri=uri)
        self._wait_for_copy()

    def _wait_for_copy(self) -> None:
        while True:
            time.sleep(self.poll)
            stat = qmp.command(self.vmid, "query-migrate")
            if stat["status"] in ("failed", "cancelled"):
                why = f" - {stat['error-desc']}" if "error-desc" in stat else ""
                say(f"migration status error: {stat['status']}{why}")
                raise GuestError("migration aborted")
            if stat["status"] not in ("active", "device", "setup", "cancelling"):
                say(f"migration status: {stat['status']}, downtime {stat.get('downtime')} ms")
                return

    def _clean_up_phase2(self, *, was_paused: bool) -> None:
        """The guest goes on here; there, QEMU is ended and post-stop run."""
        _uninterruptible()
        say("aborting phase 2 - cleanup resources")
        try:
            qmp.command(self.vmid, "migrate_cancel")
            if qmp.status(self.vmid) == "postmigrate" and not was_paused:
                qmp.command(self.vmid, "cont")
        except qmp.QmpError as error:
            say(f"migrate_cancel error: {error}")
        self._unlock_here()
        if self.remote_vmid and self.tunnel:
            self.tunnel.ask("stop")
            self.tunnel.ask("quit", cleanup=True)
            return
        words = ["qm", "stop", str(self.vmid), "--skiplock", "1"]
        remote.ask(self.target, [*words, "--migratedfrom", socket.gethostname()])

    def _unlock_here(self) -> None:
        self.config.options.pop("lock")
        self.config.write()

    def _finish(self, *, running: bool, resume: bool) -> None:
        """phase3_cleanup: `lock: migrate` stays until the source's QEMU is gone."""
        before = deepcopy(self.config)
        if not self.remote_vmid:
            there = pmxcfs.ROOT / "nodes" / self.target / KIND / f"{self.vmid}.conf"
            pmxcfs.rename(self.config.path, there)
        if running:
            assert self.tunnel
            if resume:
                self.tunnel.ask("resume", vmid=self.vmid)
            time.sleep(self.linger)
            qemuserver.stop(self.vmid, no_check=True)
            qemuserver.stop_cleanup(self.vmid, before, hook=False)
        if self.remote_vmid and self.tunnel:
            self.tunnel.ask("unlock")
            self.tunnel.ask("quit")
        else:
            remote.run(self.target, ["qm", "unlock", str(self.vmid)])
        say("migration finished successfully")


class Tunnel:
    """The source's end of `qm mtunnel`: a process on the target that is there already, so that
    the guest's resume takes no start of a program."""

    def __init__(self, node: str, words: list[str]) -> None:
        self._stream = remote.tunnel(node, words).makefile("rw")

    def ask(self, command: str, **arguments: Any) -> None:
        """Raises GuestError with what went wrong at the other end."""
        self._stream.write(json.dumps({"cmd": command} | arguments) + "\n")
        self._stream.flush()
        answer = json.loads(self._stream.readline() or '{"msg": "tunnel closed"}')
        if not answer.get("success"):
            raise GuestError(f"failed to handle '{command}' command - {answer.get('msg')}")


def serve_tunnel(commands: dict[str, Callable[[dict[str, Any]], None]]) -> None:
    """The target's end: carry out commands until "quit" or the other end hangs up."""
    answers, sys.stdout = sys.stdout, sys.stderr  # hooks may say things
    for line in sys.stdin:
        request = json.loads(line)
        try:
            commands[request["cmd"]](request)
            answer: dict[str, Any] = {"success": True}
        except (GuestError, qmp.QmpError, OSError) as error:
            answer = {"success": False, "msg": str(error)}
        print(json.dumps(answer), file=answers, flush=True)
        if request["cmd"] == "quit":
            return


def say(text: str) -> None:
    print(text, flush=True)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted("interrupted by signal")


def _uninterruptible() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
