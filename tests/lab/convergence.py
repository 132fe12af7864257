"""Waiting for the routers' OSPF to have come up."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.frr import Router
from tests.lab.poll import poll


def converge(routers: Sequence[Router], deadline: float = 60) -> None:
    """Wait until every router knows every subnet and has every neighbour.

    `deadline` is in seconds, for each step. Raises NotInTime.
    """
    subnets = {net for router in routers for net in router.ospf_networks.values()}
    for router in routers:
        _wait_for(router, subnets, _neighbours(router, routers), deadline)


def _wait_for(router: Router, subnets: set[str], count: int, deadline: float) -> None:
    poll(lambda: router.knows(subnets), deadline, f"{router.name} knows every subnet")
    message = f"{router.name} has {count} neighbours"
    poll(lambda: router.settled_with(count), deadline, message)


def _neighbours(router: Router, routers: Sequence[Router]) -> int:
    """How many adjacencies a router is to have with the others."""
    return sum(
        net in other.ospf_networks.values()
        for other in routers
        if other is not router
        for net in router.ospf_networks.values()
    )
