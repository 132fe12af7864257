"""Pure: our block in a file of FRR's, and what the administrator wrote around it.

    ! pve-ospf begin: …
    …
    ! pve-ospf end

Everything outside of the two markers stays byte for byte. An operator's `write memory`
drops the markers, as it drops every comment, and mixes our statements with his; they are
then known by their text (what was installed last) and by the names that are ours alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

from .errors import Refused
from .ospfd import NAMESPACE

BEGIN = '! pve-ospf begin: "pve-ospf apply" writes this; change /etc/pve/pve-ospf.yaml instead'
END = "! pve-ospf end"

_BEGIN = re.compile(r"!\s*pve-ospf begin\b")
_END = re.compile(r"!\s*pve-ospf end\b")
_OURS = re.compile(rf"(no )?(ip prefix-list {NAMESPACE}(-\S+)? "
                   rf"|redistribute kernel route-map {NAMESPACE}$)")
_OUR_STANZA = re.compile(rf"route-map {NAMESPACE} |key chain {NAMESPACE}-")
_DEEPER = re.compile(r"key \d+")
"""What opens a level of its own below a key chain, with an `exit` of its own."""
_OPENS = re.compile(
    r"(interface|router|route-map|vrf|key chain|line|bfd$|mpls ldp|l2vpn|pseudowire|rpki|"
    r"segment-routing|nexthop-group|pbr-map)\b")
_CLOSES = frozenset({"exit", "exit-vrf", "end", "quit"})
_TOP = re.compile(
    r"(no )?(ip(v6)? (prefix-list|route|forwarding|access-list|as-path|nht|protocol|router-id|"
    r"import-table|multicast|mroute)|access-list|bgp (as-path|community|extcommunity|large)|"
    r"debug|log |hostname|domainname|frr |password|enable|service|zebra|username|agentx|banner|"
    r"router-id|allow-external|fpm)")
"""What ends a stanza where it is not indented; FRR itself tries each level in turn."""


@dataclass(frozen=True, slots=True, order=True)
class Statement:
    """A configuration line and the stanza it stands in ("" for none); single spaces."""

    stanza: str
    text: str


NO_FORWARDING = Statement("", "no ip forwarding")
"""`write memory` puts it into the file where forwarding happens to be off."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file: `statement` is None for comments, blanks, openers and closers."""

    number: int
    raw: str
    stanza: str = ""
    statement: Statement | None = None
    opens: bool = False
    closes: bool = False

    @property
    def ours(self) -> bool:
        """Ours by name, wherever it stands and whoever wrote it."""
        return bool(_OUR_STANZA.match(self.stanza)
                    or self.statement and _OURS.match(self.statement.text))


def block(body: str) -> str:
    """Our block around what render() made; "" for nothing."""
    return f"{BEGIN}\n{body}{END}\n" if body else ""


def lines(text: str) -> Iterator[Line]:
    """The lines of a file with the stanza each belongs to, as FRR would read it."""
    stanza, deeper = "", False
    for number, raw in enumerate(text.split("\n"), 1):
        words = " ".join(raw.split())
        if not words or words[0] in "!#":
            yield Line(number, raw, stanza)
        elif words in _CLOSES:
            yield Line(number, raw, stanza, closes=not deeper)
            stanza, deeper = stanza if deeper else "", False
        elif _OPENS.match(words) and not raw[0].isspace():
            stanza, deeper = words, False
            yield Line(number, raw, stanza, opens=True)
        else:
            if not raw[0].isspace() and _TOP.match(words):
                stanza = ""
            deeper = deeper or bool(stanza.startswith("key chain ") and _DEEPER.fullmatch(words))
            yield Line(number, raw, stanza, Statement(stanza, words))


def statements(text: str) -> frozenset[Statement]:
    """Every statement of a text."""
    return frozenset(line.statement for line in lines(text) if line.statement)


def installed(text: str, source: str) -> str:
    """The block the text has, markers included, or ""; raises Refused on half a block."""
    place = _place(text, source)
    return "\n".join([*_rows(text)[place.start:place.stop], ""]) if place else ""


def outside(text: str, source: str) -> str:
    """The text without our block: what the administrator wrote, byte for byte."""
    place = _place(text, source)
    rows = _rows(text)
    return "\n".join(rows[:place.start] + rows[place.stop:])


def theirs(text: str, known: Collection[Statement], source: str) -> str:
    """The administrator's part of the text with every line where it was: ours are blank."""
    place = _place(text, source)
    gone = (set(range(place.start + 1, place.stop + 1)) if place
            else _gone(text, _mixed_in(text, known)))
    return "\n".join("" if number in gone else row
                     for number, row in enumerate(_rows(text), 1))


def install(text: str, new: str, known: Collection[Statement], source: str) -> str:
    """The text with `new` (from block(), or "") as our only part of it.

    `known` are statements we installed before: where the markers are gone, they are ours
    too. Raises Refused when a marker lacks its other half.
    """
    place = _place(text, source)
    bare = outside(text, source)
    gone = _gone(bare, () if place else _mixed_in(text, known))
    rows = _rows(bare)
    at = place.start if place else _end(rows)
    before = [row for number, row in enumerate(rows[:at], 1) if number not in gone]
    after = [row for number, row in enumerate(rows[at:], at + 1) if number not in gone]
    return "\n".join(before + new.split("\n")[:-1] + after)


def append(text: str, addition: str) -> str:
    """The text with whole lines added at its end, where FRR still reads them."""
    rows = _rows(text)
    at = _end(rows)
    return "\n".join(rows[:at] + addition.split("\n")[:-1] + rows[at:])


def without(text: str, known: Collection[Statement], *, keep_interfaces: bool = False) -> str:
    """The text, which has no block, less the statements that are ours by name or `known`.

    A stanza that has nothing left is taken away with them, but with `keep_interfaces` not an
    interface's: frr-reload of 10.3 says `no interface X` then, which fails while X exists.
    """
    gone = _gone(text, known, keep_interfaces=keep_interfaces)
    return "\n".join(row for number, row in enumerate(_rows(text), 1) if number not in gone)


def part(text: str, wanted: Collection[Statement]) -> str:
    """Only these statements of a text, in its order, each in its stanza."""
    rows: list[str] = []
    stanza = ""
    for line in (*lines(text), Line(0, "", "", Statement("", ""))):
        if line.statement is None or line.number and line.statement not in wanted:
            continue
        if line.stanza != stanza:
            # A key chain has stanzas of its own in it.
            rows += ["exit"] * (2 if stanza.startswith("key chain ") else bool(stanza))
            rows += [line.stanza] * bool(line.stanza)
            stanza = line.stanza
        rows.append(line.raw)
    return "".join(f"{row}\n" for row in rows[:-1])


def _mixed_in(text: str, known: Collection[Statement]) -> Collection[Statement]:
    """What is ours in a text without our markers. FRR has written it, then, and with it where
    forwarding is off as a whole, which nobody has asked for: ours is on by interface. At FRR's
    next start that line would switch it off on every one."""
    if statements(text).isdisjoint(known):
        return known
    return {*known, NO_FORWARDING}


def _rows(text: str) -> list[str]:
    """Lines without their ends; the last one is "" where the text ends as it should. Rows can
    be put in before that and taken out again without a trace, whether it is there or not."""
    return text.split("\n")


def _place(text: str, source: str) -> range:
    """Where our block is in the rows, markers included; an empty range where it is not."""
    rows = _rows(text)
    begins = [n for n, row in enumerate(rows) if _BEGIN.match(row)]
    ends = [n for n, row in enumerate(rows) if _END.match(row)]
    if not begins and not ends:
        return range(0)
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        where = ", ".join(str(n + 1) for n in sorted(begins + ends))
        raise Refused(f"{source}: the markers of our block do not pair up (line {where})",
                      "There must be one line '! pve-ospf begin' and below it one line "
                      "'! pve-ospf end', or neither: remove what is left of the block.")
    return range(begins[0], ends[0] + 1)


def _end(rows: list[str]) -> int:
    """Before a last line `end`, after which FRR reads no configuration, and the last row ""."""
    at = len(rows)
    if rows[-1] == "":
        at -= 1
    while at and rows[at - 1].strip() in ("", "end"):
        at -= 1
        if rows[at].strip() == "end":
            return at
    return len(rows) - 1 if rows[-1] == "" else len(rows)


def _gone(text: str, known: Collection[Statement], *, keep_interfaces: bool = False) -> set[int]:
    """Numbers of the lines that go when what is ours goes."""
    every = list(lines(text))
    gone = {line.number for line in every
            if line.statement and (line.ours or line.statement in known)}
    for stanza in _stanzas(every):
        if not (keep_interfaces and stanza[0].stanza.startswith("interface ")):
            gone |= _emptied(stanza, gone)
    kept = [line for line in every if line.number not in gone]
    # Of two separators with nothing left between them, one is enough.
    return gone | {after.number for before, after in pairwise(kept)
                   if before.raw == after.raw == "!" and after.number - before.number > 1}


def _stanzas(every: list[Line]) -> Iterator[list[Line]]:
    """Each stanza from its opener to its closer or to what ends it."""
    stanza: list[Line] = []
    for line in every:
        if stanza and (line.opens or line.stanza != stanza[0].stanza):
            yield stanza
            stanza = []
        if line.opens or stanza:
            stanza.append(line)
        if line.closes and stanza:
            yield stanza
            stanza = []
    if stanza:
        yield stanza


def _emptied(stanza: list[Line], gone: set[int]) -> set[int]:
    """The stanza's own lines (not comments) if the last statement of it is among `gone`."""
    said = {line.number for line in stanza if line.statement}
    if not stanza[0].ours and (not said & gone or said - gone):
        return set()
    return {line.number for line in stanza
            if line.opens or " ".join(line.raw.split()) in _CLOSES}
