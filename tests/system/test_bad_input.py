"""Bad input: a clear finding each; what serves goes on, nothing outside policy is routed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result
from tests.system.standing import ALLOW, WEB, known_to

CONFIG = "/etc/pve/pve-ospf.yaml"
MAC = "BC:24:11:00:00:66"


@pytest.fixture
def node(lab: Lab, serving: Node) -> Iterator[Node]:
    """pve1 with one announced guest, and a second one that runs unattached."""
    before = serving.read("/etc/pve/lxc/102.conf")
    yield serving
    serving.write("/etc/pve/lxc/102.conf", before, 0o640)
    serving.write(CONFIG, ALLOW)
    serving.run(["pve-ospf", "sync"])


def _sync(node: Node) -> Result:
    return node.run(["pve-ospf", "sync"], check=False)


def _routes(node: Node) -> list[str]:
    return sorted(str(r["dst"]) for r in node.routes("proto", "205"))


@pytest.mark.parametrize("text", [
    "", "allow: [198.51.100.0/24\n", "alow: []\n", "allow: 7\n", "allow: [198.51.100.7/24]\n",
    "allow: []\nnodes: {pve1: {area: x}}\n", "\x00\x00", "area: 0\n",
])
def test_a_wrong_configuration_is_exit_2_and_changes_nothing(node: Node, text: str) -> None:
    frr = node.read("/etc/frr/frr.conf")
    node.write(CONFIG, text)
    for command in ("sync", "apply", "check", "generate"):
        done = node.run(["pve-ospf", command], check=False)
        assert done.returncode == 2, done.output
        assert CONFIG in done.stderr.splitlines()[0]
    assert _routes(node) == [WEB]
    assert node.read("/etc/frr/frr.conf") == frr


def test_without_any_configuration_the_lines_to_add_are_shown(node: Node) -> None:
    node.run(["rm", CONFIG])
    for command in (["apply"], ["check"], ["attach", "102"]):
        done = node.run(["pve-ospf", *command], check=False)
        assert done.returncode == 2
        assert "allow:" in done.stderr
    assert _routes(node) == [WEB]


def _hostile(node: Node, text: str) -> None:
    """Overwrites the unattached guest's config with what a user could never type into PVE."""
    node.write("/etc/pve/lxc/102.conf", text, 0o640)


NET = f"net0: name=eth0,bridge=vmbr1,hwaddr={MAC},ip=%s,gw=169.254.1.1,type=veth\n"
OURS = "hookscript: local:snippets/pve-ospf\n"


@pytest.mark.parametrize("address", [
    "0.0.0.0/32", "0.0.0.0/0", "10.0.0.5/0", "127.0.0.1/32", "169.254.1.1/32", "224.0.0.5/32",
    "255.255.255.255/32", "10.0.1.11/32", "10.0.1.1/32", "10.0.13.3/32", "10.0.2.1/32",
    "10.255.0.1/32", "10.255.0.2/32", "10.0.1.255/32", "192.0.2.1/32", "10.9.0.1/24",
])
def test_absurd_addresses_are_never_routed(node: Node, lab: Lab, address: str) -> None:
    node.write(CONFIG, "allow: [0.0.0.0/0]\n" if address != "192.0.2.1/32"
               else "allow: [198.51.100.0/24]\n")
    _hostile(node, OURS + NET % address)
    done = _sync(node)
    assert done.returncode == 1, done.output
    assert "102" in done.stderr
    assert _routes(node) == [WEB]
    assert lab.client.ping(WEB)


@pytest.mark.parametrize("line", [
    "hostname: x\nroute-map pve-ospf permit 1\n!\n",
    "hostname: a!b\"c'd\n",
    "tags: prod;route-map pve-ospf permit 5;!\n",
    "tags: " + "x" * 20000 + "\n",
    "hostname: \x1b[31mred\n",
    "description: net0: name=eth0,ip=192.0.2.1/32\n",
])
def test_route_map_text_in_names_and_tags_reaches_nothing(node: Node, line: str) -> None:
    before = node.run(["pve-ospf", "generate"]).stdout
    _hostile(node, line + OURS + NET % "198.51.100.8/32")
    _sync(node)
    assert _routes(node) == [WEB, "198.51.100.8"]
    assert node.run(["pve-ospf", "generate"]).stdout == before
    assert "\x1b" not in node.run(["pve-ospf", "check"], check=False).output


@pytest.mark.parametrize(("text", "place"), [
    ("", "102.conf"),
    (OURS + "net0: rubbish\n", "102.conf:2"),
    (OURS + NET % "198.51.100.8/32" + "net1: name=eth1,bridge=vmbr1,frob=1\n", "102.conf:3"),
    ("hookscript: loc", "102.conf"),
    (OURS + (NET % "198.51.100.8/32").rstrip(), "102.conf"),
])
def test_a_half_written_guest_is_named_and_the_others_serve_on(
        node: Node, text: str, place: str) -> None:
    _hostile(node, OURS + NET % "198.51.100.8/32")
    _sync(node)
    assert _routes(node) == [WEB, "198.51.100.8"]
    _hostile(node, text)
    done = _sync(node)
    assert place in done.stderr
    assert _routes(node) == [WEB, "198.51.100.8"], "it runs: what it may hold is kept"


@pytest.mark.parametrize("how", ["gone", "dead"])
def test_etc_pve_absent_changes_nothing_and_is_exit_3(node: Node, lab: Lab, how: str) -> None:
    with node.pve_gone() if how == "gone" else node.pve_dead():
        for command in ("sync", "check", "apply", "generate", "attach 102", "sync --dry-run"):
            done = node.run(["pve-ospf", *command.split()], check=False)
            assert done.returncode == 3, done.output
            assert "/etc/pve" in done.output
            assert "Traceback" not in done.output
            assert how == "gone" or "Transport endpoint is not connected" in done.output
        for phase in ("pre-start", "post-start"):
            assert node.run(["/var/lib/vz/snippets/pve-ospf", 101, phase]).output == ""
        hook = node.run(["/var/lib/vz/snippets/pve-ospf", 101, "post-stop"], check=False)
        assert (hook.returncode, hook.output) == (0, "")
        assert _routes(node) == [WEB]
    assert lab.client.ping(WEB)


def test_a_changed_host_name_withdraws_nothing(node: Node) -> None:
    """The node's name is where /etc/pve/local leads."""
    node.run(["hostname", "renamed"])
    try:
        assert _sync(node).returncode == 0
        assert _routes(node) == [WEB]
    finally:
        node.run(["hostname", node.name])


@pytest.mark.parametrize("flushed", [False, True], ids=["", "address taken"])
def test_a_guest_bridge_that_gets_a_nic_gives_back_what_it_was_given(
        node: Node, flushed: bool) -> None:
    """With proxy_arp it would answer for the whole LAN behind the NIC, and have the same MAC
    there as other nodes. ifupdown2, which puts the NIC in, takes the address away."""
    node.bridge("vmbr5")
    node.ip("link add nic5 type veth peer name nic5far")
    try:
        _sync(node)
        assert "169.254.1.1" in node.sh("ip -4 addr show vmbr5")
        node.ip("link set nic5 master vmbr5", *(["addr flush dev vmbr5"] if flushed else []))
        _sync(node)
        assert "169.254.1.1" not in node.sh("ip -4 addr show vmbr5")
        assert node.sh("cat /proc/sys/net/ipv4/conf/vmbr5/proxy_arp") == "0"
        assert node.sh("cat /proc/sys/net/ipv4/neigh/vmbr5/proxy_delay") == "80"
        assert node.read("/sys/class/net/vmbr5/address") == node.read("/sys/class/net/nic5/address")
        node.write(CONFIG, "allow: [198.51.100.0/24]\nguest-bridges: [auto, vmbr5]\n"
                           "uplinks: [vmbr0]\n")
        _sync(node)
        assert "169.254.1.1" not in node.sh("ip -4 addr show vmbr5"), "not even by name"
        assert _sync(node).stdout == "", "the second does nothing"
    finally:
        node.ip("link del nic5", "link del vmbr5")


def test_etc_pve_read_only_hinders_nothing(node: Node) -> None:
    with node.pve_read_only():
        node.run(["ip", "route", "del", WEB])
        assert _sync(node).returncode == 0
        assert _routes(node) == [WEB]


@pytest.mark.loses_adjacency
def test_frr_stopped_withdraws_nothing_and_check_cannot_tell(node: Node, lab: Lab) -> None:
    node.frr_stop()
    try:
        assert _sync(node).returncode == 0
        assert _routes(node) == [WEB]
        done = node.run(["pve-ospf", "check"], check=False)
        assert done.returncode == 3, done.output
    finally:
        node.frr_start()
    poll(lambda: known_to(lab.router("r3"), WEB), 30, "announced when FRR is back")


def test_a_bridge_that_does_not_exist(node: Node) -> None:
    _hostile(node, OURS + (NET % "198.51.100.8/32").replace("vmbr1", "vmbr77"))
    done = _sync(node)
    assert done.returncode == 1
    assert "vmbr77, which does not exist" in done.stderr
    assert _routes(node) == [WEB]


def test_a_bridge_with_a_name_of_15_characters(node: Node, lab: Lab) -> None:
    name = "guestbridge0015"
    node.bridge(name)
    try:
        _hostile(node, OURS + (NET % "198.51.100.8/32").replace("vmbr1", name))
        node.run(["pve-ospf", "apply"], timeout=120)
        assert _sync(node).returncode == 0
        poll(lambda: known_to(lab.router("r3"), "198.51.100.8"), 10, "announced from there")
    finally:
        node.ip(f"link del {name}")
        node.run(["pve-ospf", "apply"], timeout=120)


def test_a_guest_on_the_uplinks_bridge_is_named_with_the_way_out(node: Node) -> None:
    _hostile(node, OURS + (NET % "198.51.100.8/32").replace("vmbr1", "vmbr0"))
    done = _sync(node)
    assert "guest-bridges: [auto, vmbr0]" in done.stderr
    assert _routes(node) == [WEB]
    node.write(CONFIG, "allow: [198.51.100.0/24]\nguest-bridges: [auto, vmbr0]\n")
    _sync(node)
    assert _routes(node) == [WEB, "198.51.100.8"]
    assert node.sh("cat /proc/sys/net/ipv4/conf/vmbr0/proxy_arp") == "0"
    assert "169.254" not in node.sh("ip -4 addr show vmbr0")
