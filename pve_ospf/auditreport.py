"""Pure: what a path audit says to people, as findings, and to programs, as JSON.

Of a thousand paths across one tunnel a person needs to see one; JSON has one entry for each
router and announcing router.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .audit import Audit, Consequence, Crossing
from .model import Finding

LISTED = 10
"""Tunnels, and links that may fail, that are named one by one."""

_KEEP_OUT = ("keep the tunnel out of OSPF (tunnels: {policy: passive}), or its cost above that "
             "of every other way: pve-ospf apply on its nodes. Where its cost is the highest "
             "already, there is no other way: add one")


def findings(audit: Audit) -> Iterator[Finding]:
    """One for each tunnel that is crossed, each link whose failure leads across one, and each
    node that has not told its tunnels."""
    yield from _bounded("path-over-tunnel", "tunnels", [
        _tunnel(tunnel, crossings) for tunnel, crossings in _by_tunnel(audit.crossings)])
    yield from _bounded("path-if-link-fails", "links",
                        [[_failing(c)] for c in audit.consequences or ()])
    for node in audit.untold:
        yield Finding("tunnels-untold", node, "is an OSPF router here and has not told, or not "
                      "lately, which of its interfaces are tunnels: whether paths over them "
                      "cross one cannot be told", f"on {node}: pve-ospf apply")


def summary(audit: Audit) -> Iterator[str]:
    """A sentence or two of what was looked at, where there was anything."""
    if not audit.routers:
        return
    across = sum(c.addresses for c in audit.crossings)
    yield (f"Paths from {_number(audit.routers, 'router')} to "
           f"{_number(audit.addresses, 'address', 'es')}: "
           f"{f'{across:,} across a tunnel' if across else 'none across a tunnel'}.")
    if audit.consequences is not None:
        leading = len(audit.consequences)
        yield (f"Of {_number(audit.links, 'link')} that may fail, "
               f"{f'{leading:,}' if leading else 'none'} would lead more paths across one.")


def to_object(audit: Audit) -> dict[str, object]:
    """For JSON; see report."""
    return {
        "routers": audit.routers, "addresses": audit.addresses, "links": audit.links,
        "across_tunnels": [_crossing(c) for c in audit.crossings],
        "if_link_fails": None if audit.consequences is None else [
            {"link": c.link, "pairs": c.pairs, "tunnels": list(c.tunnels),
             "example": _crossing(c.example)} for c in audit.consequences],
        "untold": list(audit.untold)}


def _crossing(crossing: Crossing) -> dict[str, object]:
    return {"router": crossing.router, "announcer": crossing.announcer,
            "addresses": crossing.addresses, "example": str(crossing.example),
            "path": crossing.path, "tunnels": list(crossing.tunnels),
            "equal_cost": crossing.shared, "instead": crossing.instead or None}


def _by_tunnel(crossings: Sequence[Crossing]) -> list[tuple[str, list[Crossing]]]:
    """The most used tunnel first."""
    found: dict[str, list[Crossing]] = {}
    for crossing in crossings:
        for tunnel in crossing.tunnels:
            found.setdefault(tunnel, []).append(crossing)
    return sorted(found.items(), key=lambda item: -sum(c.addresses for c in item[1]))


def _tunnel(tunnel: str, crossings: Sequence[Crossing]) -> Iterator[Finding]:
    by_distance = [c for c in crossings if not c.instead]
    by_metric = [c for c in crossings if c.instead]
    if by_distance:
        yield Finding("path-over-tunnel", tunnel, f"is a tunnel and {_carries(by_distance)}",
                      _KEEP_OUT)
    if by_metric:
        one = by_metric[0]
        yield Finding(
            "path-over-tunnel", tunnel,
            f"is a tunnel and {_carries(by_metric)}, although {one.instead} announces it, too, "
            f"and is reached without: {one.announcer} has the better metric, which comes before "
            "the distance", f"let {one.instead} announce it with the same metric as "
            f"{one.announcer}; a tunnel's cost does not help here")


def _carries(crossings: Sequence[Crossing]) -> str:
    pairs, example = sum(c.addresses for c in crossings), crossings[0]
    equal = " (one of several paths of equal cost)" if example.shared else ""
    return (f"guests' traffic runs over it, for {_number(pairs, 'pair')} of router and address: "
            f"{example.router} to {example.example}: {example.path}{equal}")


def _failing(consequence: Consequence) -> Finding:
    example = consequence.example
    over = ", ".join(consequence.tunnels[:3])
    more = " and others" if len(consequence.tunnels) > 3 else ""
    return Finding("path-if-link-fails", consequence.link,
                   f"if this link fails, guests' traffic runs over {over}{more}, for "
                   f"{_number(consequence.pairs, 'pair')} of router and address more than now: "
                   f"{example.router} to {example.example}: {example.path}",
                   "add another way that is no tunnel, or keep the tunnel out of OSPF "
                   "(tunnels: {policy: passive})")


def _bounded(code: str, what: str, found: Sequence[Iterable[Finding]]) -> Iterator[Finding]:
    for several in found[:LISTED]:
        yield from several
    if len(found) > LISTED:
        yield Finding(code, f"{len(found) - LISTED} {what} more",
                      "are as those above", "all of them: pve-ospf check --json")


def _number(count: int, word: str, plural: str = "s") -> str:
    return f"{count:,} {word}{'' if count == 1 else plural}"
