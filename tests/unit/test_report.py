"""The report as people and programs read it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from pve_ospf.check import compare
from pve_ospf.evidence import Report, Row, Unread
from pve_ospf.model import Finding
from pve_ospf.report import WIDTH, to_json, to_text
from tests.unit.test_check import DB, WEB, healthy, lsa, neighbour, with_state

GOOD = """\
GUEST  NAME      ADDRESS       BRIDGE  KERNEL  ZEBRA  LSA  VERDICT
103    guest103  10.1.0.50     vmbr1   yes     yes    -    on-link
101    guest101  198.51.100.7  vmbr1   yes     yes    yes  agrees
102    guest102  198.51.100.8  vmbr1   yes     yes    yes  agrees

NEIGHBOUR   ADDRESS   INTERFACE  STATE
10.255.0.2  10.1.0.2  eth0       Full/DR        ok
10.255.0.3  10.1.0.3  eth0       Full/Backup    ok
10.255.0.4  10.1.0.4  eth0       2-Way/DROther  ok

good: 2 agreeing, 1 on-link, 3 neighbours"""


def text(report: Report) -> str:
    return "\n".join(to_text(report))


def bad() -> Report:
    stray = IPv4Address("198.51.100.66")
    return compare(replace(healthy(), lsas=(lsa(DB), lsa(stray), lsa("172.16.0.0/12")),
                           neighbours=(neighbour(2), neighbour(9, "ExStart", "Backup"))))


def test_a_good_node() -> None:
    assert text(compare(healthy())) == GOOD


def test_the_worst_comes_first_and_the_verdict_last() -> None:
    lines = text(bad()).splitlines()
    assert [re.split(r"\s\s+", line)[2:] for line in lines[1:5]] == [
        ["198.51.100.7", "vmbr1", "yes", "yes", "no", "MISSING"],
        ["198.51.100.66", "-", "no", "no", "yes", "EXTRA"],
        ["10.1.0.50", "vmbr1", "yes", "yes", "-", "on-link"],
        ["198.51.100.8", "vmbr1", "yes", "yes", "yes", "agrees"]]
    assert lines[-1] == "3 findings: 1 agreeing, 1 on-link, 1 extra, 1 missing, 2 neighbours"
    assert "Announced by this node, not by pve-ospf: 172.16.0.0/12 (E2 20)" in lines
    assert any(re.fullmatch(r"10\.255\.0\.9 .* ExStart/Backup +BAD", line) for line in lines)


def test_findings_come_with_their_way_out() -> None:
    lines = text(bad()).splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("! 198.51.100.66: "))
    assert lines[place + 1:place + 3] == [
        "  -> if no `redistribute` of your own does that, ospfd has lost track: systemctl",
        "     restart frr"]


def test_everything_fits_the_terminal() -> None:
    row = Row(IPv4Address("198.51.100.200"), 999999999, "a-very-long-host-name.example.org",
              "a-bridge-of-15c", "yes", "yes", "yes", "settling")
    report = replace(bad(), rows=(row, *bad().rows), unread=(Unread("it", "word " * 50, "x"),))
    lines = text(report).splitlines()
    assert [line for line in lines[:-1] if len(line) > WIDTH] == []  # the verdict is one line
    assert any(re.search(r"999999999 +a-v.*~ +198\.51\.100\.200 +a-bridge-of-15c ", line)
               for line in lines)


def test_what_is_to_be_pasted_stays_in_one_piece() -> None:
    command = "x" * 100
    report = replace(compare(healthy()), findings=(Finding("c", "s", "m", command),))
    assert command in text(report)


def test_a_way_out_of_several_lines_keeps_them() -> None:
    fix = "Write into pve-ospf.yaml:\n  allow:\n    - 198.51.100.0/24\nThen: pve-ospf apply"
    report = replace(compare(healthy()), findings=(Finding("c", "s", "m", fix),))
    assert "\n  -> Write into pve-ospf.yaml:\n       allow:\n         - 198.51.100.0/24\n" \
           "     Then: pve-ospf apply\n" in text(report)


def test_nothing_a_user_wrote_moves_the_cursor() -> None:
    row = replace(compare(healthy()).rows[0], name="\x1b[2Jevil\n")
    finding = Finding("c", "guest 1", "\x1b]0;title\x07 and\nmore", "\x1b[1m")
    report = replace(compare(healthy()), rows=(row,), findings=(finding,))
    assert not re.search(r"[^\x20-\x7e\n]", text(report))
    assert "?[2Jevil?" in text(report)


def test_colour_only_when_asked_for() -> None:
    coloured = "\n".join(to_text(bad(), colour=True))
    assert "\x1b[31mMISSING\x1b[0m" in coloured
    assert "\x1b" not in text(bad())
    assert re.sub(r"\x1b\[\d+m", "", coloured) == text(bad())


def test_an_empty_node_says_so_but_not_when_it_cannot_know() -> None:
    empty = replace(compare(healthy()), rows=(), neighbours=())
    assert text(empty).splitlines()[0] == "No attached guest runs on pve1, and none is announced."
    gone = Unread("this node", "/etc/pve is not mounted", "see: pmxcfs")
    unknown = replace(empty, unread=(gone,))
    assert text(unknown).splitlines() == [
        "? this node: /etc/pve is not mounted", "  -> see: pmxcfs", "",
        "cannot tell: 1 unread, 0 agreeing, 0 neighbours"]


def test_findings_are_shown_where_not_everything_could_be_read() -> None:
    report = replace(bad(), unread=(Unread("zebra's routes", "no"),))
    assert "! 198.51.100.7: " in text(report)
    assert text(report).splitlines()[-1].startswith(
        "cannot tell: 1 unread, 3 findings, 1 agreeing")


def test_one_of_each_is_singular() -> None:
    readings = replace(with_state(healthy(), addresses=frozenset()), neighbours=(neighbour(2),))
    assert text(compare(readings)).splitlines()[-1] == (
        "1 finding: 2 agreeing, 1 on-link, 1 neighbour")


def test_json() -> None:
    data = json.loads(to_json(bad()))
    assert list(data) == [
        "node", "verdict", "exit_code", "missing", "extra", "refused", "unknown", "settling",
        "on_link", "agreeing", "others", "neighbours", "findings", "unread", "paths"]
    assert (data["node"], data["verdict"], data["exit_code"]) == ("pve1", "findings", 1)
    assert data["missing"] == [{
        "address": str(WEB), "vmid": 101, "name": "guest101", "bridge": "vmbr1",
        "kernel": "yes", "zebra": "yes", "lsa": "no"}]
    assert [(row["address"], row["vmid"]) for row in data["extra"]] == [("198.51.100.66", None)]
    assert [row["vmid"] for row in data["agreeing"]] == [102]
    assert [row["vmid"] for row in data["on_link"]] == [103]
    assert data["others"] == [{"prefix": "172.16.0.0/12", "metric": 20, "metric_type": 2}]
    assert data["neighbours"][1] == {
        "router_id": "10.255.0.9", "address": "10.1.0.9", "interface": "eth0",
        "state": "ExStart", "role": "Backup", "ok": False}
    assert {f["code"] for f in data["findings"]} == {"missing-lsa", "extra-lsa", "neighbour-state"}
    assert all(set(f) == {"code", "subject", "message", "fix"} for f in data["findings"])


@pytest.mark.parametrize(("unread", "findings", "verdict", "code"), [
    ((), (), "good", 0),
    ((), (Finding("c", "s", "m"),), "findings", 1),
    ((Unread("it", "no"),), (), "cannot-tell", 3),
    ((Unread("it", "no"),), (Finding("c", "s", "m"),), "cannot-tell", 3)])
def test_verdicts(unread: tuple[Unread, ...], findings: tuple[Finding, ...], verdict: str,
                  code: int) -> None:
    report = replace(compare(healthy()), unread=unread, findings=findings)
    data = json.loads(to_json(report))
    assert (data["verdict"], data["exit_code"], report.exit_code) == (verdict, code, code)
    assert len(data["findings"]) == len(findings)
