"""Machines that run FRR: as the package starts it, with its own paths and its own watchfrr."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tests.lab.machine import Machine
from tests.lab.process import Result

CONFIGURATION = "/etc/frr/frr.conf"


# With the default timers a network whose routers all start at once takes up to 20 s to
# converge: every router changes its LSAs several times, and each change waits 5 s
# (MinLSInterval). Only for coming up; what is measured later is measured with the defaults.
HURRY = """router ospf
 timers throttle spf 10 50 500
 timers throttle lsa all 0
 timers lsa min-arrival 0
"""


class FrrMachine(Machine):
    """A machine with FRR in it; FRR runs from frr_start() on."""

    frr_running = False

    def frr_start(self, timeout: float = 60) -> None:
        self._frrinit("start", timeout)
        self.frr_running = True

    def frr_stop(self, timeout: float = 60) -> None:
        self.frr_running = False
        self._frrinit("stop", timeout)

    def frr_restart(self, timeout: float = 60) -> None:
        self._frrinit("restart", timeout)
        self.frr_running = True

    def _frrinit(self, action: str, timeout: float) -> Result:
        # At raised priority: on a small machine a daemon that waits for the processor for
        # three seconds loses its neighbours, which says nothing about the product.
        return self.run(["nice", "-n", "-10", "/usr/lib/frr/frrinit.sh", action], timeout=timeout)

    def write_frr(self, text: str, daemons: Iterable[str] = ("ospfd",)) -> None:
        """Write the integrated configuration; switch on exactly `daemons` (zebra always runs)."""
        self.write(CONFIGURATION, text, 0o640)
        switches = self.read("/etc/frr/daemons")
        wanted = set(daemons)
        switches = re.sub(
            r"^(\w+d)=(?:yes|no)$",
            lambda found: f"{found[1]}={'yes' if found[1] in wanted else 'no'}",
            switches,
            flags=re.MULTILINE,
        )
        self.write("/etc/frr/daemons", switches, 0o640)
        self.run(["chown", "frr:frr", CONFIGURATION, "/etc/frr/daemons"])

    def vtysh(self, *commands: str, timeout: float = 20) -> str:
        """What vtysh says to `commands`, one after another (configuration lines too)."""
        words = ["vtysh"]
        for command in commands:
            words += ["-c", command]
        return self.run(words, timeout=timeout).stdout

    def vtysh_json(self, command: str, timeout: float = 20) -> Any:
        """One `show … json`; an empty dict where FRR has nothing to say (no `router ospf`)."""
        said = self.vtysh(command, timeout=timeout).strip()
        return json.loads(said) if said.startswith(("{", "[")) else {}

    def neighbours(self) -> dict[str, list[str]]:
        """OSPF neighbours: router id → states as FRR writes them ("Full/DR"), one an adjacency.

        Empty when ospfd does not run or has no neighbour.
        """
        found = self.vtysh_json("show ip ospf neighbor json").get("neighbors", {})
        return {
            router: [_state(adjacency) for adjacency in adjacencies]
            for router, adjacencies in found.items()
        }

    def full(self, count: int) -> bool:
        """Whether exactly `count` adjacencies exist, all of them full (for poll())."""
        states = [state for states in self.neighbours().values() for state in states]
        return len(states) == count and all(state.startswith("Full") for state in states)


class Router(FrrMachine):
    """A router outside of the cluster; forwards, and runs FRR with the configuration given."""

    sysctls = {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.rp_filter": "0",
        # A traceroute soon after another would show "*" for a router that is there.
        "net.ipv4.icmp_ratelimit": "0",
    }
    configuration = ""
    _costs: Mapping[str, int] = {}

    @property
    def ospf_networks(self) -> dict[str, str]:
        """The subnets that OSPF runs on here: interface → prefix."""
        return {
            name: str(ipaddress.ip_interface(address).network)
            for name, address in self.addresses.items()
            if name in self._costs
        }

    def knows(self, subnets: set[str]) -> bool:
        """Whether all of `subnets` are in the kernel's main table."""
        return subnets <= {route["dst"] for route in self.routes()}

    def settled_with(self, count: int) -> bool:
        """`count` neighbours, each full or, between two DROthers, 2-Way."""
        states = [state for states in self.neighbours().values() for state in states]
        return len(states) == count and all(
            state.startswith("Full") or state == "2-Way/DROther" for state in states
        )

    def ospf(
        self,
        router_id: str,
        costs: Mapping[str, int],
        *,
        area: str = "0",
        hello: int = 1,
        dead: int = 3,
        point_to_point: Collection[str] = (),
        extra: str = "",
    ) -> None:
        """Configure OSPF on the interfaces of `costs` (name → cost); intervals in seconds."""
        self._costs = costs
        self.configuration = ospf_configuration(
            self.name,
            router_id,
            costs,
            area=area,
            hello=hello,
            dead=dead,
            point_to_point=point_to_point,
            extra=extra,
        )

    def start(self) -> None:
        super().start()
        if self.configuration:
            self.write_frr(self.configuration + HURRY)
            self.frr_start()

    def settle(self) -> None:
        """Go over to FRR's default timers, once the network has come up."""
        if self.configuration:
            words = (f"no {line.strip()}" for line in HURRY.splitlines()[1:])
            self.vtysh("configure terminal", "router ospf", *words)
            self.write_frr(self.configuration)


def ospf_configuration(
    hostname: str,
    router_id: str,
    costs: Mapping[str, int],
    *,
    area: str = "0",
    hello: int = 1,
    dead: int = 3,
    point_to_point: Collection[str] = (),
    extra: str = "",
) -> str:
    """A plain router's frr.conf. `extra` is put at its end as it is."""
    lines = ["frr defaults traditional", f"hostname {hostname}", "log syslog informational"]
    lines += ["service integrated-vtysh-config", "!"]
    for name, cost in costs.items():
        lines += [
            f"interface {name}",
            f" ip ospf area {area}",
            f" ip ospf cost {cost}",
            f" ip ospf hello-interval {hello}",
            f" ip ospf dead-interval {dead}",
            *([" ip ospf network point-to-point"] if name in point_to_point else []),
            "!",
        ]
    lines += ["router ospf", f" ospf router-id {router_id}", " log-adjacency-changes", "!", extra]
    return "\n".join(lines) + "\n"


def _state(adjacency: dict[str, Any]) -> str:
    """8.4 has nbrState, newer versions beside it a converged/role pair; nbrState is in all."""
    return str(adjacency.get("nbrState") or adjacency.get("state"))
