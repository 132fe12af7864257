"""A guest with an address of its nodes' own network, at home and away, seen from that network.

    host 10.0.1.50 ─┐
    pve1 10.0.1.11 ─┼─ net1 ── r1 ── net2 ── pve3 10.0.2.13
    pve2 10.0.1.12 ─┘

The guest's address is of net1. One lab for the file; the last test kills a node.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.lab.lab import Lab, together
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import kill_group
from tests.lab.topology import set_up_node
from tests.system.standing import ALLOW, Guests, known_to

GUEST, FREE, HOST, ROUTER = "10.0.1.77", "10.0.1.99", "10.0.1.50", "10.0.1.1"
UPLINK = "vmbr0"
REDIRECTS = f"sysctl -q net.ipv4.conf.all.send_redirects=1 net.ipv4.conf.{UPLINK}.send_redirects=1"

AGENT = """
import select, sys, time
from ipaddress import IPv4Address
from pve_ospf import arp, home, lsdb, pve, routes, rtnetlink, sync, vtysh
from pve_ospf.errors import CannotTell

responder, at_home, then = arp.Responder(), {}, 0.0
while True:
    waits = [t for t in (responder.due(), then - time.monotonic()) if t is not None]
    for fileno in select.select([*responder.sockets()], [], [], max(0, min(waits)))[0]:
        responder.handle(fileno)
    responder.repeat()
    if time.monotonic() < then:
        continue
    try:
        seen = sync.look()
        neighbours = lsdb.neighbours(vtysh.show(lsdb.NEIGHBOURS))
    except CannotTell:
        continue
    away = home.away(seen.config, seen.cluster.guests, seen.node, seen.state.routes)
    planned = routes.plan(seen.desired, seen.roles, seen.state, away=away).changes
    rtnetlink.apply(c for c in planned if routes.silenced([c]))
    macs = {i.name: i.mac for i in seen.roles.uplinks}
    before, at_home = at_home, home.defended(seen.desired.announcements)
    responder.answer_for(home.answered_for(away, IPv4Address(sys.argv[1]), neighbours,
                                           pve.node_addresses()), macs, at_home)
    for uplink, addresses in at_home.items():
        responder.announce(uplink, macs[uplink], addresses - before.get(uplink, frozenset()))
    if not then:
        print("ready", flush=True)
    then = time.monotonic() + 0.2
"""
"""What the agent does of it, and nothing else."""

PROBE = """
import json, sys, time
from ipaddress import IPv4Address
from pve_ospf import arp, rtnetlink
device, addresses, nodes = (word.split() for word in sys.argv[1:])
mac = next(i.mac for i in rtnetlink.interfaces() if i.name == device[0])
begun = time.monotonic()
found = arp.probe(device[0], mac, [*map(IPv4Address, addresses)],
                  nodes=[*map(IPv4Address, nodes)])
print(json.dumps([time.monotonic() - begun, {str(a): m for a, m in found.items()}]))
"""

EDGES = """
import os, select, socket, subprocess
from ipaddress import IPv4Address
from pve_ospf import arp, arpframe
from pve_ospf.errors import CannotTell

OURS, HOST = "02:00:00:00:00:11", "02:00:00:00:00:50"
HERE, ASKER = IPv4Address("203.0.113.0"), IPv4Address("192.0.2.1")
many = frozenset(HERE + 3 * n for n in range(1000))
others = frozenset(HERE + 3 * n + 1 for n in range(1000))
responder = arp.Responder()

def ip(line):
    subprocess.run(["ip", *line.split()], check=True)

def made():
    ip("link add lab0 type veth peer name lab1")
    ip("link set lab0 up")
    ip("link set lab1 up")

def serve(asked, probed=frozenset()):
    responder.answer_for({"lab0": asked}, {"lab0": OURS}, {"lab0": probed})

def answered(address, sender=ASKER):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as peer:
        peer.bind(("lab1", arpframe.ETHERTYPE))
        peer.send(arpframe.request(HOST, sender, address))
        for fileno in select.select([*responder.sockets()], [], [], 0.1)[0]:
            responder.handle(fileno)
        expected = arpframe.reply(OURS, address, HOST, sender)
        while select.select([peer], [], [], 0)[0]:
            if peer.recv(64) == expected:
                return True
    return False

def refused(call, *words):
    try:
        call(*words)
    except CannotTell as error:
        return str(error)

made()
serve(many, others)
assert answered(min(many)) and answered(max(many)) and not answered(HERE + 2)
assert not answered(min(others)) and answered(min(others), IPv4Address(0))
for number in range(3):  # the filter of a thousand is replaced, in what room there is
    serve(many - {HERE + 3 * number}, others)
    assert not answered(HERE + 3 * number) and answered(max(many))
serve(frozenset({HERE}))
assert answered(HERE) and not answered(max(many))
(fileno,) = responder.sockets()
ip("link set lab0 down")
responder.handle(fileno)
responder.repeat()
serve(frozenset({HERE}))
assert refused(arp.probe, "lab0", OURS, [HERE])
ip("link set lab0 up")
assert answered(HERE), "up again, the same socket serves"
ip("link del lab0")
responder.handle(fileno)
serve(frozenset({HERE}))
assert not responder.sockets()
arp.gratuitous("lab0", OURS, [HERE])
assert refused(arp.probe, "lab0", OURS, [HERE])
made()
serve(frozenset({HERE}))
assert answered(HERE), "made anew under its old name"
ip("link del lab0")
made()
serve(frozenset({HERE}))
assert answered(HERE), "also when nobody saw it go"
responder.answer_for({}, {})
assert not responder.sockets()
os.setuid(65534)
assert refused(serve, frozenset({HERE})), "without CAP_NET_RAW"
"""


@pytest.fixture(scope="module")
def lab(deb: Path) -> Iterator[Lab]:
    lab = Lab(deb=deb, hurry=True)
    net1, net2 = lab.add_lan("net1"), lab.add_lan("net2")
    r1 = lab.add_router("r1")
    r1.plug("eth0", net1, f"{ROUTER}/24")
    r1.plug("eth1", net2, "10.0.2.1/24")
    r1.ospf(ROUTER, {"eth0": 10, "eth1": 10})
    host = lab.add_client("host")
    host.plug("eth0", net1, f"{HOST}/24")
    host.route("default", via=ROUTER)
    for name, lan, address, router in (("pve1", net1, "10.0.1.11", ROUTER),
                                       ("pve2", net1, "10.0.1.12", ROUTER),
                                       ("pve3", net2, "10.0.2.13", "10.0.2.1")):
        node = lab.add_node(name, address)
        node.plug("eth0", lan)
        set_up_node(node, f"{address}/24", router=router)
    with lab:
        lab.node("pve1").write("/etc/pve/pve-ospf.yaml", ALLOW)
        together(lambda node: node.run(["pve-ospf", "apply"], timeout=120), lab.nodes)
        for node, neighbours in zip(lab.nodes, (2, 2, 1), strict=True):
            poll(partial(node.full, neighbours), 30, f"{node.name} is adjacent")
        lab.settle()
        guests = Guests(nodes=lab.nodes)
        guests.attached(lab.node("pve1"), 101, f"{GUEST}/32")
        lab.node("pve1").pct("start", 101)
        yield lab


def _at(lab: Lab, name: str) -> Node:
    """The node, to which the guest has moved; OSPF has followed."""
    where = lab.cluster.placement()["101"]
    if where != name:
        lab.migrate(101, where, name, timeout=10)
    poll(lambda: bool(known_to(lab.node("pve1"), GUEST)) is (name in ("pve1", "pve3")), 10,
         f"routed to {name}")
    return lab.node(name)


@contextmanager
def _agents(lab: Lab) -> Iterator[None]:
    """What stands in for the agent runs on every node that is up."""
    nodes = [node for node in lab.nodes if node.up]
    running = [node.popen(["python3", "-I", "-c", AGENT, node.addresses.get(UPLINK) or _own(node)])
               for node in nodes]
    try:
        for process in running:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        yield
    finally:
        for process in running:
            with suppress(ProcessLookupError):
                kill_group(process)


def _own(node: Node) -> str:
    return node.sh(f"ip -o -4 addr show {UPLINK}").split()[3].partition("/")[0]


def _mac(node: Node) -> str:
    return node.read(f"/sys/class/net/{UPLINK}/address").strip()


def _answers(lab: Lab, address: str) -> list[str]:
    """MACs in the answers to two requests, none to be expected where nobody answers."""
    said = lab.client.run(["arping", "-b", "-c", 2, "-I", "eth0", address], check=False).stdout
    return [mac.lower() for mac in re.findall(r"reply from \S+ \[([0-9A-F:]+)\]", said)]


def _looks_free(lab: Lab, address: str) -> bool:
    """Whether a host that probes for the address (RFC 5227) would take it."""
    return lab.client.run(["arping", "-D", "-c", 2, "-I", "eth0", address], check=False).ok


def _redirects(lab: Lab) -> int:
    """ICMP redirects the host was sent."""
    names, values = lab.client.sh("grep ^Icmp: /proc/net/snmp").splitlines()
    return int(values.split()[names.split().index("InRedirects")])


def _probe(node: Node, *addresses: str, nodes: str = "") -> tuple[float, dict[str, str]]:
    said = node.run(["python3", "-I", "-c", PROBE, UPLINK, " ".join(addresses), nodes]).stdout
    seconds, found = json.loads(said)
    return seconds, found


def test_at_home_its_node_answers_and_to_probes_only_with_the_agent(lab: Lab) -> None:
    node = _at(lab, "pve1")
    poll(lambda: lab.client.ping(GUEST), 10, "the host reaches it")
    assert _answers(lab, GUEST) == [_mac(node)] * 2
    assert _looks_free(lab, GUEST), "the control: the kernel's proxy entry is silent to a probe"
    with _agents(lab):
        assert not _looks_free(lab, GUEST)
        assert _answers(lab, GUEST) == [_mac(node)] * 2, "and nobody answers twice"


def test_away_one_node_answers_and_without_the_agent_none(lab: Lab) -> None:
    _at(lab, "pve3")
    assert _answers(lab, GUEST) == [], "the control: the kernel is silent"
    lab.client.sh("ip neigh flush dev eth0")
    with _agents(lab):
        poll(lambda: lab.client.ping(GUEST), 10, "the host reaches it")
        assert _answers(lab, GUEST) == [_mac(lab.node("pve1"))] * 2, "the lowest router id"
        assert not _looks_free(lab, GUEST)


def test_for_an_address_nobody_has_nobody_answers(lab: Lab) -> None:
    _at(lab, "pve3")
    node = lab.node("pve1")
    with _agents(lab):
        assert _answers(lab, FREE) == []
        node.sh(f"sysctl -q net.ipv4.conf.{UPLINK}.proxy_arp_pvlan=1")
        try:
            assert _answers(lab, FREE), "the control: proxy_arp_pvlan would"
        finally:
            node.sh(f"sysctl -q net.ipv4.conf.{UPLINK}.proxy_arp_pvlan=0")


def test_a_probe_finds_who_holds_an_address_within_its_time(lab: Lab) -> None:
    _at(lab, "pve3")
    node, r1 = lab.node("pve2"), lab.router("r1")
    gateway, host = (machine.sh("cat /sys/class/net/eth0/address") for machine in (r1, lab.client))
    seconds, found = _probe(node, ROUTER, HOST, FREE)
    assert found == {ROUTER: gateway, HOST: host}
    assert seconds < 0.35
    free = [_probe(node, FREE) for _ in range(3)]
    print("a free address:", *(f"{seconds * 1000:.0f}" for seconds, _ in free), "ms")
    assert not any(found for _, found in free)
    assert min(free)[0] < 0.3, "the best of three, for the machine may be busy"
    seconds, found = _probe(node, ROUTER)
    print(f"one that is held: {seconds * 1000:.0f} ms")
    assert seconds < 0.2


def test_a_node_that_answers_is_no_conflict_but_a_stranger_would_be(lab: Lab) -> None:
    _at(lab, "pve3")
    with _agents(lab):
        assert _probe(lab.node("pve2"), GUEST, nodes="10.0.1.11")[1] == {}
        # Not at once: what stands in for the agent is deaf while it looks, 0.3 s and more.
        poll(lambda: _probe(lab.node("pve2"), GUEST)[1] == {GUEST: _mac(lab.node("pve1"))}, 10,
             "the control: not knowing the node, it is one")


def test_four_lost_questions_of_five_hide_nobody(lab: Lab) -> None:
    node = lab.node("pve2")
    lab.client.run(["nft", "-f", "-"], stdin="""
        table arp lab {
            chain in {
                type filter hook input priority 0
                arp saddr ip 0.0.0.0 numgen inc mod 5 != 4 drop
            }
        }""")
    try:
        assert node.run(["arping", "-D", "-c", 1, "-I", UPLINK, HOST], check=False).ok, (
            "the control: one question is not enough")
        for _ in range(2):
            assert HOST in _probe(node, HOST, FREE)[1]
    finally:
        lab.client.run(["nft", "delete", "table", "arp", "lab"])


def test_interfaces_come_and_go_and_filters_are_long(lab: Lab) -> None:
    node = lab.node("pve2")
    node.run(["sysctl", "-q", "net.core.optmem_max=20480"], check=False)  # as before 6.7
    try:
        node.run(["python3", "-I", "-c", EDGES])
    finally:
        node.sh("ip link del lab0", check=False)


def test_no_redirects_are_sent_past_the_node_that_answers(lab: Lab) -> None:
    _at(lab, "pve3")
    node = lab.node("pve1")
    for each in (node, lab.node("pve2")):
        each.sh(REDIRECTS)
    with _agents(lab):
        poll(lambda: lab.client.ping(GUEST), 10, "reached")
        assert _mac(node) in lab.client.sh(f"ip neigh show {GUEST}"), "by pve1"
        before = _redirects(lab)
        for _ in range(3):
            assert lab.client.ping(GUEST)
        assert _redirects(lab) == before
    node.sh(REDIRECTS)
    poll(lambda: lab.client.ping(GUEST) and _redirects(lab) > before, 5,
         "the control: with redirects on, one is sent")
    lab.client.sh("ip route flush cache; ip neigh flush dev eth0")


def test_home_again_on_another_node_that_one_answers_at_once(lab: Lab) -> None:
    _at(lab, "pve3")
    with _agents(lab):
        poll(lambda: lab.client.ping(GUEST), 10, "reached while away")
        two = _at(lab, "pve2")
        poll(lambda: _mac(two) in lab.client.sh(f"ip neigh show {GUEST}"), 5,
             "the host's cache follows, told by gratuitous ARP")
        poll(lambda: lab.client.ping(GUEST), 5, "reached at home")
        assert set(_answers(lab, GUEST)) == {_mac(two)}


def test_when_the_node_that_answers_dies_another_takes_over(lab: Lab) -> None:
    _at(lab, "pve3")
    one, two = lab.node("pve1"), lab.node("pve2")
    with _agents(lab):
        lab.client.sh("ip neigh flush dev eth0")
        poll(lambda: lab.client.ping(GUEST), 10, "reached")
        assert _mac(one) in lab.client.sh(f"ip neigh show {GUEST}"), "by pve1"
        one.stop()
        begun = time.monotonic()
        assert not lab.client.ping(GUEST, timeout=0.2), "the control: it went by pve1"
        poll(lambda: lab.client.ping(GUEST, timeout=0.2), 10, "pve2 takes over")
        print(f"taken over after {time.monotonic() - begun:.1f} s (dead interval 3 s)")
        assert time.monotonic() - begun < 6
        assert _answers(lab, GUEST) == [_mac(two)] * 2
