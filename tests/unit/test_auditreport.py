"""What the path audit says: to a person in few lines, to programs everything."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from pve_ospf.area import Origin
from pve_ospf.audit import Audit, Crossing, audit
from pve_ospf.auditreport import LISTED, findings, summary, to_object
from pve_ospf.check import compare
from pve_ospf.evidence import Unread
from pve_ospf.report import WIDTH, to_json, to_text
from tests.unit.areas import NAMES, Map, group, router_id
from tests.unit.test_audit import WEB, audited, triangle
from tests.unit.test_check import codes, healthy


def test_a_tunnel_in_the_way() -> None:
    (found,) = findings(audited(triangle(), group(WEB, "b", count=3)))
    assert (found.code, found.subject) == ("path-over-tunnel", "tun1 (a, b)")
    assert found.message == (
        "is a tunnel and guests' traffic runs over it, for 3 pairs of router and address: "
        "a to 198.51.100.7: a =tun1= b")
    assert "policy: passive" in found.fix


def test_equal_cost_is_said() -> None:
    (found,) = findings(audited(triangle(20), group(WEB, "b")))
    assert "for 1 pair of router and address" in found.message
    assert found.message.endswith("a =tun1= b (one of several paths of equal cost)")


def test_a_metric_that_comes_before_the_distance_is_another_case() -> None:
    area = Map("abc")
    area.tunnel(area.link("a", "b", 65535), "a", "b")
    area.link("a", "c", 10)
    best, second = Origin(router_id("b"), 2, 0), Origin(router_id("c"), 2, 1)
    found = list(findings(audited(area, group(WEB, best, second))))
    assert len(found) == 1  # c's own path is not one: c announces the address itself
    assert "although c announces it, too, and is reached without" in found[0].message
    assert "does not help" in found[0].fix


def test_a_failing_link() -> None:
    found = list(findings(audited(triangle(65535), group(WEB, "b", count=5), what_if=True)))
    assert [(f.code, f.subject) for f in found] == [
        ("path-if-link-fails", "a - c (10.2.0.1)"), ("path-if-link-fails", "b - c (10.3.0.2)")]
    assert found[0].message == (
        "if this link fails, guests' traffic runs over tun1 (a, b), for 5 pairs of router and "
        "address more than now: a to 198.51.100.7: a =tun1= b")


def test_who_has_not_told_its_tunnels() -> None:
    (found,) = findings(Audit(untold=("pve2",)))
    assert (found.code, found.subject, found.fix) == (
        "tunnels-untold", "pve2", "on pve2: pve-ospf apply")


def test_however_many_there_are_a_person_sees_a_few() -> None:
    crossing = Crossing("a", "b", 5, IPv4Address(WEB), "a =x= b", ())
    many = Audit(tuple(replace(crossing, tunnels=(f"tun{n}",)) for n in range(LISTED + 7)))
    found = list(findings(many))
    assert len(found) == LISTED + 1
    assert found[-1].subject == "7 tunnels more"
    assert len(to_object(many)["across_tunnels"]) == LISTED + 7  # type: ignore[arg-type]


def test_the_sentences() -> None:
    assert list(summary(Audit())) == []
    clean = audited(triangle(21), group(WEB, "b"))
    assert list(summary(clean)) == ["Paths from 3 routers to 1 address: none across a tunnel."]
    found = audited(triangle(65535), group(WEB, "b", count=2000), what_if=True)
    assert list(summary(found)) == [
        "Paths from 3 routers to 2,000 addresses: none across a tunnel.",
        "Of 3 links that may fail, 2 would lead more paths across one."]


def test_in_the_report() -> None:
    found = audited(triangle(), group(WEB, "b"), what_if=True)
    report = compare(replace(healthy(), audit=found))
    assert codes(report) == [("path-over-tunnel", "tun1 (a, b)"),
                             ("path-if-link-fails", "b - c (10.3.0.2)")]
    assert report.exit_code == 1
    lines = list(to_text(report))
    assert "Paths from 3 routers to 1 address: 1 across a tunnel." in lines
    assert all(len(line) <= WIDTH for line in lines)
    assert '"path": "a =tun1= b"' in to_json(report)


def test_paths_that_could_not_be_looked_at_are_no_clean_ones() -> None:
    report = compare(replace(healthy(), audit=Unread("the area's paths", "no answer")))
    assert (codes(report), report.exit_code, report.audit) == ([], 3, None)
    assert '"paths": null' in to_json(report)


def test_one_apply_is_called_for_once() -> None:
    untold = Audit(untold=("pve1", "pve2"))
    assert codes(compare(replace(healthy(), audit=untold))) == [
        ("tunnels-untold", "pve1"), ("tunnels-untold", "pve2")]
    assert codes(compare(replace(healthy(), audit=untold, differences="+x"))) == [
        ("configuration-differs", "FRR's configuration"), ("tunnels-untold", "pve2")]


def test_names_of_nodes_are_used() -> None:
    area = triangle()
    nodes = {r: f"pve-{name}" for r, name in NAMES.items() if name in "ab"}
    (found,) = audit([area.area()], [group(WEB, "b")], area.told(), nodes).crossings
    assert (found.path, found.tunnels) == ("pve-a =tun1= pve-b", ("tun1 (pve-a, pve-b)",))
