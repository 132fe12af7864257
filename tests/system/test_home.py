"""A guest with an address of its nodes' own network, at home and away, seen from that network.

    host 10.0.1.50 ─┐
    pve1 10.0.1.11 ─┼─ net1 ── r1 ── net2 ── pve3 10.0.2.13
    pve2 10.0.1.12 ─┘

The guest's address is of net1. One lab for the file; the last test cuts a node off.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.lab import service
from tests.lab.lab import Lab, together
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result, kill_group
from tests.lab.topology import set_up_node
from tests.system.standing import ALLOW, Guests, known_to

GUEST, FREE, HOST, ROUTER = "10.0.1.77", "10.0.1.99", "10.0.1.50", "10.0.1.1"
UPLINK = "vmbr0"
BEFORE = "/run/pve-ospf/before"
REDIRECTS = f"sysctl -q net.ipv4.conf.all.send_redirects=1 net.ipv4.conf.{UPLINK}.send_redirects=1"

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

def soon(address):  # the kernel takes up to a second to let frames out of a link that is up
    return any(answered(address) for _ in range(20))

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
assert soon(HERE), "up again, the same socket serves"
ip("link del lab0")
responder.handle(fileno)
serve(frozenset({HERE}))
assert not responder.sockets()
arp.gratuitous("lab0", OURS, [HERE])
assert refused(arp.probe, "lab0", OURS, [HERE])
made()
serve(frozenset({HERE}))
assert soon(HERE), "made anew under its old name"
ip("link del lab0")
made()
serve(frozenset({HERE}))
assert soon(HERE), "also when nobody saw it go"
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
        together(service.start, lab.nodes)
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
def _without_agents(lab: Lab) -> Iterator[None]:
    """The controls: what the kernel does by itself."""
    together(service.stop, lab.nodes)
    try:
        yield
    finally:
        together(service.start, lab.nodes)


def _start(node: Node, vmid: int) -> Result:
    return node.pct("start", vmid, check=False)


def _client_mac(lab: Lab) -> str:
    return lab.client.sh("cat /sys/class/net/eth0/address").strip()


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


def _told(node: Node, words: str) -> bool:
    return words in node.read("/var/log/syslog")


def _sends_redirects(node: Node) -> str:
    return " ".join(node.sh(f"sysctl -n net.ipv4.conf.{each}.send_redirects").strip()
                    for each in ("all", UPLINK))


def _silenced(node: Node) -> bool:
    """Whether the node remembers redirects turned off; the file is made with the first value."""
    return "send_redirects" in (node.read(BEFORE) if node.exists(BEFORE) else "")


def _probe(node: Node, *addresses: str, nodes: str = "") -> tuple[float, dict[str, str]]:
    said = node.run(["python3", "-I", "-c", PROBE, UPLINK, " ".join(addresses), nodes]).stdout
    seconds, found = json.loads(said)
    return seconds, found


def test_at_home_its_node_answers_and_to_probes_only_with_the_agent(lab: Lab) -> None:
    node = _at(lab, "pve1")
    poll(lambda: lab.client.ping(GUEST), 10, "the host reaches it")
    assert _answers(lab, GUEST) == [_mac(node)] * 2, "and nobody answers twice"
    poll(lambda: not _looks_free(lab, GUEST), 10, "nor does it look free")
    with _without_agents(lab):
        assert _answers(lab, GUEST) == [_mac(node)] * 2
        assert _looks_free(lab, GUEST), "the control: the kernel's proxy entry is silent to a probe"


def test_away_one_node_answers_and_without_the_agent_none(lab: Lab) -> None:
    _at(lab, "pve3")
    lab.client.sh("ip neigh flush dev eth0")
    poll(lambda: lab.client.ping(GUEST), 10, "the host reaches it")
    assert _answers(lab, GUEST) == [_mac(lab.node("pve1"))] * 2, "the lowest router id"
    assert not _looks_free(lab, GUEST)
    with _without_agents(lab):
        assert _answers(lab, GUEST) == [], "the control: the kernel is silent"


def test_for_an_address_nobody_has_nobody_answers(lab: Lab) -> None:
    _at(lab, "pve3")
    node = lab.node("pve1")
    poll(lambda: _answers(lab, GUEST), 10, "answered for")
    assert _answers(lab, FREE) == []
    node.sh(f"sysctl -q net.ipv4.conf.{UPLINK}.proxy_arp_pvlan=1")
    try:
        assert _answers(lab, FREE), "the control: proxy_arp_pvlan would"
    finally:
        node.sh(f"sysctl -q net.ipv4.conf.{UPLINK}.proxy_arp_pvlan=0")


def test_what_a_stranger_holds_is_no_guests(lab: Lab, guests: Guests) -> None:
    node = lab.node("pve2")
    mac = _client_mac(lab)
    guests.attached(node, 201, f"{HOST}/32")
    said = _start(node, 201)
    assert not said.ok
    assert f"may not have {HOST}: {mac} on {UPLINK} answers ARP for it" in said.output
    guests.attached(node, 202, f"{ROUTER}/32")
    said = _start(node, 202)
    assert not said.ok, "the gateway"
    assert "OSPF router" in said.output or "next hop" in said.output, "known without asking"
    guests.attached(node, 203, f"{FREE}/32")
    assert _start(node, 203).ok, "the control: nobody has this one"
    poll(lambda: set(_answers(lab, FREE)) == {_mac(node)}, 5, "taken")


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "pve-ospf sync"])
def test_what_is_plugged_in_while_it_runs_is_asked_for_too(lab: Lab, guests: Guests,
                                                          agent: bool) -> None:
    """Of the two the stranger's is refused, whoever does the sync, until the stranger goes."""
    node, last = lab.node("pve2"), 60 if agent else 61
    theirs, free = f"10.0.1.{last}", f"10.0.1.{last + 10}"
    lab.client.ip(f"addr add {theirs}/24 dev eth0")
    guests.attached(node, 204, "198.51.100.4/32")
    node.pct("start", 204)
    conf = "/etc/pve/nodes/pve2/lxc/204.conf"
    if not agent:
        service.stop(node)
    try:
        for address in (theirs, free):
            node.write(conf, re.sub(r"ip=[^,\n]*", f"ip={address}/32", node.read(conf)))
            said = "" if agent else node.run(["pve-ospf", "sync"], check=False).output
            if address == theirs:
                told = f"may not have {theirs}"
                if agent:
                    poll(partial(_told, node, told), 5, "refused")
                    assert _looks_free(lab, theirs), "nor defended against its holder"
                else:
                    assert told in said
                assert theirs not in node.sh("ip neigh show proxy; ip route show proto 205")
                assert set(_answers(lab, theirs)) <= {_client_mac(lab)}
        poll(lambda: free in node.sh("ip neigh show proxy"), 5, "the control: a free one is taken")
    finally:
        lab.client.ip(f"addr del {theirs}/24 dev eth0")
        if not agent:
            service.start(node)


def test_an_uplink_that_is_down_holds_up_nobody_else(lab: Lab, guests: Guests) -> None:
    """What cannot be asked is not taken yet; other guests are announced, and it is taken later."""
    node = lab.node("pve2")
    node.sh("ip link add lab0 type veth peer name lab1; ip addr add 10.77.0.1/24 dev lab0;"
            "ip link set lab1 up")
    config = node.read("/etc/pve/pve-ospf.yaml")
    node.write("/etc/pve/pve-ospf.yaml", config + f"uplinks: [{UPLINK}, lab0]\n")
    try:
        guests.attached(node, 205, "10.77.0.5/32")
        guests.attached(node, 206, "198.51.100.6/32")
        node.pct("start", 205)
        node.pct("start", 206)
        poll(lambda: known_to(lab.node("pve3"), "198.51.100.6"), 10, "the other is announced")
        assert "10.77.0.5" in node.sh("ip route show proto 205")
        assert "10.77.0.5" not in node.sh("ip neigh show proxy")
        node.ip("link set lab0 up")
        poll(lambda: "10.77.0.5" in node.sh("ip neigh show proxy"), 5, "asked for, and taken")
    finally:
        node.write("/etc/pve/pve-ospf.yaml", config)
        node.sh("ip link del lab0")


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
    poll(lambda: _answers(lab, GUEST), 10, "answered for")
    assert _probe(lab.node("pve2"), GUEST, nodes="10.0.1.11")[1] == {}
    assert _probe(lab.node("pve2"), GUEST)[1] == {GUEST: _mac(lab.node("pve1"))}, (
        "the control: not knowing the node, it is one")


def test_answers_do_not_wait_long_behind_a_look(lab: Lab, capsys: pytest.CaptureFixture[str],
                                                guests: Guests) -> None:
    """While the agent that answers syncs again and again."""
    one = lab.node("pve1")
    _at(lab, "pve3")
    for number in range(10):
        guests.attached(one, 210 + number, f"198.51.100.{20 + number}/32")
        one.pct("start", 210 + number)
    poll(lambda: _answers(lab, GUEST), 10, "answered for")
    busy = one.popen(["sh", "-c", "while :; do touch /etc/pve/pve-ospf.yaml; sleep 0.05; done"])
    try:
        said = lab.client.sh("for n in $(seq 20); do arping -b -c 1 -w 2 -I eth0 " + GUEST
                             + "; done", check=False)
    finally:
        kill_group(busy)
    took = sorted(float(ms) for ms in re.findall(r"([0-9.]+)ms", said))
    with capsys.disabled():
        print(f"\nARP answered while the agent looks: median {took[len(took) // 2]:.1f} ms, "
              f"at most {took[-1]:.1f} ms")
    assert len(took) == 20
    assert took[-1] < 500


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
    _at(lab, "pve1")
    node = lab.node("pve1")
    poll(lambda: not _silenced(node), 10, "at home nothing is silenced")
    for each in (node, lab.node("pve2")):
        each.sh(REDIRECTS)
    _at(lab, "pve3")
    poll(lambda: _sends_redirects(node) == "0 0", 10, "silenced")
    lab.client.sh("ip route flush cache; ip neigh flush dev eth0")
    poll(lambda: lab.client.ping(GUEST), 10, "reached")
    assert _mac(node) in lab.client.sh(f"ip neigh show {GUEST}"), "by pve1"
    before = _redirects(lab)
    for _ in range(3):
        assert lab.client.ping(GUEST)
    assert _redirects(lab) == before
    _at(lab, "pve1")
    poll(lambda: _sends_redirects(node) == "1 1", 10, "as it was")
    poll(lambda: not _silenced(node), 5, "and forgotten")
    _at(lab, "pve3")
    poll(lambda: _sends_redirects(node) == "0 0", 10, "silenced again")
    poll(lambda: lab.client.ping(GUEST), 10, "reached")
    node.sh(REDIRECTS)
    poll(lambda: lab.client.ping(GUEST) and _redirects(lab) > before, 5,
         "the control: with redirects on, one is sent")
    lab.client.sh("ip route flush cache; ip neigh flush dev eth0")


def test_home_again_on_another_node_that_one_answers_at_once(lab: Lab) -> None:
    """Nor does pve2 take pve1, which answers still, for a stranger."""
    _at(lab, "pve3")
    poll(lambda: lab.client.ping(GUEST), 10, "reached while away")
    two = _at(lab, "pve2")
    poll(lambda: _mac(two) in lab.client.sh(f"ip neigh show {GUEST}"), 5,
         "the host's cache follows, told by gratuitous ARP")
    poll(lambda: lab.client.ping(GUEST), 5, "reached at home")
    assert set(_answers(lab, GUEST)) == {_mac(two)}


@pytest.mark.loses_adjacency
def test_when_the_node_that_answers_goes_another_takes_over(
        lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    _at(lab, "pve3")
    one, two = lab.node("pve1"), lab.node("pve2")
    lab.client.sh("ip neigh flush dev eth0")
    poll(lambda: lab.client.ping(GUEST), 10, "reached")
    assert _mac(one) in lab.client.sh(f"ip neigh show {GUEST}"), "by pve1"
    begun = time.monotonic()
    one.ip("link set eth0 down")
    assert not lab.client.ping(GUEST, timeout=0.2), "the control: it went by pve1"
    poll(lambda: lab.client.ping(GUEST, timeout=0.2), 10, "pve2 takes over")
    took = time.monotonic() - begun
    with capsys.disabled():
        print(f"\ntaken over after {took:.1f} s (dead interval 3 s)")
    assert took < 6
    assert _answers(lab, GUEST) == [_mac(two)] * 2
