"""pve-ospf.service without systemd: the agent of a node, started, ended and frozen by tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.node import Node
from tests.lab.poll import poll

ANSWERS = (
    "import _socket as s;"
    "s.socket(s.AF_UNIX, s.SOCK_SEQPACKET).connect('/run/pve-ospf/agent')"
)


def start(node: Node, timeout: float = 30) -> None:
    """Start the agent, and wait until hooks find it."""
    node.sh(
        "setsid /usr/bin/pve-ospf agent </dev/null >/run/agent.log 2>&1 & echo $! >/run/agent.pid"
    )
    poll(lambda: answers(node), timeout, f"{node.name}: the agent answers")


def answers(node: Node) -> bool:
    """Whether something listens where hooks ask."""
    return node.run(["/usr/bin/python3", "-ISc", ANSWERS], check=False).ok


def send(node: Node, signal: str) -> None:
    """A signal (TERM, KILL, STOP, CONT) for the agent."""
    node.sh(f"kill -{signal} $(cat /run/agent.pid)", check=False)


def stop(node: Node, signal: str = "TERM") -> None:
    """End the agent, and wait until it is gone."""
    if not running(node):
        return
    send(node, signal)
    poll(lambda: not running(node), 10, f"{node.name}: the agent ends")


def running(node: Node) -> bool:
    """Whether its process lives (one that has ended and was not reaped does not)."""
    script = "read -r p </run/agent.pid && grep -q '^State:[[:space:]]*[RSDT]' /proc/$p/status"
    return node.run(["sh", "-c", script + " 2>/dev/null"], check=False).ok


@contextmanager
def stopped(node: Node) -> Iterator[None]:
    """Without the agent: hooks do their own work meanwhile."""
    stop(node)
    try:
        yield
    finally:
        start(node)


@contextmanager
def frozen(node: Node) -> Iterator[None]:
    """With an agent that hangs."""
    send(node, "STOP")
    try:
        yield
    finally:
        send(node, "CONT")
