"""apply killed at random moments: FRR's file is a whole one at every look, the neighbour is
never lost for longer than the dead interval, and what was begun is taken back by itself."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group

CONFIG = "/etc/pve/pve-ospf.yaml"
CONF = "/etc/frr/frr.conf"
RECORD = "/var/lib/pve-ospf/apply/record.json"
VARIANTS = (
    "allow: [198.51.100.0/24]\n",
    "allow: [203.0.113.0/24, 198.51.100.0/25]\nguest-bridges: [vmbr1, vmbr7]\n",
)
LONGEST = 3.0
"""Seconds into an apply; one takes 1.5 to 2.5."""


def applied(node: Node, *words: str) -> str:
    return node.run(["pve-ospf", "apply", *words], timeout=180).output


@dataclass
class Kills:
    """A node with a Full neighbour, and the two files its FRR may have."""

    lab: Lab
    random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311
    texts: set[str] = field(default_factory=set)
    undone: int = 0

    @property
    def node(self) -> Node:
        return self.lab.node("pve1")

    def prepare(self) -> None:
        for yaml in VARIANTS:
            self.node.write(CONFIG, yaml)
            applied(self.node)
            self.texts.add(self.node.read(CONF))
        poll(lambda: self.node.full(1), 60, "the neighbour is Full")

    def kill(self, number: int) -> None:
        """One apply killed with all that it started but its guard. The next but one finds an
        apply that was killed and no guard either."""
        self.node.write(CONFIG, VARIANTS[number % 2])
        before = self.node.read(CONF)
        running = self.node.popen(["sh", "-c", "echo $$ >/run/lab-apply; exec pve-ospf apply"])
        time.sleep(self.random.uniform(0.1, LONGEST))
        done = running.poll() is not None
        self.node.sh("kill -KILL $(cat /run/lab-apply) 2>/dev/null || :")
        kill_group(running)
        now = self.node.read(CONF)
        assert now in self.texts, f"kill {number}: half a file:\n{now}"
        began = self.node.exists(RECORD)
        poll(lambda: not self.node.exists(RECORD), 120, f"kill {number}: it is taken back")
        if began and not done:
            self.undone += 1
            assert self.node.read(CONF) == before, f"kill {number}: the old file is back"
        assert self.node.read(CONF) in self.texts
        self._is_right(number)

    def _is_right(self, number: int) -> None:
        assert self.node.full(1), f"kill {number}: the neighbour was lost"
        applied(self.node)
        assert "Nothing to change" in applied(self.node), f"kill {number}"


def ospf_losses(lab: Lab) -> list[str]:
    """Each time r1 lost the node: lines of its log."""
    log = lab.router("r1").read("/var/log/syslog")
    return [line for line in log.splitlines()
            if "AdjChg" in line and "NbrIP 10.0.1.11 " in line and "Full -> " in line]
