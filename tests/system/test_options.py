"""What administrators set: authentication, BFD, transit. On a node with two uplinks.

          ┌─ net1 ── vmbr0 ┐
    r1 ───┤                ├ pve1
    │     └─ net12         │
    r2 ────── net2 ── eth1 ┘        client net 10.9.0.0/24 behind r2

From r1 to that net the way by r2's net12 costs 1000, and by pve1 20.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.poll import poll
from tests.lab.process import Result, kill_group

CONFIG = "/etc/pve/pve-ospf.yaml"
KEYS = "/etc/pve/priv/pve-ospf.yaml"
ALLOW = "allow: [198.51.100.0/24]\n"
OLD, NEW = "old-s3cret", "new-s3cret"

WATCH = """
import glob, sys
seen = set()
print("watching", flush=True)
while True:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            line = open(path, "rb").read()
        except OSError:
            continue
        if b"s3cret" in line and line not in seen:
            seen.add(line)
            print(line, flush=True)
"""


def _suite(name: str, *marks: pytest.MarkDecorator) -> Any:
    return pytest.param(name, marks=[pytest.mark.xdist_group(f"options-{name}"), *marks])


with_hmac = pytest.mark.parametrize("lab", [_suite("trixie")], scope="module", indirect=True)
"""FRR 8.4 has no HMAC-SHA: test_hmac_sha_is_refused_where_frr_lacks_it."""
without_hmac = pytest.mark.parametrize("lab", [_suite("bookworm")], scope="module", indirect=True)


@pytest.fixture(scope="module",
                params=[_suite("bookworm"), _suite("trixie", pytest.mark.soak)])
def lab(request: pytest.FixtureRequest, deb: Path) -> Iterator[Lab]:
    lab = Lab(deb=deb, suite=request.param)
    net1, net2, net12, net9 = map(lab.add_lan, ("net1", "net2", "net12", "net9"))
    r1, r2 = lab.add_router("r1"), lab.add_router("r2")
    r1.plug("eth0", net1, "10.0.1.1/24")
    r1.plug("eth1", net12, "10.0.12.1/24")
    r1.ospf("10.0.1.1", {"eth0": 10, "eth1": 1000})
    r2.plug("eth0", net2, "10.0.2.2/24")
    r2.plug("eth1", net12, "10.0.12.2/24")
    r2.plug("eth2", net9, "10.9.0.1/24")
    r2.ospf("10.0.2.2", {"eth0": 10, "eth1": 1000, "eth2": 10})
    pve1 = lab.add_node("pve1", "10.0.1.11")
    pve1.plug("eth0", net1)
    pve1.plug("eth1", net2, "10.0.2.11/24")
    pve1.bridge("vmbr0", "10.0.1.11/24", ports=["eth0"])
    pve1.bridge("vmbr1")
    with lab:
        pve1.write(CONFIG, ALLOW)
        _apply(pve1)
        poll(lambda: pve1.full(2), 60, "both routers are Full")
        yield lab


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    """The node with the plain configuration, and so are the routers."""
    node = lab.node("pve1")
    yield node
    node.write(CONFIG, ALLOW)
    _apply(node, "--force")
    poll(lambda: node.full(2), 60, "both routers are Full")


def _apply(node: Node, *words: str, code: int = 0) -> Result:
    done = node.run(["pve-ospf", "apply", *words], check=False, timeout=150)
    assert done.returncode == code, done.output
    return done


@contextmanager
def _command_lines(node: Node) -> Iterator[list[str]]:
    """Every command line on the node that shows a key, filled in at the end."""
    watcher = node.popen(["nice", "-n", "-5", "python3", "-c", WATCH])
    assert watcher.stdout
    found: list[str] = []
    try:
        assert watcher.stdout.readline() == "watching\n"
        yield found
    finally:
        kill_group(watcher)
        # The watcher's own names the word it looks for.
        found += [line for line in watcher.stdout if "import glob" not in line]


def _set_key(node: Node, kind: str, key: str) -> None:
    node.write(KEYS, f"lan: {{type: {kind}, id: 3, key: {key}}}\n", 0o600)


def _router_key(lab: Lab, kind: str, key: str | None) -> None:
    """The key on r1's side, or none again."""
    if key is None:
        said = ["no ip ospf authentication", "no ip ospf message-digest-key 3"]
        if kind != "md5":
            said = ["no ip ospf authentication key-chain lan", "no key chain lan"]
    elif kind == "md5":
        said = ["no ip ospf message-digest-key 3", "ip ospf authentication message-digest",
                f"ip ospf message-digest-key 3 md5 {key}"]
    else:
        said = ["ip ospf authentication key-chain lan", "exit", "key chain lan", "key 3",
                f"key-string {key}", f"cryptographic-algorithm {kind}"]
    router = lab.router("r1")
    router.write("/root/key", "\n".join(["interface eth0", *said, ""]))
    # It takes away a key that may not be there, which is an error, and goes on.
    router.run(["vtysh", "-f", "/root/key"], check=False)


@pytest.mark.loses_adjacency
def test_authentication_by_md5(lab: Lab, node: Node) -> None:
    _authenticated(lab, node, "md5")


@with_hmac
@pytest.mark.loses_adjacency
def test_authentication_by_hmac_sha(lab: Lab, node: Node) -> None:
    _authenticated(lab, node, "hmac-sha-256")


def _authenticated(lab: Lab, node: Node, kind: str) -> None:
    with_key = (f"{ALLOW}uplinks: [{{name: vmbr0, authentication: lan}}, eth1]\n")
    said = []
    with _command_lines(node) as shown:
        node.write(CONFIG, with_key)
        _set_key(node, kind, OLD)
        # Without the router's, the neighbour is lost, and everything goes back.
        said.append(_apply(node, code=1).output)
        assert "everything is as it was" in said[-1]
        poll(lambda: node.full(2), 30, "Full again, without a key")
        _router_key(lab, kind, OLD)
        poll(lambda: node.full(1), 30, "lost")
        said.append(_apply(node, "--dry-run").output)
        said.append(_apply(node).output)
        poll(lambda: node.full(2), 30, "Full with the key")
        # The control: a wrong key is told from the right one.
        _set_key(node, kind, NEW)
        said.append(_apply(node, code=1).output)
        poll(lambda: node.full(2), 30, "Full with the old key")
        _router_key(lab, kind, NEW)
        poll(lambda: node.full(1), 30, "lost")
        said.append(_apply(node).output)
        poll(lambda: node.full(2), 30, "Full with the new key")
        for command in ("check", "generate", "generate --router"):
            said.append(node.run(["pve-ospf", *command.split()], check=False).output)
        assert "****" in said[-2] and "****" in said[-1]
        node.write(CONFIG, ALLOW)
        _router_key(lab, kind, None)
        poll(lambda: node.full(1), 30, "lost")
        said.append(_apply(node).output)
        poll(lambda: node.full(2), 30, "Full without a key")
    assert not [line for text in said for line in text.splitlines() if "s3cret" in line]
    assert shown == []
    assert node.sh("grep -rls s3cret /var/log /run/pve-ospf || :") == ""
    assert node.sh("find /var/lib/pve-ospf -type f -perm /077 "
                   "-exec grep -ls s3cret {} + || :") == ""
    assert "s3cret" not in node.vtysh("show running-config")


def test_a_key_among_a_commands_arguments_would_be_seen(lab: Lab) -> None:
    """The control of the watch: this is what frr-reload does when it takes a key away."""
    node = lab.node("pve1")
    with _command_lines(node) as shown:
        node.run(["vtysh", "-c", "configure terminal", "-c", "interface vmbr0",
                  "-c", "no ip ospf message-digest-key 9 md5 s3cret"], check=False)
    assert any("message-digest-key" in line for line in shown)


def test_keys_that_others_may_read_are_refused(node: Node) -> None:
    node.write(CONFIG, f"{ALLOW}authentication: lan\n")
    node.write(KEYS, "lan: {type: md5, id: 3, key: s3cret}\n", 0o640)
    refused = _apply(node, code=2)
    assert "others than root may read it" in refused.stderr and "s3cret" not in refused.output
    node.run(["rm", KEYS])
    assert "there is no key 'lan'" in _apply(node, code=1).stderr


@without_hmac
def test_hmac_sha_is_refused_where_frr_lacks_it(node: Node) -> None:
    node.write(CONFIG, f"{ALLOW}authentication: lan\n")
    _set_key(node, "hmac-sha-256", OLD)
    assert "hmac-sha-256 needs FRR 9.1, here is 8.4.4" in _apply(node, code=1).stderr


def _through_node(lab: Lab) -> bool:
    """Whether r1 goes to the net behind r2 by the node."""
    hops = lab.router("r1").routes("exact", "10.9.0.0/24")
    return bool(hops) and hops[0].get("gateway") == "10.0.1.11"


@pytest.mark.loses_adjacency
def test_strangers_do_not_cross_a_node_with_two_uplinks(lab: Lab, node: Node) -> None:
    poll(lambda: lab.router("r1").routes("exact", "10.9.0.0/24"), 30, "r1 knows the net")
    assert not _through_node(lab)
    # With costs to choose by, the node still prefers its cheaper uplink.
    node.write(CONFIG, f"{ALLOW}uplinks: [vmbr0, {{name: eth1, cost: 20}}]\n")
    _apply(node)
    poll(lambda: node.routes("exact", "10.9.0.0/24")[0].get("gateway") == "10.0.2.2", 30,
         "the node's own way is the shorter one")
    assert not _through_node(lab)
    node.write(CONFIG, f"{ALLOW}transit: true\n")
    _apply(node)
    poll(lambda: _through_node(lab), 30, "with transit, r1 goes by the node")
    node.write(CONFIG, ALLOW)
    _apply(node)
    poll(lambda: not _through_node(lab), 30, "and without, by r2")


@pytest.mark.loses_adjacency
def test_bfd(lab: Lab, node: Node) -> None:
    router = lab.router("r1")
    router.write_frr(router.configuration + "interface eth0\n ip ospf bfd\n!\n",
                     ("ospfd", "bfdd"))
    router.frr_restart()
    poll(lambda: node.full(2), 60, "both routers are Full")
    node.write(CONFIG, f"{ALLOW}uplinks: [{{name: vmbr0, bfd: true}}, eth1]\n")
    assert "bfdd does not run" in _apply(node, code=1).stderr
    _apply(node, "--force")
    poll(lambda: node.full(2), 60, "both routers are Full")

    def peers() -> list[tuple[str, str]]:
        return [(peer["peer"], peer["status"])
                for peer in json.loads(node.vtysh("show bfd peers json") or "[]")]

    poll(lambda: peers() == [("10.0.1.1", "up")], 30, "BFD watches the neighbour")
    assert "Nothing to change" in _apply(node).stdout


@pytest.mark.loses_adjacency
@pytest.mark.parametrize(("there", "back", "expected"), [
    (["ip ospf hello-interval 5", "ip ospf dead-interval 20"],
     ["ip ospf hello-interval 1", "ip ospf dead-interval 3"],
     "the dead-interval is 20 s there, 3 s here, the hello-interval is 5 s there, 1 s here"),
    (["no ip ospf area", "ip ospf area 1"], ["no ip ospf area", "ip ospf area 0"],
     "the area is 0.0.0.1 there, 0.0.0.0 here"),
    (["ip ospf authentication"], ["no ip ospf authentication"],
     "the authentication is a plain password there, none here")],
    ids=["intervals", "area", "authentication"])
def test_what_a_router_says_otherwise_is_named(lab: Lab, node: Node, there: list[str],
                                               back: list[str], expected: str) -> None:
    router = lab.router("r1")
    router.vtysh("configure terminal", "interface eth0", *there)
    try:
        poll(lambda: node.full(1), 30, "lost")
        assert expected in _message(node, "no-neighbour")
    finally:
        router.vtysh("configure terminal", "interface eth0", *back)


@pytest.mark.loses_adjacency
def test_another_mtu_is_named(lab: Lab, node: Node) -> None:
    router = lab.router("r1")
    router.ip("link set eth0 mtu 1400")
    router.vtysh("clear ip ospf process")
    try:
        poll(lambda: node.neighbours().get("10.0.1.1", [""])[0].startswith("Ex"), 60, "stuck")
        assert "the MTU is 1400 there, 1500 here" in _message(node, "neighbour-state")
    finally:
        router.ip("link set eth0 mtu 1500")
        router.vtysh("clear ip ospf process")


def _message(node: Node, code: str) -> str:
    """What check says of that finding."""
    said = node.run(["pve-ospf", "check", "--json"], check=False, timeout=60)
    return next((f["message"] for f in json.loads(said.stdout)["findings"]
                 if f["code"] == code), "")
