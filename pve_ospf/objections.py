"""What speaks against a change before it is made: what it would cut, or lose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from . import (
    adjacency,
    foreign,
    frrconf,
    frrfiles,
    frrplan,
    lsdb,
    overhear,
    rtnetlink,
    verification,
    vtysh,
)
from .errors import CannotTell, Refused
from .frrconf import Statement
from .frrplan import Plan
from .lsdb import Neighbour
from .model import Interface
from .ospfd import OspfInterface
from .ospfpacket import NONE, Ours, differences

Out = Callable[[str], None]


def check_others(plan: Plan, force: bool, out: Out) -> None:
    """Refuses to restart daemons that somebody routes with. FRR has no way to start
    one alone and have watchfrr look after it but its reload, which sets more than what is ours:
    it switches IPv6 forwarding on (8.4, 10.3)."""
    if plan.idle and not force:
        raise Refused(f"{', '.join(plan.idle)} does not run, and to start it FRR is restarted: "
                      "this node's guests are away for some seconds",
                      "To do it: pve-ospf apply --force")
    others = vtysh.others() if plan.running is None or plan.idle else []
    if others and not force:
        raise Refused(
            f"ospfd does not run, and to start it FRR is restarted: that cuts {', '.join(others)}",
            "To do it: pve-ospf apply --force. To start ospfd without that: set ospfd=yes in\n"
            f"{frrplan.DAEMONS}, then: systemctl reload frr (which makes all of FRR what its "
            "files say,\nand switches IPv6 forwarding on), then: pve-ospf apply")
    if others:
        out(f"{', '.join(others)} will be restarted, too (--force)")


def check_neighbours(plan: Plan, before: Collection[Neighbour], force: bool,
                     out: Out) -> tuple[Neighbour, ...]:
    """Refuses what would lose a neighbour; returns those that `force` gives up."""
    if not before:
        _check_routers(plan, force, out)
    if plan.running is None:
        return ()
    interfaces = lsdb.ospf_interfaces(vtysh.show(lsdb.INTERFACES))
    found = adjacency.threats(before, interfaces, plan.config, plan.kept)
    if found and not force:
        raise Refused(str(found[0]), "\n".join([
            *map(str, found[1:]),
            "To keep what is in use there, write into /etc/pve/pve-ospf.yaml:",
            *(f"  {key}" for key in sorted({key for threat in found for key in threat.keys})),
            "To change it (on the neighbours first): pve-ospf apply --force"]))
    now = verification.router_id()
    if before and now not in (None, str(plan.config.router_id)) and not force:
        raise Refused(f"the router id would become {plan.config.router_id}; OSPF must start over "
                      "for that, and every neighbour is lost for some seconds",
                      f"To do it: pve-ospf apply --force. To keep the old one: router-id: {now}")
    for threat in found:
        out(f"{threat} (--force)")
    return tuple(threat.neighbour for threat in found)


def _check_routers(plan: Plan, force: bool, out: Out) -> None:
    """Without a neighbour, what routers will say can only be overheard. Refuses an area that
    keeps guests to itself, and tells what else differs."""
    links = {i.name: i for i in rtnetlink.interfaces()}
    speaking = {i.name: i for i in plan.config.interfaces if i.name in links}
    out(f"Listening for routers on {', '.join(speaking)}.")
    try:
        heard = overhear.listen(speaking)
    except CannotTell as error:
        out(f"note: {error.message}")
        return
    for name, said in heard.items():
        if not said:
            out(f"No router is heard on {name}.")
        ours = _ours(speaking[name], links[name])
        for difference in differences(said, ours):
            text = f"of router {difference.router} on {name} the {difference}"
            if difference.what == "area's kind" and not force:
                raise Refused(text, "Guests' addresses cannot leave a stub area or an NSSA. Make "
                              "it an ordinary one on\nall its routers, or set another `area`. "
                              "To install it all the same: pve-ospf apply --force")
            out(f"{text}: it will be no neighbour as long as that is so.")


def _ours(speaking: OspfInterface, link: Interface) -> Ours:
    """What this node is going to say."""
    key = speaking.key
    hello = 1 / speaking.minimal if speaking.minimal else speaking.hello
    kind = "POINTOPOINT" if speaking.network == "point-to-point" else "BROADCAST"
    return Ours(lsdb.OspfInterface(speaking.name, True, speaking.area, "normal", hello,
                                   speaking.dead, network_type=kind), link,
                key.algorithm.upper() if key else NONE, key.id if key else None)


def check_removals(plan: Plan, told: Sequence[str]) -> None:
    """Refuses what would take statements of the administrator's from the running FRR: frr-reload
    has its own ways, and what is given by hand stands in no file to bring it back from."""
    gone = foreign.taken_away(told, plan.kept)
    if gone:
        raise Refused(f"FRR would lose {_lines(len(gone))} that are not ours",
                      "\n".join([*_shown(gone), "Nothing was changed. If they may go, take them "
                                 "away with vtysh; then: pve-ospf apply"]))


def check_restart(plan: Plan, force: bool, out: Out) -> None:
    """Refuses to restart FRR where that loses what was given by hand and written nowhere: a
    static route to the administrator himself, say."""
    conf = frrfiles.FRR / "frr.conf"
    if plan.running is not None or not vtysh.running("zebra") or not conf.exists():
        return
    running = frrconf.statements(vtysh.running_config(""))
    # What FRR shows of itself, asked or not; it comes back by itself.
    his = [s for s in running if s.stanza or not s.text.startswith(("no ", "hostname "))]
    gone = foreign.taken_away(vtysh.reload_diff(conf, ""), his)
    if gone and not force:
        raise Refused(
            f"ospfd does not run, and to start it FRR is restarted: that loses "
            f"{_lines(len(gone))} which stand in no file",
            "\n".join([*_shown(gone), "To keep them: vtysh -c 'write memory'. "
                       "To lose them: pve-ospf apply --force"]))
    for line in _shown(gone):
        out(f"lost by the restart (--force): {line.strip()}")


def _lines(number: int) -> str:
    return "1 line" if number == 1 else f"{number} lines"


def _shown(statements: Iterable[Statement]) -> list[str]:
    return [f"  {f'{s.stanza}: ' if s.stanza else ''}{s.text}" for s in statements]
