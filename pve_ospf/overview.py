"""The whole area as this node's link-state database shows it, and who says what is a tunnel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from . import area, lsdb, pve, tunnels, vtysh
from .area import Area
from .audit import Audit, audit
from .config import Config
from .interfaces import Roles

TIMEOUT = 10.0
"""Seconds for an answer of ospfd: ten thousand externals take it a quarter of one."""


def read(node: str, config: Config, roles: Roles, what_if: bool) -> Audit:
    """Every path of the area that crosses a tunnel. Raises CannotTell."""
    routers = vtysh.show(lsdb.ROUTERS, TIMEOUT)
    areas = area.areas(routers, *(vtysh.show(command, TIMEOUT) for command in (
        area.NETWORKS, area.SUMMARIES, area.BORDERS)))
    if not areas:
        return Audit()
    externals = vtysh.show(lsdb.EXTERNALS, TIMEOUT)
    here = lsdb.own_router_id(routers)
    now = tunnels.told(here, roles.tunnels)
    said = pve.tunnels_told()
    nodes = {**_nodes(areas), here: node}
    found = audit(areas, area.groups(externals, _allowed(config)), {**said, node: now},
                  nodes, what_if)
    stale = pve.mounted() and tunnels.outdated(said.get(node), now,
                                               in_ospf=config.tunnels.policy == "high-cost")
    return replace(found, untold=(*found.untold, node)) if stale else found


def _allowed(config: Config) -> list[IPv4Network]:
    return [entry.prefix for entry in config.allow]


def _nodes(areas: Iterable[Area]) -> dict[IPv4Address, str]:
    """Which routers are nodes: by the router id a node has told, or an address that corosync
    knows it by."""
    routers = [router for each in areas for router in each.routers]
    return {router.router_id: node for node, addresses in pve.node_addresses().items()
            for router in routers if router.addresses & addresses}
