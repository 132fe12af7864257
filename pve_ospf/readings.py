"""Reads everything `check` compares, once, and again what may only be in passing.

A part that cannot be read becomes `Unread` and never stops the others. FRR is asked through
vtysh.py alone, the guests through pve.py, the kernel through kernel.py.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from . import (
    before,
    frrconf,
    frrfiles,
    frrplan,
    kernel,
    lsdb,
    nudge,
    overhear,
    overview,
    pve,
    report,
    service,
    snippet,
    vtysh,
)
from .audit import Audit
from .check import compare, passing
from .config import Config
from .errors import CannotTell, Refused
from .evidence import NEEDED_DAEMONS, Daemons, Guests, Overheard, Readings, Report, Unread
from .interfaces import Roles, classify
from .lsdb import ExternalLsa, KernelRoute, Neighbour, OspfInterface
from .model import Finding
from .ospfhealth import neighbour_fine
from .ospfpacket import configured
from .routes import KernelState
from .secrecy import hidden
from .sync import look
from .sysctls import Sysctl

PATIENCE = 2.0
"""Seconds a difference has to last before it counts. An announcement being made is in the
kernel, in zebra and in the LSA within 0.1 s of each other (facts), a hook's sync takes less."""
_PAUSE = 0.2

_T = TypeVar("_T")


def run(as_json: bool, what_if: bool, out: Callable[[str], None]) -> int:
    """`pve-ospf check`: prints the report, returns the exit code. Raises ConfigError.

    With both findings and parts that could not be read it is 3, and both are printed.
    """
    result = check(what_if)
    if as_json:
        out(report.to_json(result))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        for line in report.to_text(result, colour):
            out(line)
    return result.exit_code


def check(what_if: bool = False) -> Report:
    """The report on this node, where everything that may pass has lasted PATIENCE seconds;
    `what_if`: with each single link failing, too."""
    try:
        readings = read(what_if)
    except CannotTell as error:
        return Report(_name(), (), (), (), (), (_unread("this node", error),))
    lasting = passing(compare(readings))
    deadline = time.monotonic() + PATIENCE
    while lasting and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        readings = reread(readings)
        lasting &= passing(compare(readings))
    return compare(replace(readings, overheard=_overheard(readings)), lasting)


def _overheard(readings: Readings) -> dict[str, Overheard]:
    """Uplinks without a Full neighbour, or with one that does not become Full, are listened to:
    what FRR drops it does not tell. {} where that cannot be done."""
    if isinstance(readings.neighbours, Unread) or not readings.ospf_interfaces:
        return {}
    stuck = {n.interface for n in readings.neighbours
             if not neighbour_fine(n, readings.ospf_interfaces)}
    full = {n.interface for n in readings.neighbours if n.full}
    speaking = {i.name for i in readings.ospf_interfaces if i.enabled and not i.passive}
    silent = {u.name for u in readings.roles.uplinks if u.up and u.name in speaking
              and u.name not in readings.unplugged and (u.name in stuck or u.name not in full)}
    if not silent:
        return {}
    databases = {n.interface for n in readings.neighbours if n.state in ("ExStart", "Exchange")}
    try:
        said = overhear.listen(silent, databases & silent)
        ours = frrconf.statements(vtysh.running_config("ospfd"))
    except CannotTell:
        return {}
    return {name: Overheard(heard, *configured(name, ours), _mtu(name))
            for name, heard in said.items()}


def _mtu(interface: str) -> int | None:
    text = _text(Path(f"/sys/class/net/{interface}/mtu")).strip()
    return int(text) if text.isdigit() else None


def _name() -> str:
    try:
        return pve.node_name()
    except CannotTell:
        return pve.host_name()


def read(what_if: bool = False) -> Readings:
    """Everything. Raises ConfigError, and CannotTell when there is nothing to compare with:
    no configuration, no kernel state."""
    node = pve.node_name()
    config = pve.read_config(node)
    guests, state = _guests_and_kernel()
    roles = classify(config, state.interfaces, pve.cluster_networks())
    zebra, ospf, lsas, neighbours = _frr()
    differences, refusal = _differences(ospf)
    return Readings(
        node=node, config=config, roles=roles, state=state, guests=guests, zebra=zebra,
        lsas=lsas, neighbours=neighbours, ospf=ospf, daemons=_part("FRR's daemons", _daemons),
        differences=differences, node_findings=(*refusal, *_hookscript()),
        unplugged=_unplugged(roles), agent=nudge.answering(), before=_before(),
        audit=_audit(node, config, roles, ospf, what_if))


def reread(before: Readings) -> Readings:
    """`before` with everything anew that may change within seconds by itself."""
    guests, state = _guests_and_kernel()
    zebra, ospf, lsas, neighbours = _frr()
    roles = classify(before.config, state.interfaces, pve.cluster_networks())
    return replace(before, guests=guests, state=state, zebra=zebra, lsas=lsas, ospf=ospf,
                   neighbours=neighbours, roles=roles, unplugged=_unplugged(roles),
                   agent=nudge.answering(), before=_before())


def _audit(node: str, config: Config, roles: Roles, ospf: object,
           what_if: bool) -> Audit | Unread:
    if isinstance(ospf, Unread):
        return ospf  # it hangs, or is gone: no need to ask it once more
    return _part("the area's paths", lambda: overview.read(node, config, roles, what_if))


def _before() -> frozenset[Sysctl]:
    """Without the redirects: they depend on who is away, which is not looked at here."""
    return frozenset(s for s in before.kept() if s.name.startswith("proxy_"))


def _unread(what: str, error: CannotTell) -> Unread:
    return Unread(what, error.message, error.hint)


def _part(what: str, reader: Callable[[], _T]) -> _T | Unread:
    try:
        return reader()
    except CannotTell as error:
        return _unread(what, error)


def _guests_and_kernel() -> tuple[Guests | Unread, KernelState]:
    try:
        picture = look()
    except CannotTell as error:
        config = pve.read_config(pve.node_name())
        return (_unread("the guests", error),
                kernel.read_state(lambda found: classify(config, found, pve.cluster_networks())))
    return Guests(picture.own_guests(), picture.node.running, picture.desired,
                  picture.cluster.findings), picture.state


def _frr() -> tuple[tuple[KernelRoute, ...] | Unread, tuple[OspfInterface, ...] | None | Unread,
                    tuple[ExternalLsa, ...] | Unread, tuple[Neighbour, ...] | Unread]:
    """zebra's kernel routes, OSPF's interfaces, our LSAs, the neighbours."""
    zebra = _part("zebra's routes",
                  lambda: lsdb.kernel_routes(vtysh.show(lsdb.KERNEL_ROUTES)))
    answer = _part("OSPF", lambda: vtysh.show(lsdb.INTERFACES))
    if isinstance(answer, Unread):  # an ospfd that hangs costs one time limit, not three
        return zebra, answer, answer, answer
    ospf = _part("OSPF's interfaces", lambda: _ospf_interfaces(answer))
    lsas = _part("our LSAs", lambda: lsdb.externals(vtysh.show(lsdb.OWN_EXTERNALS)))
    neighbours = _part("OSPF's neighbours",
                       lambda: lsdb.neighbours(vtysh.show(lsdb.NEIGHBOURS)))
    return zebra, ospf, lsas, neighbours


def _ospf_interfaces(answer: object) -> tuple[OspfInterface, ...] | None:
    return lsdb.ospf_interfaces(answer) if lsdb.configured(answer) else None


def _unplugged(roles: Roles) -> frozenset[str]:
    """Uplinks that are up and have no carrier: a bridge of which no port has a link, too."""
    return frozenset(u.name for u in roles.uplinks
                     if _text(Path(f"/sys/class/net/{u.name}/operstate")).strip() == "down")


def _differences(ospf: object) -> tuple[str | Unread, Iterable[Finding]]:
    if isinstance(ospf, Unread) and vtysh.running("ospfd"):
        return ospf, ()  # it hangs: no need to wait for it once more
    try:
        return _part("FRR's configuration", _what_apply_would_do), ()
    except Refused as error:
        return "", [Finding("cannot-apply", "FRR's configuration", error.message, error.hint)]


def _what_apply_would_do() -> str:
    """The files' diff, and what a running ospfd would be told; a stopped one is a finding of
    its own."""
    plan = frrplan.look(*frrplan.wanted(), force=True)
    told = map(hidden, frrplan.commands(plan))
    return "\n".join([*frrplan.file_diff(plan.changes), *told, *plan.idle])


def _hookscript() -> Iterable[Finding]:
    problem = snippet.problem()
    if problem:
        yield Finding("hookscript", str(snippet.SNIPPET), problem,
                      f"ln -sf {snippet.HOOK} {snippet.SNIPPET}, or reinstall pve-ospf")


def _daemons() -> Daemons:
    """zebra always starts when FRR does."""
    enabled = {"zebra", "ospfd"} if frrfiles.ospfd_enabled() else {"zebra"}
    return Daemons(enabled=frozenset(enabled), at_boot=service.starts_at_boot(),
                   running=frozenset(filter(vtysh.running, NEEDED_DAEMONS)))


def _text(path: Path) -> str:
    """The file's text, "" where there is none. Raises CannotTell."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CannotTell(f"{path}: {error.strerror}") from error
