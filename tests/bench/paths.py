"""The path audit of a large area: 50 routers, 10,000 addresses, from FRR's JSON to the report.

Fifty routers cannot be run here, so their link-state database is made up, in FRR's words; how
long a real ospfd takes to tell 10,000 externals is measured beside it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from pve_ospf import area
from pve_ospf.audit import Audit, audit
from pve_ospf.auditreport import findings, to_object
from pve_ospf.tunnels import Told, Tunnel
from tests.lab.node import Node
from tests.lab.poll import poll

from .figures import Table, rounds
from .labs import Labs
from .resident import PYTHON

ROUTERS, LINKS, ADDRESSES, ROUNDS = 50, 80, 10_000, 5
GOAL = 3.0
"""Seconds."""
ALLOWED = (IPv4Network("198.18.0.0/15"),)
CASES = {
    "no tunnel on any path (high-cost)": ("dear", 1),
    "every link a tunnel": ("all", 1),
    "every tenth link a tunnel, each address announced twice": ("some", 2),
}
READ = """
import time
from ipaddress import IPv4Network
from pve_ospf import area, lsdb, vtysh
began = time.monotonic()
found = area.groups(vtysh.show(lsdb.EXTERNALS, 10), [IPv4Network("10.77.0.0/16")])
print(sum(len(group.addresses) for group in found), time.monotonic() - began)
"""


def paths(labs: Labs) -> list[Table]:
    table = Table(f"Path audit: {ROUTERS} routers, {LINKS} links, {ADDRESSES:,} addresses")
    slowest = 0.0
    for name, (tunnels, announcers) in CASES.items():
        said, told = _area(random.Random(1), tunnels, announcers)  # noqa: S311
        for what_if in (False, True):
            taken = [_seconds(said, told, what_if) for _ in rounds(name, range(ROUNDS))]
            table.row(f"{name}{', --what-if' if what_if else ''}", taken, "s")
            slowest = max(slowest, *taken)
    table.row("a real ospfd's 10,000 externals, asked and read", _real(labs.ours.node("pve1")), "s")
    table.goal(f"at most {GOAL:g} s, worst case and --what-if included", slowest <= GOAL)
    return [table]


def _seconds(said: Mapping[str, str], told: Mapping[str, Told], what_if: bool) -> float:
    began = time.monotonic()
    found = _audit(said, told, what_if)
    list(findings(found))
    json.dumps(to_object(found))
    return time.monotonic() - began


def _audit(said: Mapping[str, str], told: Mapping[str, Told], what_if: bool) -> Audit:
    areas = area.areas(json.loads(said["routers"]), {}, {}, {})
    groups = area.groups(json.loads(said["externals"]), ALLOWED)
    nodes = {each.router_id: name for name, each in told.items()}
    return audit(areas, groups, told, nodes, what_if)


def _area(chance: random.Random, tunnels: str, announcers: int
          ) -> tuple[dict[str, str], dict[str, Told]]:
    """FRR's answers, by what was asked; and what the routers, all of them nodes, tell."""
    ids = [str(IPv4Address("10.255.0.1") + number) for number in range(ROUTERS)]
    links: dict[str, list[dict[str, object]]] = {router: [] for router in ids}
    told: dict[str, list[Tunnel]] = {router: [] for router in ids}
    for index, (one, other) in enumerate(_pairs(chance, ids), start=1):
        spare = index >= ROUTERS
        tunnel = (tunnels == "all" or tunnels == "dear" and spare
                  or tunnels == "some" and not chance.randrange(10))
        cost = 65535 if tunnels == "dear" and spare else chance.choice((1, 5, 10, 100))
        for here, there in ((one, other), (other, one)):
            links[here].append({
                "linkType": "another Router (point-to-point)", "neighborRouterId": there,
                "routerInterfaceAddress": str(IPv4Address(index)), "tos0Metric": cost})
            if tunnel:
                told[here].append(Tunnel(f"tun{index}", index))
    lsas = [{"lsaAge": 5, "advertisingRouter": router, "asbr": True,
             "routerLinks": {f"link{n}": link for n, link in enumerate(links[router])}}
            for router in ids]
    externals = [
        {"linkStateId": str(ALLOWED[0].network_address + number), "networkMask": 32, "lsaAge": 5,
         "advertisingRouter": router, "metricType": "E2 (Larger than any link state path)",
         "metric": chance.choice((20, 1000)), "forwardAddress": "0.0.0.0",  # noqa: S104
         "options": "*|-|-|-|-|-|E|-", "lsaSeqNumber": "80000001", "checksum": "1ed8", "tos": 0}
        for number in range(ADDRESSES) for router in chance.sample(ids, announcers)]
    return ({"routers": json.dumps({"routerLinkStates": {"areas": {"0.0.0.0": lsas}}}),
             "externals": json.dumps({"asExternalLinkStates": externals})},
            {f"pve{n}": Told(IPv4Address(router), tuple(told[router]))
             for n, router in enumerate(ids)})


def _pairs(chance: random.Random, ids: list[str]) -> Iterator[tuple[str, str]]:
    """A tree of all of them first, so that everything is reached."""
    yield from ((ids[number], ids[chance.randrange(number)]) for number in range(1, ROUTERS))
    for _ in range(LINKS - ROUTERS + 1):
        one, other = chance.sample(ids, 2)
        yield one, other


def _real(node: Node) -> list[float]:
    hosts = [f"10.77.{number // 250}.{number % 250 + 1}" for number in range(ADDRESSES)]
    for word in ("add", "del"):
        lines = "\n".join(f"route {word} {host}/32 dev vmbr1" for host in hosts)
        node.write(f"/run/bench/{word}", lines + "\n")
    node.sh("ip -batch /run/bench/add", timeout=60)
    try:
        poll(lambda: _asked(node)[0] == ADDRESSES, 60, "all announced")
        return [_asked(node)[1] for _ in rounds("a real ospfd", range(ROUNDS))]
    finally:
        node.sh("ip -batch /run/bench/del", timeout=60)


def _asked(node: Node) -> tuple[int, float]:
    count, seconds = node.run([PYTHON, "-I", "-c", READ], timeout=60).stdout.split()
    return int(count), float(seconds)
