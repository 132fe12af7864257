"""A machine: its own namespaces over an overlay of a Debian root tree."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tests.lab.process import LabError, Result, Word, run
from tests.lab.tree import in_use, tree
from tests.lab.wire import Lan, Leg

INIT = Path(__file__).with_name("init")
NAMESPACES = ("mount", "net", "pid", "uts", "ipc")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "TERM": "dumb",
}


@dataclass(frozen=True)
class Counters:
    """What went through an interface since it was made."""

    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int

    def __sub__(self, before: Counters) -> Counters:
        return Counters(
            self.rx_bytes - before.rx_bytes,
            self.tx_bytes - before.tx_bytes,
            self.rx_packets - before.rx_packets,
            self.tx_packets - before.tx_packets,
        )


class Machine:
    """One machine of a lab. What is plugged or set up before start() is done by it."""

    sysctls: Mapping[str, str] = {}

    def __init__(self, name: str, suite: str, directory: Path, cgroup: Path) -> None:
        self.name = name
        self.suite = suite
        self.legs: dict[str, Leg] = {}
        self.addresses: dict[str, str] = {}
        self._directory = directory / name
        self._cgroup = cgroup / name
        self._process: subprocess.Popen[str] | None = None
        self._pid = 0
        self._plugs: list[tuple[str, Lan]] = []
        self._queue: list[str] = []
        self._held: list[TextIO] = []

    # -- life ------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        return self._pid != 0

    @property
    def pid(self) -> int:
        """PID 1 of the machine, as the runner sees it."""
        if not self._pid:
            raise LabError(f"{self.name} is not up")
        return self._pid

    def start(self) -> None:
        """Make the namespaces, plug the cables, configure the network."""
        layers = self.layers()
        self._held = [in_use(layer) for layer in layers]
        unshare = ["unshare", "--fork", "--kill-child", "--propagation", "private"]
        words: list[Word] = [*unshare, *(f"--{kind}" for kind in NAMESPACES), INIT, self.name]
        words += [self._directory / "root", ":".join(str(layer) for layer in layers)]
        words += [self._directory, self._cgroup]
        for source, target in self.binds():
            words += [source, target]
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "init.log").open("w") as log:
            self._process = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout
        said = self._process.stdout.readline().strip()
        self._process.stdout.close()
        if not said:
            raise LabError(
                f"{self.name} did not start: {(self._directory / 'init.log').read_text()}"
            )
        self._pid = int(said)
        self._configure()

    def layers(self) -> list[Path]:
        """The read-only directories under the machine's root, uppermost first."""
        return [tree(self.suite)]

    def binds(self) -> list[tuple[Path, str]]:
        """Directories of the lab that are mounted in the machine: (source, target)."""
        return []

    def stop(self) -> None:
        """Power cut: every process of the machine is killed at once."""
        if self._process is None:
            return
        # Killing PID 1 would do, but not wait for what it takes along.
        (self._cgroup / "cgroup.kill").write_text("1")
        self._process.wait()
        while "populated 1" in (self._cgroup / "cgroup.events").read_text():
            time.sleep(0.005)
        self._process = None
        self._pid = 0
        self.legs.clear()
        for lock in self._held:
            lock.close()

    def _configure(self) -> None:
        if self.sysctls:
            self.run(["sysctl", "-qw", *(f"{key}={value}" for key, value in self.sysctls.items())])
        for name, lan in self._plugs:
            self.legs[name] = lan.attach(self.pid, name)
        if self._queue:
            self.ip(*self._queue)

    # -- network ---------------------------------------------------------------------

    def plug(self, name: str, lan: Lan, *addresses: str) -> None:
        """A cable to `lan`, seen as `name` (at most 15 characters), up, with `addresses`."""
        self._plugs.append((name, lan))
        if addresses:
            self.addresses[name] = addresses[0]
        if self.up:
            self.legs[name] = lan.attach(self.pid, name)
        self.ip(f"link set {name} up", *(f"addr add {address} dev {name}" for address in addresses))

    def bridge(self, name: str, *addresses: str, ports: Sequence[str] = ()) -> None:
        """A bridge as Proxmox makes it: no STP, no forward delay."""
        self.ip(
            f"link add {name} type bridge stp_state 0 forward_delay 0",
            *(f"link set {port} master {name}" for port in ports),
            f"link set {name} up",
            *(f"addr add {address} dev {name}" for address in addresses),
        )

    def vxlan(self, name: str, vni: int, local: str, remote: str, *addresses: str) -> None:
        """One end of a point-to-point VXLAN tunnel; the underlay is IPv4 and 1500 wide."""
        self.ip(
            f"link add {name} mtu 1450 type vxlan id {vni} dstport 4789 "
            f"local {local} remote {remote}",
            f"link set {name} up",
            *(f"addr add {address} dev {name}" for address in addresses),
        )

    def route(self, prefix: str, via: str) -> None:
        self.ip(f"route add {prefix} via {via}")

    def ip(self, *lines: str) -> None:
        """Command lines for `ip -batch`: done now when the machine is up, else at its start."""
        if not self.up:
            self._queue += lines
            return
        self.run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")

    def counters(self, interface: str) -> Counters:
        link = self.json("ip", "-j", "-s", "link", "show", "dev", interface)[0]["stats64"]
        rx, tx = link["rx"], link["tx"]
        return Counters(rx["bytes"], tx["bytes"], rx["packets"], tx["packets"])

    def routes(self, *match: str) -> list[dict[str, Any]]:
        """`ip -j route show MATCH…`: the kernel's main table."""
        found: list[dict[str, Any]] = self.json("ip", "-j", "-N", "route", "show", *match)
        return found

    def ping(self, address: str, *, timeout: float = 1) -> bool:
        """One echo request; whether the answer came within `timeout` seconds."""
        return self.run(["ping", "-n", "-c", 1, "-W", timeout, address], check=False).ok

    # -- programs and files ------------------------------------------------------------

    def enter(self, argv: Iterable[Word]) -> list[str]:
        """The words that run `argv` inside the machine."""
        # --root: where the lab itself runs in a chroot, the mount namespace alone is not enough.
        inside = ["nsenter", f"--target={self.pid}", *(f"--{kind}" for kind in NAMESPACES)]
        return [*inside, "--root", "--", *(str(word) for word in argv)]

    def run(
        self,
        argv: Sequence[Word],
        *,
        check: bool = True,
        timeout: float = 60,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a program in the machine, as process.run() does; `env` is added to a plain one."""
        whole = {**ENVIRONMENT, **(env or {})}
        return run(self.enter(argv), check=check, timeout=timeout, stdin=stdin, env=whole)

    def sh(self, script: str, *, check: bool = True, timeout: float = 60) -> str:
        """What a shell script says on standard output, without the last newline."""
        return self.run(["sh", "-ec", script], check=check, timeout=timeout).stdout.rstrip("\n")

    def json(self, *argv: Word) -> Any:
        """What a program says, as JSON; None when it says nothing."""
        said = self.run(argv).stdout
        return json.loads(said) if said.strip() else None

    def popen(self, argv: Sequence[Word]) -> subprocess.Popen[str]:
        """Start a program with text pipes; the caller ends it (process.kill_group)."""
        return subprocess.Popen(
            self.enter(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
            start_new_session=True,
        )

    def read(self, path: str) -> str:
        return self.run(["cat", path]).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Replace a file atomically, as root; missing directories are made."""
        script = 'mkdir -p "${1%/*}"; cat >"$1.lab"; chmod "$2" "$1.lab"; mv "$1.lab" "$1"'
        self.run(["sh", "-ec", script, "sh", path, f"{mode:o}"], stdin=text)

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path], check=False).ok

    def logs(self) -> dict[str, str]:
        """Every log of the machine that is not empty: file → text."""
        if not self.up:
            return {}
        pattern = "/var/log/syslog /var/log/frr/* /var/log/lxc/* /run/pve/*.stderr"
        pattern += " /var/log/qemu-server/*"
        files = self.sh(f"for f in {pattern}; do [ -s $f ] && echo $f; done; :").split()
        return {path: self.read(path) for path in files}


def runtime_directory() -> tuple[Path, Path]:
    """(scratch, cgroup) of the outer namespaces we are in; raises LabError outside of them."""
    try:
        return Path(os.environ["PVE_OSPF_LAB_RUN"]), Path(os.environ["PVE_OSPF_LAB_CGROUP"])
    except KeyError:
        raise LabError("not in the lab's namespaces: run this by tests/lab/enter") from None
