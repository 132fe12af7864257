"""A node that dies: how soon the network stops sending to it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.lab.frr import Router
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll

from .figures import Table, rounds
from .labs import Crowd, Labs
from .resident import Watch

GUESTS = 20
RUNS = 5
HOST = "198.51.100.99"


def loss(labs: Labs) -> list[Table]:
    lab, recipe = labs.ours, labs.recipe
    node, near = lab.node("pve1"), lab.router("r1")
    crowd = Crowd(lab, node, GUESTS)
    crowd.start(*crowd.vmids)
    hosts = {crowd.address(vmid) for vmid in crowd.vmids}
    seen, gone = [], []
    with ThreadPoolExecutor(max_workers=1) as beside:  # it waits for 40 s, and does nothing
        slow = beside.submit(_recipe_loss, recipe)
        for _ in rounds("node loss", range(RUNS)):
            poll(lambda: hosts <= _hosts(lab.router("r3")), 60, "r3 knows all")
            dead, last = _cut(lab, node, near, hosts)
            seen.append(dead)
            gone.append(last)
        by_recipe = slow.result()
    poll(lambda: node.full(1), 60, "the node is back")
    crowd.close()
    table = Table(f"A node is cut off ({GUESTS} guests): until nobody sends to it")
    table.row("floor: its neighbour declares it dead (1 s/3 s timers)", seen, "s")
    table.row("the last route is gone two hops away", gone, "s")
    table.row("the article's recipe (10 s/40 s timers)", [by_recipe], "s")
    table.notes.append("FRR recomputes external routes 1 s after SPF, hard-coded in every version")
    return [table]


def _hosts(router: Router) -> set[str]:
    return {str(route["dst"]) for route in router.routes("root", "10.77.0.0/16")}


def _cut(lab: Lab, node: Node, near: Router, hosts: set[str]) -> tuple[float, float]:
    """Seconds until the neighbour has given it up, and until r3's last route is gone."""
    with Watch(lab.router("r3")) as watch:
        began = time.time()
        node.legs["eth0"].down()
        try:
            poll(lambda: "10.0.1.11" not in near.neighbours(), 15, "declared dead", every=0.01)
            dead = time.time()
            last = max(watch.seen(host, gone=True, since=began) for host in hosts)
        finally:
            node.legs["eth0"].up()
    return dead - began, last - began


def _recipe_loss(lab: Lab) -> float:
    node = lab.node("pve1")
    with Watch(lab.router("r3")) as watch:
        node.sh(f"ip route add {HOST}/32 dev vmbr1")
        watch.seen(HOST)
        began = time.time()
        node.legs["eth0"].down()
        try:
            return watch.seen(HOST, gone=True, since=began, timeout=60) - began
        finally:
            node.legs["eth0"].up()
            node.sh(f"ip route del {HOST}/32 dev vmbr1")
            poll(lambda: node.full(1), 90, "the recipe's node is back")
