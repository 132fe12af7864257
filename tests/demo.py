"""`make demo`: the main job in the lab, step by step, each step checked.

Two Proxmox nodes in two IP networks, behind two routers; a client behind a third; a tunnel
between the nodes that OSPF would prefer if it were let in. Real FRR, real containers, the
installed package. Exits 1 when a step did not hold.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from tests.lab import service, topology
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.node import Node
from tests.lab.poll import NotInTime, poll
from tests.lab.process import Result

TUNNEL = topology.TUNNEL
WEB, MAIL = "198.51.100.7", "203.0.113.9"
ALLOW = "allow: [198.51.100.0/24, 203.0.113.0/24]"
PICTURE = """\
                        client 10.9.0.2
                              |
                             r3
              cost 10      /    \\      cost 100
                         r1      r2
         10.0.1.0/24      |      |      10.0.2.0/24
                        pve1 == pve2
                       vxlan100, the cluster's tunnel
"""


class Demo:
    """Says what happens, and counts what did not hold."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.failed = 0
        self.number = 0
        self.colour = sys.stdout.isatty()

    def step(self, title: str) -> None:
        self.number += 1
        line = f"{self.number}. {title}"
        self.say(f"\n\033[1m{line}\033[0m" if self.colour else f"\n{line}")

    def show(self, machine: Machine, command: str, *, ok: Iterable[int] = (0,)) -> Result:
        """Runs what a user would type, shows it and what it printed; the exit code counts."""
        self.say(f"   root@{machine.name}:~# {command}")
        done = machine.run(["sh", "-c", command], check=False, timeout=180)
        for line in (done.stdout + done.stderr).splitlines():
            self.say(f"   {line}")
        if done.returncode not in ok:
            self.hold(False, f"{command}: exit {done.returncode}")
        return done

    def hold(self, condition: bool, claim: str) -> None:
        self.failed += not condition
        mark = "ok  " if condition else "FAIL"
        if self.colour:
            mark = f"\033[{32 if condition else 31}m{mark}\033[0m"
        self.say(f"   {mark} {claim}")

    def within(self, seconds: float, condition: Callable[[], bool], claim: str) -> None:
        try:
            poll(condition, seconds, claim)
        except NotInTime as error:
            self.hold(False, str(error))
        else:
            self.hold(True, claim)


def main(deb: Path, suite: str = "bookworm") -> int:
    """Runs the whole demonstration; 0 when every step held."""
    demo = Demo(lambda line: print(line, flush=True))
    demo.say("pve-ospf: a container gets any address, on any node, reachable from everywhere\n")
    demo.say(PICTURE)
    demo.step("Raising the lab: nodes, routers and client, each in its own namespaces")
    began = time.monotonic()
    with topology.demo(deb=deb, suite=suite) as lab:
        demo.within(60, lambda: lab.router("r3").full(2), "the routers are adjacent "
                    f"({time.monotonic() - began:.0f} s)")
        _install(demo, lab)
        _start(demo, lab)
        _check(demo, lab)
        _unseen(demo, lab)
        _move(demo, lab)
        moved = _tunnel_flat(demo, lab)
        _control(demo, lab, moved)
        _stop(demo, lab)
    demo.step("Everything is taken down")
    demo.hold(not lab.directory.exists() and not lab.cgroup.exists(), "nothing is left behind")
    demo.say(f"\n{'every step held' if not demo.failed else f'{demo.failed} did not hold'} "
             f"({time.monotonic() - began:.0f} s)")
    return 1 if demo.failed else 0


def _install(demo: Demo, lab: Lab) -> None:
    one, two = lab.node("pve1"), lab.node("pve2")
    for node in (one, two):
        service.start(node)
    demo.say("   pve-ospf.service runs on both nodes (the lab has no systemd: the demo starts it)")
    demo.step("The administrator's part: what may be announced, and the OSPF configuration")
    demo.show(one, f"echo '{ALLOW}' > /etc/pve/pve-ospf.yaml")
    demo.show(one, "pve-ospf apply")
    demo.show(two, "pve-ospf apply >/dev/null && echo applied here too")
    for node in (one, two):
        demo.within(30, partial(node.full, 1), f"{node.name} is adjacent to its router")
    demo.step("Two containers, attached once")
    one.create(101, f"{WEB}/32", hostname="web")
    two.create(104, f"{MAIL}/32", hostname="mail")
    demo.show(one, "pve-ospf attach 101 104")


def _start(demo: Demo, lab: Lab) -> None:
    one, two = lab.node("pve1"), lab.node("pve2")
    demo.step("They start, and the whole network reaches them")
    demo.hold(not lab.client.ping(WEB), f"before: the client does not reach {WEB}")
    demo.show(one, "pct start 101")
    demo.show(two, "pct start 104")
    for address in (WEB, MAIL):
        _reached(demo, lab, address, f"the client reaches {address}")


def _reached(demo: Demo, lab: Lab, address: str, claim: str) -> None:
    demo.within(15, lambda: lab.client.ping(address), claim)
    demo.say("   path: " + " > ".join(lab.client.path(address)))


def _check(demo: Demo, lab: Lab) -> None:
    demo.step("Two lists that must agree: running guests, announced addresses")
    demo.show(lab.node("pve1"), "pve-ospf check")


def _unseen(demo: Demo, lab: Lab) -> None:
    one = lab.node("pve1")
    demo.step("No hook tells of this: a container reboots from inside; the agent is killed")
    before = _pid_of_web(one)
    demo.show(one, "pct exec 101 -- reboot")
    demo.within(15, lambda: _pid_of_web(one) not in ("", before), "it has rebooted")
    _reached(demo, lab, WEB, "the client reaches it again")
    service.stop(one, "KILL")
    demo.hold(lab.client.ping(WEB), "without an agent, what is announced serves on")
    service.start(one)


def _pid_of_web(node: Node) -> str:
    return node.sh("lxc-info -P /var/lib/lxc -n 101 -pH", check=False)


def _move(demo: Demo, lab: Lab) -> None:
    demo.step(f"{WEB} moves to pve2, in another network, and keeps its address")
    ping = lab.client.popen(["ping", "-n", "-D", "-i", "0.02", "-W", "1", WEB])
    demo.say("   root@pve1:~# pct migrate 101 pve2 --restart 1")
    lab.migrate(101, "pve1", "pve2", timeout=10)
    _reached(demo, lab, WEB, "the client reaches it there")
    # The group, for the program in the machine is nsenter's child; ping sums up on SIGINT.
    os.killpg(ping.pid, signal.SIGINT)
    gap = _longest_gap(ping.communicate(timeout=10)[0])
    demo.say(f"   measured gap: {gap:.2f} s (the container was stopped and started meanwhile)")
    demo.hold(_gateway(lab.router("r3"), WEB) == "10.0.23.2", "r3 sends it to r2 now")


def _longest_gap(said: str) -> float:
    """Seconds between two answers, at most; from `ping -D`."""
    times = [float(t) for t in re.findall(r"^\[(\d+\.\d+)\] \d+ bytes from", said, re.MULTILINE)]
    return max((b - a for a, b in zip(times, times[1:], strict=False)), default=float("inf"))


def _download(demo: Demo, lab: Lab) -> tuple[int, int]:
    """Bytes downloaded by the client, and bytes that crossed the tunnel meanwhile."""
    node = lab.node("pve2")
    before = node.counters(TUNNEL)
    demo.say(f"   client$ curl http://{WEB}/file")
    got = lab.client.get(WEB)
    crossed = node.counters(TUNNEL) - before
    total = crossed.rx_bytes + crossed.tx_bytes
    demo.hold(got.ok, f"{got.bytes / 1e6:.1f} MB downloaded; through {TUNNEL}: {total} bytes")
    return got.bytes, total


def _tunnel_flat(demo: Demo, lab: Lab) -> int:
    demo.step("User traffic stays off the cluster's tunnel")
    size, crossed = _download(demo, lab)
    demo.hold(crossed < size / 1000, "the tunnel's counters are flat")
    return size


def _control(demo: Demo, lab: Lab, size: int) -> None:
    demo.step("The control: the same with the protection taken away")
    nodes = lab.node("pve1"), lab.node("pve2")
    for node in nodes:
        demo.say(f"   root@{node.name}:~# vtysh: interface {TUNNEL}: no ip ospf passive, "
                 "ip ospf area 0")
        topology.let_ospf_into_tunnel(node)
    demo.within(30, lambda: all(node.full(2) for node in nodes), "OSPF took the tunnel")
    demo.within(10, lambda: _gateway(lab.router("r3"), WEB) == "10.0.13.1"
                and TUNNEL in nodes[1].sh("ip route get 10.9.0.2"),
                "and sends the client's traffic into it, both ways")
    _reached(demo, lab, WEB, "as the path shows")
    got, crossed = _download(demo, lab)
    demo.hold(got == size and crossed > size / 2, "the tunnel's counters moved: the step "
              "before measures what it says")
    done = demo.show(nodes[0], "pve-ospf check", ok=(1,))
    demo.hold(TUNNEL in done.stdout, "check names the tunnel")
    for node in nodes:
        demo.show(node, "pve-ospf apply --force >/dev/null && echo protected again")
    demo.within(30, lambda: _gateway(lab.router("r3"), WEB) == "10.0.23.2",
                "traffic is back on its own path")


def _gateway(router: Machine, address: str) -> str:
    routes = router.routes(address)
    return str(routes[0].get("gateway", "")) if routes else ""


def _stop(demo: Demo, lab: Lab) -> None:
    demo.step("They stop, and the addresses are gone")
    node: Node = lab.node("pve2")
    demo.show(node, "pct stop 101")
    demo.show(node, "pct stop 104")
    demo.within(10, lambda: not any(lab.router("r3").routes(a) for a in (WEB, MAIL)),
                "r3 knows them no more")
    demo.show(node, "pve-ospf check")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:3]))
