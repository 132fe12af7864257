"""Pure: the words of `check`: what was read on a node, and what follows from it.

What could not be read is `Unread`, a value of its own, so that nobody can take it for "there
is nothing".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Literal, TypeVar

from .announce import Desired
from .audit import Audit
from .config import Config
from .interfaces import Roles
from .lsdb import ExternalLsa, KernelRoute, Neighbour, OspfInterface
from .model import Announcement, Finding, Guest
from .ospfpacket import Said
from .routes import KernelState
from .sysctls import Sysctl

Mark = Literal["yes", "no", "-", "?"]
"""yes, no, not called for, could not be read."""

Verdict = Literal["agrees", "on-link", "missing", "extra", "refused", "settling", "unknown"]

NEEDED_DAEMONS = ("zebra", "ospfd")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that could not be read, why, and where to look."""

    what: str
    reason: str
    hint: str = ""


def known(part: _T | Unread, nothing: _T) -> _T:
    """The part, or `nothing` where it could not be read: only for what makes no claim from
    an absence."""
    return nothing if isinstance(part, Unread) else part


@dataclass(frozen=True, slots=True)
class Guests:
    """What the cluster's files and /proc say: the guests this node owns (attached or not),
    which guests run here, and what follows from the policy."""

    own: tuple[Guest, ...]
    running: frozenset[int]
    desired: Desired
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Daemons:
    """Which of NEEDED_DAEMONS start with FRR, which run, and whether FRR starts at boot."""

    enabled: frozenset[str]
    running: frozenset[str]
    at_boot: bool = True


@dataclass(frozen=True, slots=True)
class Overheard:
    """What routers said on an uplink while it was listened to, and of what this node says there
    what OSPF's view does not tell (None: unknown)."""

    said: tuple[Said, ...]
    authentication: str = "none"
    key_id: int | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """Everything that was read on one node, each part on its own.

    `ospf` is None where there is no `router ospf`, and lacks interfaces without a link;
    `lsas` are our own type-5 LSAs; `differences` is the text of what `pve-ospf apply` would
    change; `node_findings` is what is wrong with this node's own files (hookscript);
    `unplugged` are uplinks without a link; `agent`: it answers hooks; `before` are the values
    of guest bridges that a sync gives back where they are none any more; `overheard`: by
    uplink, of those that lack a neighbour; `audit`
    is what there is to say of the area's paths.
    """

    node: str
    config: Config
    roles: Roles
    state: KernelState
    guests: Guests | Unread
    zebra: tuple[KernelRoute, ...] | Unread
    lsas: tuple[ExternalLsa, ...] | Unread
    neighbours: tuple[Neighbour, ...] | Unread
    ospf: tuple[OspfInterface, ...] | None | Unread
    daemons: Daemons | Unread
    differences: str | Unread
    node_findings: tuple[Finding, ...] = ()
    unplugged: frozenset[str] = frozenset()
    agent: bool = True
    before: frozenset[Sysctl] = frozenset()
    overheard: Mapping[str, Overheard] = field(default_factory=dict)
    audit: Audit | Unread = Audit()

    @property
    def ospf_interfaces(self) -> tuple[OspfInterface, ...]:
        """Those that are known; for what makes no claim from an absence."""
        return () if isinstance(self.ospf, Unread) else self.ospf or ()

    @property
    def announcements(self) -> tuple[Announcement, ...]:
        return () if isinstance(self.guests, Unread) else self.guests.desired.announcements


@dataclass(frozen=True, slots=True)
class Row:
    """An address and where it is to be found. `vmid` 0: no guest of this node has it."""

    address: IPv4Address
    vmid: int
    name: str
    bridge: str
    kernel: Mark
    zebra: Mark
    lsa: Mark
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found out.

    `neighbours` pairs each with whether it is as it should be. `others` are announcements of
    this node that are none of ours: the administrator's own, said for completeness. `audit`
    is that of the area's paths, None where it could not be made.
    """

    node: str
    rows: tuple[Row, ...]
    neighbours: tuple[tuple[Neighbour, bool], ...]
    others: tuple[ExternalLsa, ...]
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    audit: Audit | None = None

    def rows_of(self, *verdicts: Verdict) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.verdict in verdicts)

    @property
    def exit_code(self) -> int:
        """0 good, 1 findings, 3 cannot tell. 3 wins over 1: with parts unread the findings,
        which are shown all the same, may be neither all nor the worst."""
        if self.unread:
            return 3
        return 1 if self.findings else 0
