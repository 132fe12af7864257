"""apply and its undoing, on a node with one router, for every release."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.lab import topology
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result, kill_group
from tests.system.standing import known_to

ALLOW = "allow: [198.51.100.0/24, 203.0.113.0/24]\n"
CONFIG = "/etc/pve/pve-ospf.yaml"
CONF = "/etc/frr/frr.conf"
GUEST = "198.51.100.7"
DEAD = 3


def _release(suite: str, *marks: pytest.MarkDecorator) -> ParameterSet:
    # One after the other: the first test needs a fresh node, the last leaves none to use.
    return pytest.param(suite, marks=[pytest.mark.xdist_group(f"apply-{suite}"), *marks])


ON_ONE_RELEASE = pytest.mark.parametrize("lab", [_release("bookworm")],
                                         scope="module", indirect=True)
"""For what does not depend on FRR's version."""


@pytest.fixture(scope="module", params=[_release("bookworm"), _release("trixie", pytest.mark.soak),
                                        _release("sid", pytest.mark.soak)])
def lab(request: pytest.FixtureRequest, deb: Path) -> Iterator[Lab]:
    lab = topology.one_lan(1, deb=deb, suite=request.param, router_suite="bookworm")
    with lab:
        lab.node("pve1").write(CONFIG, ALLOW)
        yield lab


@pytest.fixture(scope="module")
def fresh(lab: Lab) -> Node:
    """The node as it comes: FRR runs without ospfd."""
    return lab.node("pve1")


def test_a_restart_that_loses_what_stands_in_no_file_is_refused(fresh: Node) -> None:
    fresh.vtysh("configure terminal", "ip route 10.77.0.0/16 10.0.1.1",
                "interface vmbr0", "description by hand")
    try:
        said = _refused(fresh).stderr
        assert "ip route 10.77.0.0/16 10.0.1.1" in said and "description by hand" in said
        assert "hostname" not in said and "forwarding" not in said
        dry = _apply(fresh, "--dry-run", "--force")
        assert "lost by the restart (--force): ip route 10.77.0.0/16" in dry.stdout
    finally:
        fresh.vtysh("configure terminal", "no ip route 10.77.0.0/16 10.0.1.1",
                    "interface vmbr0", "no description")


@pytest.fixture(scope="module")
def applied(lab: Lab, fresh: Node) -> Node:
    """The node after its first apply."""
    fresh.sh("rm -rf /tmp/pristine; cp -a /etc/frr /tmp/pristine")
    _apply(fresh)
    return fresh


@pytest.fixture
def node(applied: Node) -> Node:
    """The node with the plain configuration applied and its neighbour Full."""
    applied.write(CONFIG, ALLOW)
    _apply(applied, "--force")
    poll(lambda: applied.full(1), 40, "the neighbour is Full")
    return applied


def _apply(node: Node, *words: str, code: int = 0) -> Result:
    done = node.run(["pve-ospf", "apply", *words], check=False, timeout=120)
    assert done.returncode == code, done.output
    return done


def _everything(node: Node) -> str:
    """FRR's files with owner, mode and time, what we remember of them, and what runs."""
    said = node.sh("cd /; find etc/frr var/lib/pve-ospf -type f ! -name 'routers*' "
                   "-printf '%p %u %g %m %T@\\n' "
                   "-exec sha256sum {} + 2>/dev/null | sort || :")
    return said + node.vtysh("show running-config")


def _refused(node: Node, *words: str, code: int = 1) -> Result:
    """apply that ends with `code` and has changed nothing."""
    before = _everything(node)
    done = _apply(node, *words, code=code)
    assert _everything(node) == before
    assert done.stderr.startswith("pve-ospf: "), done.stderr
    return done


@pytest.fixture
def guest(lab: Lab, node: Node) -> Iterator[str]:
    """A guest's route, known to the router; of no protocol of ours, as sync, which apply calls,
    takes away what belongs to no guest. FRR 10 announces nothing on a bridge without carrier,
    which one without ports is."""
    node.ip("link add veth199i0 type veth peer name far199", "link set far199 up",
            "link set veth199i0 master vmbr1 up")
    node.sh(f"ip addr replace 169.254.1.1/32 dev vmbr1; ip route replace {GUEST}/32 dev vmbr1")
    poll(lambda: known_to(lab.router("r1"), GUEST), 15, "the router knows the guest")
    yield GUEST
    node.sh(f"ip route del {GUEST}/32 || :; ip link del veth199i0")


# -- the first time ---------------------------------------------------------------------------


def test_dry_run_on_a_fresh_node_changes_nothing(fresh: Node) -> None:
    before = _everything(fresh)
    done = _apply(fresh, "--dry-run")
    assert _everything(fresh) == before
    assert "+router ospf" in done.stdout and "+ospfd=yes" in done.stdout
    assert "Listening for routers on vmbr0." in done.stdout
    assert "will be no neighbour" not in done.stdout and "No router" not in done.stdout


def test_the_first_apply_starts_ospfd_and_keeps_every_other_byte(applied: Node) -> None:
    poll(lambda: applied.full(1), 40, "the neighbour is Full")
    text = applied.read(CONF)
    theirs, _, ours = text.partition("! pve-ospf begin")
    assert theirs == applied.read("/tmp/pristine/frr.conf")
    assert ours.endswith("! pve-ospf end\n")
    assert applied.sh(f"stat -c '%U:%G %a' {CONF}") == "frr:frr 640"
    was, now = (applied.read(f"{d}/daemons").splitlines() for d in ("/tmp/pristine", "/etc/frr"))
    assert [(a, b) for a, b in zip(was, now, strict=True) if a != b] == [("ospfd=no", "ospfd=yes")]


def test_applying_twice_changes_nothing(node: Node) -> None:
    before = _everything(node)
    assert "Nothing to change" in _apply(node).stdout
    assert _everything(node) == before


def test_ipv6_forwarding_stays_off(node: Node) -> None:
    """frr-reload of frr.conf switches it on (8.4.4, 10.3), and the kernel then drops the
    default routes it has learnt."""
    node.sh("sysctl -qw net.ipv6.conf.all.forwarding=0")
    node.write(CONFIG, ALLOW + "guest-bridges: [vmbr1, vmbr7]\n")
    _apply(node)
    assert node.sh("sysctl -n net.ipv6.conf.all.forwarding") == "0"


# -- the administrator's part ---------------------------------------------------------------------


MINE = """\
! mine
log syslog informational
interface vmbr0
 description the way out
 ip ospf cost 7
exit
!
ip prefix-list mine seq 5 permit any
router ospf
 log-adjacency-changes detail
"""


@pytest.fixture
def mine(node: Node) -> Iterator[Node]:
    """The administrator has written statements of his own, and FRR follows them."""
    before = node.read(CONF)
    block = before[before.index("! pve-ospf begin"):]
    node.write(CONF, MINE + block)
    node.run(["/usr/lib/frr/frr-reload.py", "--reload", CONF])
    assert "ip ospf cost 7" in node.vtysh("show running-config")
    yield node
    # frr-reload of 10.3 fails where it finds an interface that the file does not have.
    node.vtysh("configure terminal", "interface vmbr1", "no description")
    node.write(CONF, before)
    node.run(["/usr/lib/frr/frr-reload.py", "--reload", CONF], check=False)


def test_his_statements_stay_in_the_file_and_at_run_time(mine: Node) -> None:
    mine.write(CONFIG, ALLOW + "hello-interval: 1\nguest-bridges: [vmbr1, vmbr0]\n")
    mine.vtysh("configure terminal", "interface vmbr1", "description given at run time")
    _apply(mine)
    assert mine.read(CONF).startswith(MINE + "! pve-ospf begin")
    running = mine.vtysh("show running-config")
    for line in ("ip ospf cost 7", "log-adjacency-changes detail", "description the way out",
                 "description given at run time", "ip prefix-list mine seq 5 permit any"):
        assert line in running


def test_after_write_memory_nothing_is_doubled(mine: Node) -> None:
    _apply(mine)
    mine.vtysh("write memory")
    assert "pve-ospf begin" not in mine.read(CONF)
    _apply(mine)
    text = mine.read(CONF)
    for statement in ("redistribute kernel", "ip ospf area", "ip ospf hello-interval",
                      "zebra work-queue", "ospf router-id"):
        assert text.count(statement) == 1, text
    assert "ip ospf cost 7" in text and "log-adjacency-changes detail" in text
    assert "Nothing to change" in _apply(mine).stdout


@ON_ONE_RELEASE
@pytest.mark.parametrize(("lines", "named"), [
    ("router ospf\n ospf router-id 10.9.9.9\n", "ospf router-id 10.9.9.9"),
    ("router ospf\n passive-interface default\n", "passive-interface default"),
    ("router ospf\n network 0.0.0.0/0 area 0\n", "network 0.0.0.0/0 area 0"),
    ("interface vmbr0\n ip ospf hello-interval 10\n", "ip ospf hello-interval 10"),
])
def test_contradicting_lines_are_named(node: Node, lines: str, named: str) -> None:
    before = node.read(CONF)
    node.write(CONF, lines + before)
    done = _refused(node, "--force")
    assert f"{CONF}:2: {named}" in done.stderr
    node.write(CONF, before)


@ON_ONE_RELEASE
def test_what_would_take_away_his_lines_is_refused(mine: Node) -> None:
    """By a frr-reload that has its own ways, as real ones have had."""
    mine.write(CONFIG, "allow: [203.0.113.0/24]\n")
    script = mine.read("/usr/lib/frr/frr-reload.py")
    mine.write("/usr/lib/frr/frr-reload.py",
               "#!/bin/sh\n/usr/lib/frr/real.py \"$@\" || exit\n"
               "case $* in *--test*) printf 'interface vmbr0\\n no ip ospf cost 7\\n';; esac\n",
               0o755)
    mine.write("/usr/lib/frr/real.py", script, 0o755)
    try:
        said = _refused(mine, "--force").stderr
    finally:
        mine.sh("mv /usr/lib/frr/real.py /usr/lib/frr/frr-reload.py")
    assert "lose 1 line" in said and "interface vmbr0: ip ospf cost 7" in said
    assert "ip ospf cost 7" in mine.vtysh("show running-config")
    _apply(mine)


@ON_ONE_RELEASE
def test_a_line_frr_does_not_know_is_named(node: Node) -> None:
    before = node.read(CONF)
    node.write(CONF, "hostnamme pve1\n" + before.replace("198.51.100.0/24", "198.51.101.0/24"))
    assert "hostnamme pve1" in _refused(node).stderr
    node.write(CONF, before)


@ON_ONE_RELEASE
@pytest.mark.parametrize(("path", "text"), [
    ("/etc/pve/sdn/controllers.cfg", "evpn: main\n\tasn 65000\n"),
    ("/etc/pve/sdn/fabrics.cfg", "openfabric_fabric: backbone\n"),
    ("/etc/frr/frr.conf.local", "!\n")])
def test_beside_sdns_routing_it_is_refused(node: Node, path: str, text: str) -> None:
    node.write(path, text)
    try:
        assert path in _refused(node, "--force").stderr
    finally:
        node.run(["rm", path])


# -- neighbours ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "key"), [
    ("hello-interval: 2\ndead-interval: 8\n", "dead-interval: 3"),
    ("area: 7\n", "area: 0.0.0.0"),
    ("uplinks: [vmbr5]\n", "uplinks: [vmbr0]")])
def test_what_would_lose_a_neighbour_is_refused(node: Node, change: str, key: str) -> None:
    node.ip("link add vmbr5 type bridge", "link add nic5 type veth peer name far5",
            "link set nic5 master vmbr5", "addr add 10.5.0.1/24 dev vmbr5")
    try:
        node.write(CONFIG, ALLOW + "router-id: 10.0.1.11\n" + change)
        done = _refused(node)
        assert "10.0.1.1 on vmbr0 would be lost" in done.stderr and key in done.stderr
        assert node.full(1)
    finally:
        node.sh("ip link del vmbr5; ip link del nic5")


@ON_ONE_RELEASE
def test_another_router_id_is_refused_and_forced(node: Node) -> None:
    node.write(CONFIG, ALLOW + "router-id: 10.0.0.99\n")
    assert "router id" in _refused(node).stderr
    _apply(node, "--force")
    assert node.vtysh_json("show ip ospf json")["routerId"] == "10.0.0.99"
    assert node.full(1)


@ON_ONE_RELEASE
@pytest.mark.loses_adjacency
def test_force_changes_the_timers_all_the_same(node: Node) -> None:
    node.write(CONFIG, ALLOW + "hello-interval: 2\ndead-interval: 8\n")
    assert "would be lost" in _apply(node, "--force").stdout
    assert " ip ospf dead-interval 8\n" in node.read(CONF)


@pytest.mark.loses_adjacency
def test_when_a_neighbour_does_not_come_back_all_is_as_before(node: Node) -> None:
    """A router id that the router itself has: no check can know, and no adjacency comes."""
    before = node.read(CONF), node.vtysh("show running-config").splitlines()
    node.write(CONFIG, ALLOW + "router-id: 10.0.1.1\n")
    done = _apply(node, "--force", code=1)
    assert "did not come back" in done.stderr and "as it was before" in done.stderr
    assert node.read(CONF) == before[0]
    assert node.vtysh("show running-config").splitlines() == before[1]
    assert node.vtysh_json("show ip ospf json")["routerId"] == "10.0.1.11"
    poll(lambda: node.full(1), 40, "the neighbour is Full again")


def test_a_guest_stays_announced_while_the_policy_changes(
        lab: Lab, node: Node, guest: str) -> None:
    watch = lab.router("r1").popen(["ip", "monitor", "route"])
    for yaml in ("allow: [198.51.100.0/23]\n", "allow: [198.51.100.0/25, 10.1.0.0/16]\n",
                 f"allow: [{guest}/32]\n", ALLOW,
                 ALLOW + "guest-bridges: [vmbr1, vmbr0]\n", ALLOW):
        node.write(CONFIG, yaml)
        _apply(node)
        assert known_to(lab.router("r1"), guest), yaml
    time.sleep(1)  # what the last change does comes within the LSA throttle of 0.1 s
    kill_group(watch)
    said = [line for line in watch.communicate()[0].splitlines() if guest in line]
    assert not said, said


def test_an_interface_of_ours_comes_and_goes(node: Node) -> None:
    """Left to itself frr-reload of 10.3 fails where an interface leaves the text and exists."""
    node.sh("ip link add vxlan9 type vxlan id 9 dstport 4789 local 10.0.1.11 remote 10.0.1.1;"
            "ip addr add 10.99.9.1/24 dev vxlan9; ip link set vxlan9 up")
    try:
        _apply(node)
        assert "interface vxlan9\n ip ospf passive\n" in node.vtysh("show running-config")
        node.write(CONFIG, ALLOW + "uplinks: [vmbr0]\ntunnels: {interfaces: [other]}\n")
        _apply(node)
        assert "vxlan9" not in node.vtysh("show running-config") + node.read(CONF)
        assert node.full(1)
    finally:
        node.sh("ip link del vxlan9")


def test_what_is_no_longer_allowed_is_withdrawn(lab: Lab, node: Node, guest: str) -> None:
    node.write(CONFIG, "allow: [203.0.113.0/24]\n")
    _apply(node)
    poll(lambda: not known_to(lab.router("r1"), guest), 5, "the guest is withdrawn")
    node.write(CONFIG, "allow: []\n")
    _apply(node)
    assert not known_to(lab.router("r1"), guest)


# -- when things go wrong -----------------------------------------------------------------------


@ON_ONE_RELEASE
@pytest.mark.loses_adjacency
def test_a_hanging_ospfd_is_cannot_tell(node: Node) -> None:
    before = node.sh(f"stat -c %Y {CONF}; sha256sum {CONF}")
    node.write(CONFIG, "allow: [203.0.113.0/24]\n")
    node.sh("kill -STOP $(cat /run/frr/ospfd.pid)")
    try:
        done = node.run(["pve-ospf", "apply"], check=False, timeout=60)
    finally:
        node.sh("kill -CONT $(cat /run/frr/ospfd.pid)")
    assert done.returncode == 3 and "no answer" in done.stderr, done.output
    assert node.sh(f"stat -c %Y {CONF}; sha256sum {CONF}") == before


@ON_ONE_RELEASE
def test_two_at_once(node: Node) -> None:
    node.write(CONFIG, "allow: [203.0.113.0/24]\n")
    first = node.popen(["pve-ospf", "apply"])
    second = node.run(["pve-ospf", "apply"], check=False, timeout=60)
    said = first.communicate(timeout=60)[0]
    ends = sorted([(first.returncode, said), (second.returncode, second.output)])
    assert ends[0][0] == 0, ends
    assert ends[1][0] == 0 or "another pve-ospf apply" in ends[1][1], ends


@ON_ONE_RELEASE
def test_killed_at_any_moment_a_whole_file_stays_and_the_next_apply_is_right(node: Node) -> None:
    texts = set()
    variants = ["allow: [198.51.100.0/24]\n", "allow: [203.0.113.0/24]\n"]
    for yaml in variants:
        node.write(CONFIG, yaml)
        _apply(node)
        texts.add(node.read(CONF))
    for turn in range(6):
        node.write(CONFIG, variants[turn % 2])
        running = node.popen(["pve-ospf", "apply"])
        time.sleep(random.uniform(0.2, 2.0))  # noqa: S311 (any moment will do)
        kill_group(running)
        assert node.read(CONF) in texts
    _apply(node)
    assert "Nothing to change" in _apply(node).stdout
    assert node.full(1)


# -- split, and away with it --------------------------------------------------------------------


@pytest.mark.loses_adjacency
def test_split_files(lab: Lab, node: Node) -> None:
    mine = "hostname pve1\n! mine\n"
    node.frr_stop()
    node.sh("rm -rf /var/lib/pve-ospf; cp -a /etc/frr /tmp/integrated; rm /etc/frr/frr.conf")
    for name in ("zebra", "ospfd"):
        node.write(f"/etc/frr/{name}.conf", mine, 0o640)
    node.sh("chown frr:frr /etc/frr/*.conf")
    node.frr_start()
    _apply(node)
    poll(lambda: node.full(1), 40, "the neighbour is Full")
    assert node.read("/etc/frr/ospfd.conf").startswith(mine + "! pve-ospf begin")
    assert "zebra work-queue 0" in node.read("/etc/frr/zebra.conf")
    assert "no service integrated-vtysh-config" in node.read("/etc/frr/vtysh.conf")
    assert "Nothing to change" in _apply(node).stdout
    node.frr_restart()
    poll(lambda: node.full(1), 40, "the neighbour is Full after a restart")
    assert "Nothing to change" in _apply(node).stdout
    node.vtysh("write memory")
    assert not node.exists(CONF)
    _apply(node)
    assert node.read("/etc/frr/ospfd.conf").count("redistribute kernel") == 1
    node.run(["pve-ospf", "cleanup"])
    assert "pve-ospf" not in node.read("/etc/frr/ospfd.conf") + node.read("/etc/frr/zebra.conf")
    assert node.read("/etc/frr/vtysh.conf") == node.read("/tmp/integrated/vtysh.conf")
    node.frr_stop()
    node.sh("rm -rf /etc/frr /var/lib/pve-ospf; mv /tmp/integrated /etc/frr")
    node.frr_start()


@pytest.mark.loses_adjacency
def test_cleanup_leaves_frrs_files_as_they_were(node: Node) -> None:
    """Last: it takes away what the others stand on."""
    text = node.read(CONF)
    node.write(CONF, "! written since\n" + text)
    node.sh("rm -rf /var/lib/pve-ospf")
    node.sh("sed -i s/^ospfd=yes/ospfd=no/ /etc/frr/daemons")
    daemons = node.read("/etc/frr/daemons")
    _apply(node)
    assert "ospfd=yes" in node.read("/etc/frr/daemons")
    node.run(["pve-ospf", "cleanup"])
    theirs = text[:text.index("! pve-ospf begin")]
    assert node.read(CONF) == "! written since\n" + theirs
    assert node.read("/etc/frr/daemons") == daemons
    assert not node.exists("/var/lib/pve-ospf/frr.json")
    poll(lambda: "router ospf" not in node.vtysh("show running-config"), 20, "FRR is without us")
    assert not node.exists("/run/frr/ospfd.pid") or not node.neighbours()
