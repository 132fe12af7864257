"""A lab: machines, LANs and a cluster, raised together and taken down together."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tests.lab.client import Client
from tests.lab.cluster import Cluster
from tests.lab.convergence import converge
from tests.lab.frr import FrrMachine, Router
from tests.lab.machine import Machine, runtime_directory
from tests.lab.node import Node
from tests.lab.process import LabError
from tests.lab.wire import Lan, Wire

_numbers = itertools.count(1)
M = TypeVar("M", bound=Machine)

live: list[Lab] = []
"""The labs of this process that are up, for whoever reports a failure."""


class Lab:
    """Compose with add_…(), then raise with start() or as a context manager.

    Several labs can be up at a time: what has a name on the machine carries this
    process's PID and a number.

    With `hurry` the routers keep their short timers until settle() is called: nodes that
    join right after the start are known everywhere in 1 s then, and not in 12. With `vms`
    the nodes can run virtual machines.
    """

    def __init__(
        self,
        *,
        deb: Path | None = None,
        suite: str = "bookworm",
        hurry: bool = False,
        vms: bool = False,
    ) -> None:
        run_directory, cgroup = runtime_directory()
        self.name = f"lab-{os.getpid()}-{next(_numbers)}"
        self.deb = deb
        self.suite = suite
        self.hurry = hurry
        self.vms = vms
        self.directory = run_directory / self.name
        self.cgroup = cgroup / self.name
        self.machines: dict[str, Machine] = {}
        self.lans: dict[str, Lan] = {}
        self.directory.mkdir()
        self.cgroup.mkdir()
        self.wire = Wire()
        self.cluster = Cluster(self.directory / "pve")

    # -- composing -------------------------------------------------------------------

    def add_lan(self, name: str) -> Lan:
        self.lans[name] = Lan(self.wire, name)
        return self.lans[name]

    def add_router(self, name: str, suite: str | None = None) -> Router:
        return self._add(Router(name, suite or self.suite, self.directory, self.cgroup))

    def add_client(self, name: str, suite: str | None = None) -> Client:
        return self._add(Client(name, suite or self.suite, self.directory, self.cgroup))

    def add_node(self, name: str, ring: str, suite: str | None = None) -> Node:
        """A Proxmox node; `ring` is its corosync address."""
        self.cluster.add(name, ring)
        place = (name, suite or self.suite, self.directory, self.cgroup)
        return self._add(Node(*place, cluster=self.cluster, deb=self.deb, vms=self.vms))

    def _add(self, machine: M) -> M:
        if machine.name in self.machines:
            raise LabError(f"there is a machine {machine.name} already")
        self.machines[machine.name] = machine
        return machine

    # -- looking up --------------------------------------------------------------------

    def router(self, name: str) -> Router:
        return self._of(Router, name)

    def node(self, name: str) -> Node:
        return self._of(Node, name)

    @property
    def client(self) -> Client:
        """The client, where there is but one."""
        (only,) = (machine for machine in self.machines.values() if isinstance(machine, Client))
        return only

    @property
    def nodes(self) -> list[Node]:
        return [machine for machine in self.machines.values() if isinstance(machine, Node)]

    @property
    def routers(self) -> list[Router]:
        return [machine for machine in self.machines.values() if isinstance(machine, Router)]

    def _of(self, kind: type[M], name: str) -> M:
        machine = self.machines.get(name)
        if not isinstance(machine, kind):
            raise LabError(f"no {kind.__name__.lower()} {name!r} in this lab")
        return machine

    # -- life --------------------------------------------------------------------------

    def start(self) -> Lab:
        """Raise every machine at once, and wait until the routers know each other.

        When one fails, what is up is taken down again.
        """
        live.append(self)
        try:
            self.cluster.write()
            together(lambda machine: machine.start(), self.machines.values())
            converge([router for router in self.routers if router.ospf_networks])
            if not self.hurry:
                self.settle()
        except BaseException:
            self.close()
            raise
        return self

    def settle(self) -> None:
        """From here on the routers run with FRR's default timers."""
        together(lambda router: router.settle(), self.routers)

    def close(self) -> None:
        """Kill everything of this lab; nothing of it is left, not even its files."""
        if self in live:
            live.remove(self)
        if not self.directory.exists():
            return
        together(lambda machine: machine.stop(), self.machines.values())
        self.wire.close()
        shutil.rmtree(self.directory)
        for directory, _, _ in os.walk(self.cgroup, topdown=False):
            Path(directory).rmdir()

    def __enter__(self) -> Lab:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- the whole ---------------------------------------------------------------------

    def migrate(self, vmid: int, source: str, target: str, *, timeout: float = 180) -> None:
        """Move a container in restart mode, as `pct migrate --restart` does; seconds."""
        Node.migrate(self.node(source), vmid, self.node(target), timeout=timeout)

    def logs(self) -> dict[str, str]:
        """Every log of every machine: "machine:file" → text."""
        return {
            f"{machine.name}:{path}": text
            for machine in self.machines.values()
            for path, text in machine.logs().items()
        }

    @property
    def frr_machines(self) -> list[FrrMachine]:
        return [machine for machine in self.machines.values() if isinstance(machine, FrrMachine)]


def together(action: Callable[[M], object], machines: Iterable[M]) -> None:
    """Do it to all machines at the same time; raises the first failure after all have ended."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(action, machines))
