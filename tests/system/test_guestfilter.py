"""A hostile container, and the nft table that holds it off; each time with the table away, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.lab import service, topology
from tests.lab.frr import Router
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.system.hostile import ROUTER_ID, Hostile, dropped, hello, udp
from tests.system.standing import ALLOW, known_to

pytestmark = pytest.mark.xdist_group("guestfilter")
EVIL, VICTIM = "198.51.100.66", "198.51.100.7"
R1, R2, STRAY = "10.0.1.1", "10.0.1.2", "192.0.2.0/24"
OPEN = ALLOW + "guest-filter: false\n"
TABLE = "nft list table netdev pve-ospf"
FOREIGN = """
table inet firewall {
	chain input {
		type filter hook input priority 0; policy accept;
		ip saddr 192.0.2.66 counter drop comment "an administrator's"
	}
}
table netdev other {
	chain mine {
		type filter hook ingress device "vmbr1" priority 0; policy accept;
		ip saddr 192.0.2.66 drop
	}
}
"""
COUNTING = """
table inet seen {
	chain input {
		type filter hook prerouting priority -300; policy accept;
%s
	}
}
"""


@pytest.fixture(scope="module")
def lab(deb: Path) -> Iterator[Lab]:
    """r1, r2 and pve1 on one LAN; on pve1 a guest and, beside it, one that means harm."""
    with topology.one_lan(2, deb=deb, hurry=True) as lab:
        node = lab.node("pve1")
        node.write("/etc/pve/pve-ospf.yaml", ALLOW)
        node.run(["pve-ospf", "apply"], timeout=120)
        poll(lambda: node.full(2), 30, "pve1 is adjacent to both")
        lab.settle()
        service.start(node)
        for vmid, address in ((101, VICTIM), (166, EVIL)):
            node.create(vmid, f"{address}/32", hookscript="local:snippets/pve-ospf")
            node.pct("start", vmid)
        poll(lambda: known_to(lab.router("r1"), EVIL), 30, "announced")
        yield lab


@pytest.fixture
def node(lab: Lab) -> Node:
    return lab.node("pve1")


@pytest.fixture
def evil(node: Node) -> Hostile:
    return Hostile(node, 166)


def _filtered(node: Node) -> bool:
    return node.run(["sh", "-c", TABLE], check=False).ok


@contextmanager
def _without_filter(node: Node) -> Iterator[None]:
    """The control. Turned off and on by the configuration, which the agent follows."""
    node.write("/etc/pve/pve-ospf.yaml", OPEN)
    poll(lambda: not _filtered(node), 20, "the table is gone")
    yield
    node.write("/etc/pve/pve-ospf.yaml", ALLOW)
    poll(lambda: _filtered(node), 20, "the table is back")


@contextmanager
def _counting(router: Router, *rules: str) -> Iterator[None]:
    lines = "\n".join(f"\t\t{rule} counter comment \"{rule}\"" for rule in rules)
    router.run(["nft", "-f", "-"], stdin=COUNTING % lines)
    yield
    router.run(["nft", "delete", "table", "inet", "seen"])


def _seen(router: Router, rule: str) -> int:
    listed = json.loads(router.sh("nft -j list table inet seen"))["nftables"]
    (found,) = (entry["rule"] for entry in listed
                if entry.get("rule", {}).get("comment") == rule)
    return sum(int(part["counter"]["packets"]) for part in found["expr"] if "counter" in part)


def test_what_a_guest_sends_from_its_own_address_arrives_and_nothing_else(
        lab: Lab, node: Node, evil: Hostile) -> None:
    r1 = lab.router("r1")
    wrong = {"udp dport 9001": udp(VICTIM, R1, 9001), "udp dport 9002": udp(R2, R1, 9002),
             "udp dport 9003": udp("192.0.2.9", R1, 9003), "udp dport 3784": udp(EVIL, R1, 3784),
             "udp dport 3785": udp(EVIL, R1, 3785), "udp dport 4784": udp(EVIL, R1, 4784),
             "ip ttl 63 ip protocol 89": hello(EVIL, R1)}
    right = "udp dport 9000"
    with _counting(r1, right, *wrong):
        evil.send(*wrong.values(), udp(EVIL, R1, 9000))
        poll(lambda: _seen(r1, right), 20, "what came last has arrived")
        assert {rule: _seen(r1, rule) for rule in wrong} == dict.fromkeys(wrong, 0)
        with _without_filter(node):
            evil.send(*wrong.values())
            for rule in wrong:
                poll(partial(_seen, r1, rule), 20, f"the control: {rule}")


@pytest.mark.loses_adjacency
def test_hellos_in_anothers_name_change_no_neighbour(
        lab: Lab, node: Node, evil: Hostile) -> None:
    r1 = lab.router("r1")

    def state() -> str:
        return r1.neighbours().get(R2, ["gone"])[0]

    poll(lambda: state().startswith("Full"), 30, "r1 and r2 are adjacent")
    counted = dropped(node, "no OSPF")
    spoofing = evil.keep_sending(hello(R2, R1))
    try:
        poll(lambda: dropped(node, "no OSPF") > counted + 20, 30, "they are sent, and dropped")
        changes = r1.sh("grep -c 'AdjChg.*10.0.1.2' /var/log/syslog || :")
        assert state().startswith("Full")
        with _without_filter(node):
            poll(lambda: state().startswith("Init"), 20, "the control: held in Init")
        assert r1.sh("grep -c 'AdjChg.*10.0.1.2' /var/log/syslog || :") != changes
        poll(lambda: state().startswith("Full"), 60, "with the filter it recovers, spoofed or not")
    finally:
        kill_group(spoofing)


@pytest.mark.loses_adjacency
def test_an_ospfd_in_a_guest_is_nobodys_neighbour_even_where_ospf_speaks_to_guests(
        lab: Lab, node: Node, evil: Hostile) -> None:
    """We never have OSPF speak on a guest bridge, but an administrator's slip may."""
    r1 = lab.router("r1")
    slip = ("configure terminal", "interface vmbr1", "ip ospf network point-to-point",
            "ip ospf hello-interval 1", "ip ospf dead-interval 3", "ip ospf area 0")
    counted = dropped(node, "no OSPF")
    evil.start_router(STRAY)
    try:
        node.vtysh(*slip)
        poll(lambda: dropped(node, "no OSPF") > counted + 5, 30, "it sends hellos")
        assert ROUTER_ID not in node.neighbours()
        with _without_filter(node):
            poll(lambda: known_to_all(r1, STRAY), 60, "the control: its LSA is everywhere")
            assert ROUTER_ID in node.neighbours()
        poll(lambda: ROUTER_ID not in node.neighbours(), 30, "with the filter it is gone again")
    finally:
        evil.stop_router()
        node.vtysh("configure terminal", "interface vmbr1", "no ip ospf area 0")
        node.run(["pve-ospf", "apply", "--force"], timeout=120)
    poll(lambda: node.full(2), 30, "as before")


def known_to_all(router: Router, prefix: str) -> bool:
    return bool(router.routes("exact", prefix))


def test_dhcp_reaches_the_node(node: Node, evil: Hostile) -> None:
    listen = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
              "s.bind(('', 67)); print('ready', flush=True); print(s.recv(99))")
    server = node.popen(["/usr/bin/python3", "-c", listen])
    assert server.stdout
    assert "ready" in server.stdout.readline()

    def heard() -> bool:
        evil.send(udp("0.0.0.0", "255.255.255.255", 67, 68))
        return server.poll() is not None

    poll(heard, 30, "the node hears it")
    assert "test" in server.communicate()[0]


def test_a_new_guests_packets_pass_when_its_hook_returns(node: Node) -> None:
    node.create(110, "198.51.100.110/32", hookscript="local:snippets/pve-ospf")
    try:
        node.pct("start", 110)
        assert ". 198.51.100.110" in node.sh(TABLE)
        node.pct("stop", 110)
        poll(lambda: ". 198.51.100.110" not in node.sh(TABLE), 20, "and no more after its stop")
    finally:
        node.pct("stop", 110, check=False)
        node.pct("destroy", 110)


HARMS = ["nft flush ruleset", "nft delete table netdev pve-ospf",
         "nft flush table netdev pve-ospf", "nft flush set netdev pve-ospf from-vmbr1",
         "nft flush chain netdev pve-ospf from-vmbr1; "
         "nft add rule netdev pve-ospf from-vmbr1 accept",
         "nft add table netdev pve-ospf '{ chain mine { }; }'"]


@pytest.mark.parametrize("harm", HARMS)
def test_what_somebody_does_to_it_is_mended_by_the_agent(node: Node, harm: str) -> None:
    before = _structure(node)
    with service.frozen(node):
        node.sh(harm)
        assert _structure(node) != before, "the harm is one"
    poll(lambda: _structure(node) == before, 20, "mended")


def test_without_the_agent_check_names_it_and_sync_mends_it(node: Node) -> None:
    before = _structure(node)
    with service.stopped(node):
        node.sh(HARMS[1])
        said = json.loads(node.run(["pve-ospf", "check", "--json"], check=False).stdout)
        assert "missing-filter" in {finding["code"] for finding in said["findings"]}
        node.sh(f"{TABLE} || :")
        assert "guest filter" in node.run(["pve-ospf", "sync"], check=False).stdout
        assert _structure(node) == before
        again = node.run(["pve-ospf", "sync"], check=False)
        assert again.stdout == "", "and once more there is nothing to do"
        node.sh("nft flush set netdev pve-ospf from-vmbr1")
        assert f"permit {EVIL}" in node.run(["pve-ospf", "sync"], check=False).stdout
        assert _structure(node) == before


def test_others_tables_stay_byte_for_byte(node: Node) -> None:
    node.run(["nft", "-f", "-"], stdin=FOREIGN)
    before = _others(node)
    assert "an administrator's" in before
    assert "table netdev other" in before
    for harm in HARMS[1:3]:
        node.sh(harm)
        node.run(["pve-ospf", "sync"], check=False)
        assert _others(node) == before
    with _without_filter(node):
        assert _others(node) == before
    node.sh("nft delete table inet firewall; nft delete table netdev other")


def test_a_bridge_that_comes_goes_and_comes_back(node: Node) -> None:
    """Whether its chain goes with it (before Linux 6.16) or waits for it."""
    for _ in range(2):
        node.bridge("vmbr2")
        poll(lambda: 'device "vmbr2"' in node.sh(TABLE), 20, "filtered")
        poll(lambda: node.run(["pve-ospf", "sync"], check=False).stdout == "", 20, "all done")
        node.ip("link del vmbr2")
        assert node.run(["pve-ospf", "sync"], check=False).stdout == "", "nothing has to be done"
    node.sh("ip link add vmbr2 type bridge; ip link add nic type veth peer name far;"
            "ip link set nic master vmbr2; ip link set vmbr2 up")
    poll(lambda: 'device "vmbr2"' not in node.sh(TABLE), 20, "not with a NIC in it")
    node.ip("link del vmbr2", "link del nic")


def _structure(node: Node) -> str:
    """The whole table but for its counters, and in the order of its lines: which one a set lists
    first is nobody's concern."""
    said = node.sh(f"{TABLE} 2>/dev/null | sed 's/counter packets [0-9]* bytes [0-9]*//' || :")
    lines = (line.strip(" \t,{}").removeprefix("elements = { ") for line in said.splitlines())
    return "\n".join(sorted(lines))


def _others(node: Node) -> str:
    return node.sh("for table in $(nft list tables | sed 's/^table //; s/ /./' | grep -v pve-ospf);"
                   "do nft list table $(echo $table | tr . ' '); done")
