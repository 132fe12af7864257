"""Pure: a `Report` as a table for people or as JSON for programs.

JSON, one object with stable keys:

    node        name of the node
    verdict     "good", "findings" or "cannot-tell"; exit_code: 0, 1 or 3
    missing     rows: a running guest's address that is not everywhere it should be
    extra       rows: an address in use here that no running guest of this node has
    agreeing    rows: in kernel, zebra and LSA alike
    on_link     rows: inside an uplink's own subnet, so without an LSA
    refused     rows: a running guest's address that the policy keeps back (see findings)
    settling    rows: changed while check looked; not counted
    unknown     rows: a part of them could not be read
    others      this node's announcements that are not ours: prefix, metric, metric_type
    neighbours  router_id, address, interface, state, role, ok
    findings    code, subject, message, fix
    unread      what, reason, hint: what could not be read
    paths       of the whole area; null where it could not be read:
        routers, addresses, links   how many there are
        across_tunnels              router, announcer, addresses (how many are reached so),
                                    example, path, tunnels, equal_cost (with other paths),
                                    instead: who announces it, too, with a worse metric, and
                                    is reached without a tunnel, or null
        if_link_fails               with --what-if, else null: link, pairs (of router and
                                    address that cross no tunnel now), tunnels, example (a
                                    path, as above)
        untold                      nodes that have not told their tunnels

A row has address, vmid (null without a guest), name, bridge and kernel, zebra, lsa: "yes",
"no", "-" (not called for) or "?" (could not be read).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence

from . import auditreport
from .evidence import Report, Row, Verdict
from .lsdb import Neighbour

WIDTH = 80
_RED, _GREEN, _YELLOW, _BOLD = "31", "32", "33", "1"
_VERDICTS: dict[Verdict, tuple[str, str, str]] = {
    "missing": ("missing", "MISSING", _RED),
    "extra": ("extra", "EXTRA", _RED),
    "refused": ("refused", "refused", _RED),
    "unknown": ("unknown", "unknown", _YELLOW),
    "settling": ("settling", "settling", _YELLOW),
    "on-link": ("on_link", "on-link", _GREEN),
    "agrees": ("agreeing", "agrees", _GREEN)}
"""JSON key, word in the table and colour of each verdict, in the table's order: worst first."""


def to_json(report: Report) -> str:
    """One JSON object, ending without a newline; see above."""
    lists = {key: [_row_object(row) for row in report.rows_of(verdict)]
             for verdict, (key, _, _) in _VERDICTS.items()}
    return json.dumps({
        "node": report.node,
        "verdict": {0: "good", 1: "findings", 3: "cannot-tell"}[report.exit_code],
        "exit_code": report.exit_code,
        **lists,
        "others": [{"prefix": str(e.prefix), "metric": e.metric, "metric_type": e.metric_type}
                   for e in report.others],
        "neighbours": [_neighbour_object(n, fine) for n, fine in report.neighbours],
        "findings": [{"code": f.code, "subject": f.subject, "message": f.message, "fix": f.fix}
                     for f in report.findings],
        "unread": [{"what": u.what, "reason": u.reason, "hint": u.hint} for u in report.unread],
        "paths": report.audit and auditreport.to_object(report.audit),
    }, indent=2)


def to_text(report: Report, colour: bool = False) -> Iterator[str]:
    """Lines of at most WIDTH columns, but for what must stay in one piece to be pasted."""
    paint = _Paint(colour)
    yield from _address_table(report, paint)
    yield from _neighbour_table(report, paint)
    if report.others:
        listed = ", ".join(f"{e.prefix} (E{e.metric_type} {e.metric})" for e in report.others)
        yield from _wrapped("", f"Announced by this node, not by pve-ospf: {listed}")
        yield ""
    sentences = list(auditreport.summary(report.audit)) if report.audit else []
    for sentence in sentences:
        yield from _wrapped("", sentence)
    if sentences:
        yield ""
    for finding in report.findings:
        yield from _item("!", f"{finding.subject}: {finding.message}", finding.fix, paint, _RED)
    for unread in report.unread:
        yield from _item("?", f"{unread.what}: {unread.reason}", unread.hint, paint, _YELLOW)
    if report.findings or report.unread:
        yield ""
    yield _verdict(report, paint)


class _Paint:
    """Colours a text, or leaves it as it is."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.on and text else text


def _plain(text: str) -> str:
    """Names and values are users' text: nothing in them may move a cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _row_object(row: Row) -> dict[str, object]:
    return {"address": str(row.address), "vmid": row.vmid or None, "name": row.name,
            "bridge": row.bridge, "kernel": row.kernel, "zebra": row.zebra, "lsa": row.lsa}


def _neighbour_object(neighbour: Neighbour, fine: bool) -> dict[str, object]:
    return {"router_id": str(neighbour.router_id), "address": str(neighbour.address),
            "interface": neighbour.interface, "state": neighbour.state, "role": neighbour.role,
            "ok": fine}


def _address_table(report: Report, paint: _Paint) -> Iterator[str]:
    if not report.rows:
        if not report.unread:
            yield f"No attached guest runs on {_plain(report.node)}, and none is announced."
            yield ""
        return
    order = list(_VERDICTS)
    rows = sorted(report.rows, key=lambda row: order.index(row.verdict))
    cells = [(str(row.vmid or "-"), _plain(row.name) or "-", str(row.address),
              _plain(row.bridge) or "-", row.kernel, row.zebra, row.lsa,
              _VERDICTS[row.verdict][1]) for row in rows]
    yield from _table(("GUEST", "NAME", "ADDRESS", "BRIDGE", "KERNEL", "ZEBRA", "LSA", "VERDICT"),
                      cells, [_VERDICTS[row.verdict][2] for row in rows], paint, elastic=1)


def _neighbour_table(report: Report, paint: _Paint) -> Iterator[str]:
    if not report.neighbours:
        return
    cells = [(str(n.router_id), str(n.address), _plain(n.interface),
              _plain(n.state if n.role == "-" else f"{n.state}/{n.role}"), "ok" if fine else "BAD")
             for n, fine in report.neighbours]
    colours = [_GREEN if fine else _RED for _, fine in report.neighbours]
    yield from _table(("NEIGHBOUR", "ADDRESS", "INTERFACE", "STATE", ""), cells, colours, paint)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[str],
           paint: _Paint, elastic: int | None = None) -> Iterator[str]:
    """Aligned columns with the last one painted; the elastic one gives way beyond WIDTH."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    if elastic is not None and excess > 0:
        widths[elastic] = max(len(head[elastic]), widths[elastic] - excess)
    yield paint(_line(head, widths).rstrip(), _BOLD)
    for row, colour in zip(rows, colours, strict=True):
        yield _line(row[:-1], widths) + "  " + paint(row[-1], colour)
    yield ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_fitted(cell, width) for cell, width in zip(cells, widths, strict=False))


def _fitted(cell: str, width: int) -> str:
    return (cell if len(cell) <= width else cell[:width - 1] + "~").ljust(width)


def _item(sign: str, text: str, fix: str, paint: _Paint, colour: str) -> Iterator[str]:
    first, *rest = _wrapped(f"{sign} ", text)
    yield paint(sign, colour) + first[1:]
    yield from rest
    # A way out may have several lines, indented: configuration or commands to paste.
    for number, line in enumerate(fix.split("\n") if fix else ()):
        indent = " " * (len(line) - len(line.lstrip()))
        yield from _wrapped(("     " if number else "  -> ") + indent, line.strip())


def _wrapped(lead: str, text: str) -> list[str]:
    """Words are never broken: they may be commands, paths or prefixes to paste."""
    return textwrap.wrap(_plain(text), WIDTH, initial_indent=lead,
                         subsequent_indent=" " * len(lead), break_long_words=False,
                         break_on_hyphens=False) or [lead.rstrip()]


def _verdict(report: Report, paint: _Paint) -> str:
    counts = _counts(report)
    if report.unread:
        return paint("cannot tell", _YELLOW) + f": {len(report.unread)} unread, {counts}"
    if report.findings:
        return paint(_number(len(report.findings), "finding"), _RED) + f": {counts}"
    return paint("good", _GREEN) + f": {counts}"


def _counts(report: Report) -> str:
    found = [(len(report.rows_of(verdict)), key.replace("_", "-"))
             for verdict, (key, _, _) in reversed(_VERDICTS.items())]
    said = [f"{count} {word}" for count, word in found if count or word == "agreeing"]
    if report.unread and report.findings:
        said.insert(0, _number(len(report.findings), "finding"))
    return ", ".join([*said, _number(len(report.neighbours), "neighbour")])


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
