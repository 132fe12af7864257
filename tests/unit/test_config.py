"""pve-ospf.yaml: what may be written, and the one line that answers a mistake."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from pve_ospf.config import Allow, Config, NameList, Speaking, Tunnels, parse
from pve_ospf.errors import ConfigError

PREFIX = "allow: [198.51.100.0/24]\n"


def _parse(text: str, node: str = "pve1") -> Config:
    return parse(text, "/etc/pve/pve-ospf.yaml", node)


def test_allow_alone_is_enough() -> None:
    assert _parse(PREFIX) == Config(allow=(Allow(IPv4Network("198.51.100.0/24")),))


def test_every_key() -> None:
    config = _parse("""
allow: [198.51.100.0/24, {prefix: 203.0.113.0/28, guests: [101], bridges: [vmbr1]}]
area: 7
router-id: 10.0.0.1
uplinks: [vmbr0, eno1]
hello-interval: 2
dead-interval: 8
cost: 20
network: point-to-point
bfd: true
authentication: lan
transit: true
guest-bridges: [auto, vmbr0]
tunnels: {policy: high-cost, cost: 5000, interfaces: [auto, wg*]}
""")
    assert config == Config(
        allow=(Allow(IPv4Network("198.51.100.0/24")),
               Allow(IPv4Network("203.0.113.0/28"), frozenset({101}), frozenset({"vmbr1"}))),
        area=IPv4Address(7), router_id=IPv4Address("10.0.0.1"),
        uplinks=NameList(False, ("vmbr0", "eno1")),
        speaking=Speaking(2, 8, None, 20, "point-to-point", True, "lan"), transit=True,
        guest_bridges=NameList(True, ("vmbr0",)),
        tunnels=Tunnels("high-cost", 5000, NameList(True, ("wg*",))))


def test_a_node_overrides_only_itself() -> None:
    text = PREFIX + "area: 1\nnodes: {pve1: {area: 0.0.0.2, router-id: 10.0.0.1}}\n"
    assert _parse(text, "pve1").area == IPv4Address(2)
    assert _parse(text, "pve2").area == IPv4Address(1)
    assert _parse(text, "pve2").router_id is None


def test_an_uplink_has_its_own_and_of_the_rest_the_default() -> None:
    config = _parse(PREFIX + """
uplinks: [vmbr0, {name: eno1, cost: 7, authentication: none}, {name: eno2, dead-interval: 9}]
minimal-hellos: 4
authentication: lan
bfd: true
nodes: {pve2: {bfd: false}}
""")
    default = Speaking(minimal_hellos=4, bfd=True, authentication="lan")
    assert config.uplinks == NameList(False, ("vmbr0", "eno1", "eno2"))
    assert config.speaking_on("vmbr0") == config.speaking == default
    assert config.speaking_on("eno1") == Speaking(minimal_hellos=4, cost=7, bfd=True)
    # Written nearer than the default: intervals take the place of minimal-hellos.
    assert config.speaking_on("eno2") == Speaking(dead_interval=9, bfd=True, authentication="lan")


def test_a_nodes_default_reaches_the_uplinks_of_the_whole_cluster() -> None:
    text = (PREFIX + "uplinks: [{name: vmbr0, cost: 7}]\nbfd: true\n"
            "nodes: {pve2: {bfd: false}}\n")
    assert _parse(text, "pve1").speaking_on("vmbr0") == Speaking(cost=7, bfd=True)
    assert _parse(text, "pve2").speaking_on("vmbr0") == Speaking(cost=7)


def test_an_empty_allow_list_is_a_wish_not_an_error() -> None:
    assert _parse("allow: []").allow == ()


@pytest.mark.parametrize(("text", "expected"), [
    ("", "the file is empty"),
    ("# only a comment\n", "the file is empty"),
    ("area: 0\n", "the required key 'allow' is missing"),
    ("- allow\n", "expected 'key: value' lines"),
    ("allow: [198.51.100.0/24\n", "pve-ospf.yaml:2: not valid YAML"),
    (PREFIX + PREFIX, "pve-ospf.yaml:2: not valid YAML: key 'allow' is written twice"),
    (PREFIX + "are: 0\n", "are: unknown key; allowed: allow, area,"),
    ("allow: 198.51.100.0/24\n", "allow: expected a list of prefixes"),
    ("allow: [198.51.100.1/24]\n", "allow[0]: 198.51.100.1/24 has host bits set; did you mean "
                                   "198.51.100.0/24?"),
    ("allow: [10.0.0.0/33]\n", "allow[0]: '10.0.0.0/33' is not an IPv4 prefix"),
    ("allow: [7]\n", "allow[0]: 7 is not an IPv4 prefix"),
    ("allow: [{guests: [101]}]\n", "allow[0]: the key 'prefix' is missing"),
    ("allow: [{prefix: 10.0.0.0/8, guests: []}]\n", "an empty list binds the prefix to nobody"),
    ("allow: [{prefix: 10.0.0.0/8, vmids: [1]}]\n", "unknown key 'vmids'"),
    ("allow: [{prefix: 10.0.0.0/8, guests: [99]}]\n", "99 is not a whole number 100-"),
    ("allow: [{prefix: 10.0.0.0/8, bridges: ['a b']}]\n", "'a b' is not an interface name"),
    (PREFIX + "area: 1.2.3\n", "area: '1.2.3' is not an area"),
    (PREFIX + "area: -1\n", "area: -1 is not an area"),
    (PREFIX + "router-id: 0.0.0.0\n", "router-id: 0.0.0.0 cannot be a router id"),
    (PREFIX + "router-id: yes\n", "router-id: True is not an IPv4 address"),
    (PREFIX + "uplinks: vmbr0\n", "uplinks: expected a list of interface names"),
    (PREFIX + "uplinks: [abcdefghijklmnop]\n", "uplinks: 'abcdefghijklmnop' is not an interface"),
    (PREFIX + "uplinks: [auto, vmbr0]\n", "uplinks: 'auto' stands alone here"),
    (PREFIX + "uplinks: [{cost: 1}]\n", "uplinks[0]: the key 'name' is missing"),
    (PREFIX + "uplinks: [{name: a b}]\n", "uplinks: 'a b' is not an interface name"),
    (PREFIX + "uplinks: [{name: a, speed: 1}]\n", "uplinks[0].speed: unknown key; allowed: aut"),
    (PREFIX + "uplinks: [{name: a, cost: 0}]\n", "uplinks[0].cost: 0 is not a whole number"),
    (PREFIX + "uplinks: [a, {name: a}]\n", "uplinks: a is written twice"),
    (PREFIX + "uplinks: [{name: a, dead-interval: 1}]\n", "uplinks.a.dead-interval: 1 s is not"),
    (PREFIX + "minimal-hellos: 11\n", "minimal-hellos: 11 is not a whole number 2-10"),
    (PREFIX + "minimal-hellos: 2\ndead-interval: 4\n", "minimal-hellos: stands in the place of"),
    (PREFIX + "network: nbma\n", "network: 'nbma' is not a network type; allowed: broadcast, po"),
    (PREFIX + "bfd: 1\n", "bfd: 1 is neither true nor false"),
    (PREFIX + "authentication: Secret!\n", "authentication: 'Secret!' is not a key's name"),
    (PREFIX + "hello-interval: 0\n", "hello-interval: 0 is not a whole number 1-65535 (seconds)"),
    (PREFIX + "hello-interval: true\n", "hello-interval: True is not a whole number"),
    (PREFIX + "hello-interval: 3\n", "dead-interval: 3 s is not longer"),
    (PREFIX + "guest-filter: 0\n", "guest-filter: 0 is neither true nor false"),
    (PREFIX + "tunnels: passive\n", "tunnels: expected 'key: value' lines"),
    (PREFIX + "tunnels: {policy: fast}\n", "tunnels.policy: 'fast' is not a policy"),
    (PREFIX + "tunnels: {cost: 70000}\n", "tunnels.cost: 70000 is not a whole number"),
    (PREFIX + "tunnels: {interfaces: [{name: wg0, cost: 0}]}\n",
     "tunnels.interfaces[0].cost: 0 is not a whole number"),
    (PREFIX + "tunnels: {interfaces: [{name: wg0, bfd: true}]}\n",
     "tunnels.interfaces[0].bfd: unknown key; allowed: cost, name, policy"),
    (PREFIX + "tunnels: {interfaces: [{cost: 1}]}\n", "interfaces[0]: the key 'name' is missing"),
    (PREFIX + "tunnels: {metric: 1}\n", "tunnels.metric: unknown key"),
    (PREFIX + "nodes: [pve1]\n", "nodes: expected 'key: value' lines"),
    (PREFIX + "nodes: {'p ve': {}}\n", "nodes: 'p ve' is not a node name"),
    (PREFIX + "nodes: {pve9: {allow: []}}\n", "nodes.pve9.allow: unknown key"),
    (PREFIX + "nodes: {pve9: {area: x}}\n", "nodes.pve9.area: 'x' is not an area"),
    (PREFIX + "nodes: {pve9: {dead-interval: 1}}\n", "nodes.pve9.dead-interval: 1 s is not"),
    (PREFIX + "uplinks: [wg0]\ntunnels: {interfaces: ['wg*']}\n", "uplinks: wg0 is listed under"),
    ("? [a]\n: 1\n", "not valid YAML: a key is not a plain word"),
    pytest.param("[" * 5000, "nested too deeply", id="nested"),
    ("allow: !!python/object:os.system {}\n", "not valid YAML"),
])
def test_a_mistake_is_one_line_that_names_file_key_and_what_is_allowed(
        text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(text)
    assert expected in caught.value.message
    assert "/etc/pve/pve-ospf.yaml" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_tunnels_own_policy_and_cost() -> None:
    tunnels = _parse(PREFIX + "tunnels:\n  cost: 60000\n  interfaces: [auto, {name: wg0, policy: "
                     "high-cost, cost: 20000}, {name: 'tun*', policy: high-cost}]\n").tunnels
    assert tunnels.interfaces == NameList(True, ("wg0", "tun*"))
    assert [tunnels.cost_of(name) for name in ("wg0", "tun3", "vxlan7")] == [20000, 60000, None]
    high = _parse(PREFIX + "tunnels: {policy: high-cost, interfaces: [auto, {name: wg0, policy: "
                  "passive}]}\n").tunnels
    assert [high.cost_of(name) for name in ("wg0", "tun3")] == [None, 65535]


def test_without_allow_the_lines_to_add_are_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        _parse("area: 0\n")
    assert "allow:\n" in caught.value.hint
