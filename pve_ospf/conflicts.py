"""Pure: statements of the administrator's that contradict our block.

FRR merges stanzas of one name, so his `router ospf` and ours become one. Where the two say
different things the last one read wins, no reload ever comes to rest, and a `network` or
`passive-interface default` takes OSPF off the uplinks: such lines are named, not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .frrconf import NO_FORWARDING, lines
from .ospfd import OspfdConfig, OspfInterface


@dataclass(frozen=True, slots=True)
class Conflict:
    """A line (1 is the first) that cannot stand beside our block, and why."""

    number: int
    text: str
    reason: str


def conflicts(text: str, config: OspfdConfig) -> tuple[Conflict, ...]:
    """The contradicting lines of a text without our block."""
    return tuple(_conflicts(text, config))


def sets_work_queue(text: str) -> bool:
    """Whether the administrator chose zebra's queue himself; his value stands, then."""
    return any(line.statement and line.statement.text.startswith("zebra work-queue ")
               for line in lines(text))


def _conflicts(text: str, config: OspfdConfig) -> Iterator[Conflict]:
    for line in lines(text):
        reason = _opener(line.stanza) if line.opens else ""
        if line.statement and not line.ours:
            if line.stanza == "router ospf":
                reason = _router(line.statement.text, config)
            elif line.statement == NO_FORWARDING:
                reason = "each start of FRR would cut the guests off"
            elif line.stanza.startswith("interface "):
                reason = _interface(line.stanza.split()[1], line.statement.text, config)
        if reason:
            yield Conflict(line.number, line.raw.strip(), reason)


def _opener(stanza: str) -> str:
    if re.fullmatch(r"router ospf \d+", stanza):
        return "an instance of OSPF with a number; ospfd runs either those or the one we set up"
    return ""


def _router(text: str, config: OspfdConfig) -> str:
    area = rf"({config.area}|{int(config.area)})"
    for pattern, reason in (
        (rf"(ospf )?router-id (?!{re.escape(str(config.router_id))}$)", "another router id"),
        (r"network ", "FRR takes either `network` or `ip ospf area` on the interfaces"),
        (r"passive-interface default", "it makes the uplinks passive"),
        (r"redistribute kernel", "it announces kernel routes past our route-map"),
        (r"redistribute connected(?!.* route-map )", "it announces the tunnels' own subnets"),
        (rf"area {area} (stub|nssa)", "guests' addresses cannot leave an area of this kind"),
        (r"timers throttle lsa all (?!100$)", "our block sets it to 100"),
        (r"timers lsa min-arrival (?!100$)", "our block sets it to 100"),
    ):
        if re.match(pattern, text):
            return reason
    costly = [i for i in config.interfaces if i.cost]
    if text.startswith("max-metric router-lsa") and len(costly) > 1:
        return "FRR would find all its links equally far, tunnels and uplinks"
    return _passive(text, config)


def _passive(text: str, config: OspfdConfig) -> str:
    found = re.fullmatch(r"passive-interface (\S+)", text)
    if found and config.interface(found[1]):
        return "it is an uplink"
    if found and not config.dialect.legacy:
        return (f"write ` ip ospf passive` under `interface {found[1]}` instead: each reload "
                "of this FRR makes the interface active for a moment")
    return ""


def _interface(name: str, text: str, config: OspfdConfig) -> str:
    text = text.removeprefix("ip ")
    if not text.startswith("ospf "):
        return ""
    speaking = config.interface(name)
    if speaking:
        return _speaking(text.removeprefix("ospf "), speaking)
    if text.startswith("ospf area ") and name in config.passive:
        return "it is a tunnel, and user traffic would run over it"
    if text.startswith("ospf area ") and name in {e.interface for e in config.route_map}:
        return "it is a guest bridge: no guest may speak OSPF with the node"
    return ""


def _speaking(text: str, interface: OspfInterface) -> str:
    if text == "passive":
        return "it is an uplink"
    dead = (f"minimal hello-multiplier {interface.minimal}" if interface.minimal
            else str(interface.dead))
    ours = {"area": str(interface.area), "dead-interval": dead,
            "retransmit-interval": str(interface.retransmit)}
    if not interface.minimal:
        ours["hello-interval"] = str(interface.hello)
    if interface.cost is not None:
        ours["cost"] = str(interface.cost)
    if interface.network:
        ours["network"] = interface.network
    if interface.key:
        ours["authentication"] = (f"key-chain {interface.key.chain}" if interface.key.chain
                                  else "message-digest")
    key, _, value = text.partition(" ")
    if key == "message-digest-key" and interface.key and value.startswith(
            f"{interface.key.id} "):
        return "our block has another key of that number"
    return f"our block sets it to {ours[key]}" if value != ours.get(key, value) else ""
