"""`pve-ospf check` on real FRR of every release: it says what is, and cries wolf at nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import service, topology
from tests.lab.frr import Router
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result
from tests.system.standing import ALLOW, Guests

WEB, DB, ONLINK, STRAY = "198.51.100.7", "198.51.100.8", "10.0.1.77", "198.51.100.66"


def check(node: Node) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON."""
    said = node.run(["pve-ospf", "check", "--json"], check=False)
    assert said.stdout, said.output
    return said.returncode, json.loads(said.stdout)


def text(node: Node) -> Result:
    return node.run(["pve-ospf", "check"], check=False)


def findings(node: Node) -> list[tuple[str, str]]:
    code, report = check(node)
    found = [(f["code"], f["subject"]) for f in report["findings"]]
    assert code == (3 if report["unread"] else 1 if found else 0)
    return found


def addresses(report: dict[str, Any], key: str) -> list[str]:
    return [row["address"] for row in report[key]]


def drop_ospf(machine: Machine, match: str = "") -> None:
    """Until the table "deaf" is deleted."""
    machine.run(["nft", "add table ip deaf; add chain ip deaf input { type filter hook input "
                 f"priority 0; }}; add rule ip deaf input {match} ip protocol 89 drop"])


def with_frozen_agent(node: Node) -> None:
    """One is there, as on a healthy node, and mends nothing of what a test breaks."""
    service.start(node)
    poll(lambda: _freeze(node), 30, "frozen while it does not hold the lock")


def _freeze(node: Node) -> bool:
    service.send(node, "STOP")
    if node.run(["flock", "-n", "/run/pve-ospf/lock", "true"], check=False).ok:
        return True
    service.send(node, "CONT")
    return False


def _suite(name: str, *marks: pytest.MarkDecorator) -> Any:
    # One lab of each release a test run, whichever process it falls to.
    return pytest.param(name, marks=[pytest.mark.xdist_group(f"check-{name}"), *marks])


once = pytest.mark.parametrize("lan", [_suite("bookworm")], indirect=True)
"""For what does not depend on FRR's version."""


@pytest.fixture(scope="module", params=[_suite("bookworm"), _suite("trixie", pytest.mark.soak),
                                        _suite("sid", pytest.mark.soak)])
def lan(deb: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A node and four routers on one LAN, FRR 8.4, 10.3 or 10.7; applied, one guest each way."""
    with topology.one_lan(4, deb=deb, suite=request.param) as lab:
        node = lab.node("pve1")
        node.write("/etc/pve/pve-ospf.yaml", ALLOW)
        node.run(["pve-ospf", "apply"], timeout=120)
        guests = Guests(nodes=lab.nodes)
        for vmid, address in ((101, WEB), (102, DB), (103, ONLINK)):
            guests.attached(node, vmid, f"{address}/32")
            node.pct("start", vmid)
        with_frozen_agent(node)
        poll(lambda: findings(node) == [], 60, "a healthy node")
        yield lab


def test_four_routers_on_one_lan_are_fine(lan: Lab) -> None:
    """2-Way between DROthers is where these neighbours stay."""
    code, report = check(lan.node("pve1"))
    assert (code, report["verdict"], report["findings"]) == (0, "good", [])
    assert sorted(n["state"] for n in report["neighbours"]) == ["2-Way", "2-Way", "Full", "Full"]
    assert all(n["ok"] for n in report["neighbours"])
    assert addresses(report, "agreeing") == [WEB, DB]
    assert addresses(report, "on_link") == [ONLINK]
    assert not (report["missing"] or report["extra"] or report["others"])


@once
def test_the_table(lan: Lab) -> None:
    said = text(lan.node("pve1"))
    lines = said.stdout.splitlines()
    assert said.returncode == 0
    assert "\x1b" not in said.stdout
    assert lines[0].split() == ["GUEST", "NAME", "ADDRESS", "BRIDGE", "KERNEL", "ZEBRA", "LSA",
                                "VERDICT"]
    assert lines[1].split()[-5:] == ["vmbr1", "yes", "yes", "-", "on-link"]
    assert lines[2].split()[-6:] == [WEB, "vmbr1", "yes", "yes", "yes", "agrees"]
    assert lines[-1] == "good: 2 agreeing, 1 on-link, 4 neighbours"


def test_a_running_guest_without_route(lan: Lab) -> None:
    node = lan.node("pve1")
    node.run(["ip", "route", "del", WEB, "dev", "vmbr1"])
    try:
        code, report = check(node)
        assert (code, addresses(report, "missing")) == (1, [WEB])
        assert [(f["code"], f["fix"]) for f in report["findings"]] == [
            ("missing-route", "pve-ospf sync")]
    finally:
        node.run(["pve-ospf", "sync"])
    assert findings(node) == []


def test_a_route_without_guest(lan: Lab) -> None:
    node = lan.node("pve1")
    node.run(["ip", "route", "add", STRAY, "dev", "vmbr1", "proto", "205", "scope", "link"])
    try:
        code, report = check(node)
        assert (code, addresses(report, "extra")) == (1, [STRAY])
        assert [f["code"] for f in report["findings"]] == ["extra-route"]
    finally:
        node.run(["pve-ospf", "sync"])
    assert findings(node) == []


def test_an_lsa_without_guest(lan: Lab) -> None:
    """A route of the administrator's own, to an address that `allow` gives to guests."""
    node = lan.node("pve1")
    node.run(["ip", "route", "add", STRAY, "dev", "vmbr1", "proto", "static"])
    try:
        code, report = check(node)
        assert (code, addresses(report, "extra")) == (1, [STRAY])
        assert report["extra"][0]["lsa"] == "yes"
        assert [f["code"] for f in report["findings"]] == ["extra-lsa"]
        assert "is not ours" in report["findings"][0]["message"]
    finally:
        node.run(["ip", "route", "del", STRAY, "dev", "vmbr1"])
    assert findings(node) == []


def test_routes_without_lsa(lan: Lab) -> None:
    """As after a restart of zebra alone, when ospfd forgets what it redistributed."""
    node = lan.node("pve1")
    node.vtysh("configure terminal", "router ospf", "no redistribute kernel")
    try:
        code, report = check(node)
        assert (code, addresses(report, "missing")) == (1, [WEB, DB])
        assert {f["code"] for f in report["findings"]} == {"missing-lsa", "configuration-differs"}
        assert {f["fix"].partition(";")[0] for f in report["findings"]
                if f["code"] == "missing-lsa"} == {"pve-ospf apply"}
        assert addresses(report, "on_link") == [ONLINK]
    finally:
        node.run(["pve-ospf", "apply"], timeout=120)
    poll(lambda: findings(node) == [], 30, "well again")


@once
def test_zebra_keeps_what_the_kernel_dropped(lan: Lab) -> None:
    """8.4 does not notice that a link's going down took routes, if it is up again at once;
    the way out that the finding names leads out."""
    node = lan.node("pve1")
    node.bridge("vmbr2")
    node.run(["pve-ospf", "sync"])
    node.run(["ip", "route", "add", STRAY, "dev", "vmbr2", "proto", "205", "scope", "link"])
    poll(lambda: STRAY in node.vtysh("show ip route kernel"), 10, "known to zebra")
    # Stopped meanwhile, zebra hears of both at once.
    node.sh("zebra=$(cat /run/frr/zebra.pid); kill -STOP $zebra; ip link set vmbr2 down;"
            "ip link set vmbr2 up; kill -CONT $zebra")
    try:
        code, report = check(node)
        assert (code, addresses(report, "extra")) == (1, [STRAY])
        (finding,) = (f for f in report["findings"] if f["subject"] == STRAY)
        assert finding["code"] == "extra-zebra"
        node.sh(finding["fix"])
        assert not addresses(check(node)[1], "extra")
    finally:
        node.ip("link del vmbr2")
    assert findings(node) == []


@once
def test_what_is_just_changing_is_no_finding(lan: Lab) -> None:
    node = lan.node("pve1")
    changing = node.popen(["sh", "-ec", f"ip route add {STRAY} dev vmbr1 proto 205 scope link;"
                           f"echo added; sleep 1; ip route del {STRAY} dev vmbr1; sleep 1"])
    assert changing.stdout
    assert changing.stdout.readline() == "added\n"
    assert findings(node) == []
    changing.wait()


def test_the_administrators_own_announcement_is_named(lan: Lab) -> None:
    node = lan.node("pve1")
    node.vtysh("configure terminal", "ip route 192.0.2.0/24 Null0", "router ospf",
               "redistribute static")
    try:
        poll(lambda: check(node)[1]["others"], 10, "announced")
        code, report = check(node)
        assert [o["prefix"] for o in report["others"]] == ["192.0.2.0/24"]
        assert code == 0, report["findings"]
        assert "not by pve-ospf: 192.0.2.0/24" in text(node).stdout
    finally:
        node.vtysh("configure terminal", "no ip route 192.0.2.0/24 Null0", "router ospf",
                   "no redistribute static")


@pytest.mark.loses_adjacency
@once
def test_a_neighbour_that_does_not_hear_us(lan: Lab) -> None:
    node, deaf = lan.node("pve1"), lan.router("r1")
    drop_ospf(deaf, "ip saddr 10.0.1.11")
    try:
        poll(lambda: ("neighbour-state", "10.0.1.1") in findings(node), 20, "named")
        _, report = check(node)
        (neighbour,) = (n for n in report["neighbours"] if n["router_id"] == "10.0.1.1")
        assert (neighbour["state"], neighbour["ok"]) == ("Init", False)
    finally:
        deaf.run(["nft", "delete", "table", "ip", "deaf"])
    poll(lambda: findings(node) == [], 60, "well again")


def test_an_uplink_without_a_link(lan: Lab) -> None:
    """vmbr0 stays up, but none of its ports has a carrier; ospfd then lists no interface."""
    node = lan.node("pve1")
    node.legs["eth0"].down()
    try:
        poll(lambda: findings(node) == [("uplink-down", "vmbr0")], 20, "named")
    finally:
        node.legs["eth0"].up()
    poll(lambda: findings(node) == [], 60, "well again")


@pytest.mark.loses_adjacency
@once
def test_an_uplink_without_any_neighbour(lan: Lab) -> None:
    """What Proxmox's firewall makes of OSPF unless it is told to let it in."""
    node = lan.node("pve1")
    drop_ospf(node)
    try:
        poll(lambda: findings(node) == [("no-neighbour", "vmbr0")], 20, "named")
    finally:
        node.run(["nft", "delete", "table", "ip", "deaf"])
    poll(lambda: findings(node) == [], 60, "well again")


def test_a_tunnel_in_ospf(lan: Lab) -> None:
    node = lan.node("pve1")
    node.vxlan("vx7", 7, "10.0.1.11", "10.0.1.1", "10.77.0.1/24")
    try:
        assert findings(node) in ([], [("configuration-differs", "FRR's configuration")])
        node.vtysh("configure terminal", "interface vx7", "ip ospf area 0")
        poll(lambda: ("tunnel-in-ospf", "vx7") in findings(node), 10, "named")
        node.vtysh("configure terminal", "interface vx7", "ip ospf passive")
        poll(lambda: any(f["code"] == "tunnel-in-ospf" and "announced" in f["message"]
                         for f in check(node)[1]["findings"]), 10, "its subnet still leaks")
    finally:
        node.vtysh("configure terminal", "interface vx7", "no ip ospf passive", "no ip ospf area")
        node.ip("link del vx7")
    poll(lambda: findings(node) == [], 10, "well again")


@pytest.mark.parametrize(("sysctl", "expected"), [
    ("net.ipv4.conf.vmbr0.forwarding", ("forwarding-off", "vmbr0")),
    ("net.ipv4.conf.vmbr1.forwarding", ("forwarding-off", "vmbr1")),
    ("net.ipv4.conf.vmbr1.proxy_arp", ("proxy-arp-off", "vmbr1"))])
@once
def test_sysctls(lan: Lab, sysctl: str, expected: tuple[str, str]) -> None:
    node = lan.node("pve1")
    node.run(["sysctl", "-qw", f"{sysctl}=0"])
    try:
        assert findings(node) == [expected]
    finally:
        node.run(["pve-ospf", "sync"])
    assert findings(node) == []


@once
def test_the_hookscript_and_the_daemons_switch(lan: Lab) -> None:
    node = lan.node("pve1")
    snippet = "/var/lib/vz/snippets/pve-ospf"
    node.sh(f"mv {snippet} {snippet}.away; cp -p /etc/frr/daemons /root/daemons;"
            "sed -i s/^ospfd=yes/ospfd=no/ /etc/frr/daemons")
    try:
        found = findings(node)
        assert ("hookscript", snippet) in found
        assert ("daemon-disabled", "ospfd") in found
    finally:
        node.sh(f"mv {snippet}.away {snippet}; mv /root/daemons /etc/frr/daemons")
    assert findings(node) == []


@once
def test_no_agent(lan: Lab) -> None:
    node = lan.node("pve1")
    service.stop(node, "KILL")
    try:
        assert findings(node) == [("agent", "pve-ospf.service")]
        assert "systemctl start pve-ospf" in text(node).stdout
    finally:
        with_frozen_agent(node)
    assert findings(node) == []


@once
def test_an_edited_configuration(lan: Lab) -> None:
    node = lan.node("pve1")
    node.sh("cp -p /etc/frr/frr.conf /root/frr.conf; "
            "sed -i 's/ip ospf dead-interval 3/ip ospf dead-interval 9/' /etc/frr/frr.conf")
    try:
        assert ("configuration-differs", "FRR's configuration") in findings(node)
    finally:
        node.sh("mv /root/frr.conf /etc/frr/frr.conf")
    assert findings(node) == []


@pytest.mark.loses_adjacency
def test_with_frr_stopped_it_cannot_tell(lan: Lab) -> None:
    """3, and not "missing": what the kernel has is shown, of the rest nothing is claimed."""
    node = lan.node("pve1")
    node.frr_stop()
    try:
        code, report = check(node)
        assert (code, report["verdict"]) == (3, "cannot-tell")
        assert addresses(report, "unknown") == [WEB, DB, ONLINK]
        assert {(row["kernel"], row["zebra"], row["lsa"]) for row in report["unknown"]} == {
            ("yes", "?", "?")}
        assert not (report["missing"] or report["extra"])
        assert {f["code"] for f in report["findings"]} == {"daemon-stopped"}
        assert text(node).stdout.splitlines()[-1].startswith("cannot tell: ")
    finally:
        node.frr_start()
    poll(lambda: findings(node) == [], 60, "well again")


@pytest.mark.loses_adjacency
def test_with_ospfd_alone_gone_it_cannot_tell(lan: Lab) -> None:
    node = lan.node("pve1")
    node.sh("kill $(cat /run/frr/watchfrr.pid); kill $(cat /run/frr/ospfd.pid)")
    try:
        code, report = check(node)
        assert (code, [row["zebra"] for row in report["unknown"]]) == (3, ["yes"] * 3)
        assert ("daemon-stopped", "ospfd") in [
            (f["code"], f["subject"]) for f in report["findings"]]
    finally:
        node.frr_restart()
    poll(lambda: findings(node) == [], 60, "well again")


@once
@pytest.mark.loses_adjacency
def test_with_ospfd_hanging_it_cannot_tell(lan: Lab) -> None:
    node = lan.node("pve1")
    node.sh("kill -STOP $(cat /run/frr/watchfrr.pid) $(cat /run/frr/ospfd.pid)")
    try:
        said = node.run(["pve-ospf", "check", "--json"], check=False, timeout=20)
        assert (said.returncode, json.loads(said.stdout)["findings"]) == (3, [])
    finally:
        node.sh("kill -CONT $(cat /run/frr/watchfrr.pid) $(cat /run/frr/ospfd.pid)")
    poll(lambda: findings(node) == [], 60, "well again")


def test_attached_in_a_locale_that_is_not_there(lan: Lab) -> None:
    """Perl warns on standard error, which proxmoxer 2.2 takes for a failure."""
    node = lan.node("pve1")
    for command in ("detach", "attach"):
        said = node.run(["env", "LC_ALL=de_DE.UTF-8", "pve-ospf", command, 102])
        assert f"102: {command}ed (pve1)" in said.stdout
    poll(lambda: findings(node) == [], 60, "well again")


@once
def test_without_etc_pve_it_cannot_tell(lan: Lab) -> None:
    node = lan.node("pve1")
    with node.pve_gone():
        said = node.run(["pve-ospf", "check"], check=False)
    assert said.returncode in (2, 3)  # 2: no cluster file system, so no configuration either
    assert "/etc/pve" in said.output


@once
def test_a_wrong_configuration_is_exit_2(lan: Lab) -> None:
    node = lan.node("pve1")
    node.write("/etc/pve/pve-ospf.yaml", "allow: [198.51.100.0/33]\n")
    try:
        said = node.run(["pve-ospf", "check"], check=False)
        assert said.returncode == 2
        assert "allow[0]" in said.stderr
    finally:
        node.write("/etc/pve/pve-ospf.yaml", ALLOW)


@pytest.mark.loses_adjacency
@pytest.mark.parametrize("kind", ["nssa", "stub"])
def test_an_area_that_keeps_the_guests_to_itself(deb: Path, kind: str) -> None:
    """FRR 8.4 lists the node's own type-5 as if all were well; nobody outside ever gets it."""
    with_area = f"router ospf\n area 1 {kind}\n!"
    lab = topology.one_lan(1, deb=deb)
    router: Router = lab.router("r1")
    router.ospf("10.0.1.1", {"eth0": 10, "eth1": 10}, area="1", extra=with_area)
    with lab:
        node = lab.node("pve1")
        node.write("/etc/pve/pve-ospf.yaml", f"{ALLOW}area: 1\n")
        refused = node.run(["pve-ospf", "apply"], timeout=120, check=False)
        assert refused.returncode == 1
        assert f"on vmbr0 the area's kind is {kind} there, normal here" in refused.stderr
        assert "cannot leave a stub area or an NSSA" in refused.stderr
        node.run(["pve-ospf", "apply", "--force"], timeout=120, check=False)
        node.vtysh("configure terminal", "router ospf", f"area 1 {kind}")
        poll(lambda: node.full(1), 30, "adjacent")
        guests = Guests(nodes=lab.nodes)
        guests.attached(node, 101, f"{WEB}/32")
        node.pct("start", 101)
        code, report = check(node)
        assert (f"{kind}-area", "vmbr0") in [(f["code"], f["subject"]) for f in report["findings"]]
        assert code == 1
        assert addresses(report, "agreeing") == []
