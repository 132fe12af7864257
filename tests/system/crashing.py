"""The agent killed at random moments while guests start, stop and move.

After each kill, the agent started again or the next hook makes the node right, and what is
not ours stays byte for byte.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.lab import service
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.system.standing import Guests
from tests.system.watching import hook, would_do

VMIDS = (141, 142, 143)
SOMEONES = "198.51.100.96", "198.51.100.97"
LIFE = """
step() { [ ! -e /run/lab-enough ] || exit 0; "$@" || :; }
while :; do
  step pct start 141; step pct start 142; step pct stop 141
  step pct migrate 143 pve2 --restart 1 --timeout 60
  step pct start 141; step pct stop 142; step pct start 142; step pct stop 141; step pct stop 142
  step sleep 0.05
done
"""
"""On pve1; what fails because the guest is just not there does not matter."""
BACK = """
while [ ! -e /run/lab-enough ]; do
  config=/etc/pve/local/lxc/143.conf
  [ ! -e $config ] || grep -q ^lock $config || pct migrate 143 pve1 --restart 1 --timeout 60
  sleep 0.3
done
"""
"""On pve2: what comes is sent back."""


@dataclass
class Crashes:
    """Guests that come and go on both nodes, and what a kill must not touch."""

    lab: Lab
    guests: Guests
    random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311
    slowest: float = 0.0

    @property
    def node(self) -> Node:
        return self.lab.node("pve1")

    def prepare(self) -> None:
        """Three guests on pve1, of which the third runs; and somebody else's state."""
        for vmid in VMIDS:
            self.guests.attached(self.node, vmid, f"198.51.100.{vmid}/32")
        self.node.pct("start", VMIDS[2])
        self.node.sh(
            f"ip route add {SOMEONES[0]}/32 dev vmbr1; ip route add {SOMEONES[1]}/32 via 10.0.1.1;"
            f"ip neigh add {SOMEONES[0]} dev vmbr1 lladdr 02:00:00:00:00:96 nud permanent;"
            f"ip neigh add proxy {SOMEONES[1]} dev vmbr0")
        self._before = self.foreign()

    def end(self) -> None:
        self.node.sh(
            f"ip route del {SOMEONES[0]}; ip route del {SOMEONES[1]};"
            f"ip neigh del {SOMEONES[0]} dev vmbr1; ip neigh del proxy {SOMEONES[1]} dev vmbr0",
            check=False)

    def foreign(self) -> str:
        """Everything that is not ours, as text; whether any guest gives the bridge a carrier
        is left out."""
        return self.node.sh(
            "ip route show | grep -v 'proto pve-ospf' | grep -v 'proto ospf' |"
            " sed 's/ linkdown//; s/ *$//';"
            "ip neigh show nud permanent | grep -v 'proto pve-ospf\\|proto 205';"
            "ip neigh show proxy | grep -v 'proto pve-ospf\\|proto 205';"
            "cat /etc/frr/frr.conf; vtysh -c 'show running-config'")

    def kill(self, number: int) -> None:
        """One kill at a random moment. Every second time the next hook has to put the node
        right, else the agent when it is started again."""
        with self._life():
            # Long enough for any step of the guests' life to be reached by some kill.
            time.sleep(self.random.uniform(0, 2))
            service.stop(self.node, "KILL")
        began = time.monotonic()
        by_hook = number % 2
        if by_hook:
            poll(lambda: hook(self.node, VMIDS[0], "post-start").ok and not would_do(self.node),
                 15, "the next hook puts it right")
        service.start(self.node)
        poll(lambda: not would_do(self.node), 15, "the agent puts it right")
        self.slowest = max(self.slowest, time.monotonic() - began)
        now = self.foreign()
        assert now == self._before, f"kill {number} touched what is not ours:\n{now}"

    @contextmanager
    def _life(self) -> Iterator[None]:
        """Guests start, stop and move until the end of the context; what is under way then
        is finished, as Proxmox finishes it without the agent."""
        scripts = {self.node: LIFE, self.lab.node("pve2"): BACK}
        for node in scripts:
            node.sh("rm -f /run/lab-enough")
        processes = [node.popen(["sh", "-c", script]) for node, script in scripts.items()]
        try:
            yield
        finally:
            for node in scripts:
                node.sh("touch /run/lab-enough")
            for process in processes:
                try:
                    process.communicate(timeout=60)
                finally:
                    kill_group(process)
