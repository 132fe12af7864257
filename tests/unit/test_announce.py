"""Which addresses belong on a node, and what is refused with which words."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from pve_ospf.announce import Desired, Never, Node, claims, desired, forbidden, never_ours
from pve_ospf.config import Allow, Config, NameList
from pve_ospf.interfaces import classify
from pve_ospf.model import Announcement, Guest, GuestNet, Interface

CONFIG = Config(allow=(Allow(IPv4Network("198.51.100.0/24")),
                       Allow(IPv4Network("10.0.0.0/8")),
                       Allow(IPv4Network("203.0.113.0/24"), guests=frozenset({104})),
                       Allow(IPv4Network("192.0.2.0/24"), bridges=frozenset({"vmbr2"}))))
MAC = "bc:24:11:00:00:01"
INTERFACES = (
    Interface(1, "lo", addresses=(IPv4Interface("127.0.0.1/8"),)),
    Interface(2, "eno1", master="vmbr0"),
    Interface(3, "vmbr0", "bridge", addresses=(IPv4Interface("10.0.1.11/24"),)),
    Interface(4, "vmbr1", "bridge"),
    Interface(5, "vmbr2", "bridge"),
    Interface(6, "vmbr1.30", "vlan", lower="vmbr1"),
    Interface(7, "vxlan100", "vxlan", addresses=(IPv4Interface("10.255.0.1/24"),)),
)
NEVER = never_ours(INTERFACES, [IPv4Address("10.0.1.1")], [IPv4Address("10.0.13.3")],
                   [IPv4Address("10.255.0.2")])


def _node(config: Config = CONFIG, **more: object) -> Node:
    return replace(Node("pve1", classify(config, INTERFACES), INTERFACES, never=NEVER),
                   **more)  # type: ignore[arg-type]


def _guest(vmid: int = 101, address: str = "198.51.100.7", bridge: str = "vmbr1",
           node: str = "pve1", **more: object) -> Guest:
    net = replace(GuestNet(0, bridge, MAC, IPv4Address(address)),
                  **{k: v for k, v in more.items() if k in {"tag", "link_down", "mac"}})  # type: ignore[arg-type]
    return replace(Guest(vmid, "lxc", node, nets=(net,), hookscript="local:snippets/pve-ospf"),
                   **{k: v for k, v in more.items() if k in {"hookscript", "incomplete"}})  # type: ignore[arg-type]


def _desired(*guests: Guest, config: Config = CONFIG, **node: object) -> Desired:
    """Of a node on which all these guests run, unless said otherwise; 999 never does."""
    node.setdefault("running", frozenset(g.vmid for g in guests if g.node == "pve1") - {999})
    return desired(config, guests, _node(config, **node))


def test_a_running_attached_guest_is_announced() -> None:
    assert _desired(_guest()).announcements == (
        Announcement(IPv4Address("198.51.100.7"), "vmbr1", MAC, 101),)


@pytest.mark.parametrize("guest", [
    _guest(node="pve2"), _guest(vmid=999), _guest(hookscript=None),
    _guest(hookscript="local:snippets/other"), _guest(link_down=True),
])
def test_one_that_is_elsewhere_stopped_not_ours_or_unplugged_is_not(guest: Guest) -> None:
    result = _desired(guest)
    assert result.announcements == ()
    assert result.findings == ()


def test_an_address_in_an_uplinks_own_subnet_is_on_link() -> None:
    (announcement,) = _desired(_guest(address="10.0.1.99")).announcements
    assert announcement.uplink == "vmbr0"


@pytest.mark.parametrize(("address", "code", "words"), [
    ("0.0.0.0", "never-ours", "this network"),
    ("127.0.0.1", "never-ours", "loopback"),
    ("169.254.1.1", "never-ours", "link-local"),
    ("224.0.0.5", "never-ours", "multicast"),
    ("255.255.255.255", "never-ours", "reserved"),
    ("10.0.1.11", "never-ours", "this node's own, on vmbr0"),
    ("10.0.1.1", "never-ours", "a next hop of this node"),
    ("10.0.13.3", "never-ours", "an OSPF router"),
    ("10.255.0.2", "never-ours", "a corosync ring address"),
    ("10.0.1.0", "never-ours", "the network address of 10.0.1.0/24"),
    ("10.0.1.255", "never-ours", "the broadcast of 10.0.1.0/24"),
    ("10.255.0.77", "own-network", "this node's own network on vxlan100"),
    ("8.8.8.8", "not-allowed", "no entry of 'allow'"),
    ("203.0.113.9", "not-allowed", "no entry of 'allow'"),
    ("192.0.2.9", "not-allowed", "no entry of 'allow'"),
])
def test_what_policy_forbids_whatever_allow_says(address: str, code: str, words: str) -> None:
    everything = replace(CONFIG, allow=(*CONFIG.allow, Allow(IPv4Network("0.0.0.0/0"))))
    config = CONFIG if code == "not-allowed" else everything
    result = _desired(_guest(address=address), config=config)
    assert result.announcements == ()
    (finding,) = result.findings
    assert finding.code == code
    assert finding.subject == "guest 101"
    assert words in finding.message
    assert address in finding.message


def test_an_entry_bound_to_a_guest_or_a_bridge_permits_only_that() -> None:
    assert len(_desired(_guest(vmid=104, address="203.0.113.9")).announcements) == 1
    assert len(_desired(_guest(address="192.0.2.9", bridge="vmbr2")).announcements) == 1


def test_a_bridge_that_is_listed_stands_for_its_vlans() -> None:
    interfaces = (*(replace(i, vlan_filtering=i.name == "vmbr2") for i in INTERFACES),
                  Interface(8, "vmbr2.5", "vlan", lower="vmbr2"))
    guest = _guest(address="192.0.2.9", bridge="vmbr2", tag=5)
    (announcement,) = _desired(guest, interfaces=interfaces,
                               roles=classify(CONFIG, interfaces)).announcements
    assert announcement.device == "vmbr2.5"


def test_the_subnet_of_a_guest_bridges_own_address_is_the_guests() -> None:
    interfaces = tuple(
        replace(i, addresses=(IPv4Interface("198.51.100.1/24"),)) if i.name == "vmbr1" else i
        for i in INTERFACES)
    config = replace(CONFIG, guest_bridges=NameList(False, ("vmbr1",)))
    roles = classify(config, interfaces)
    result = _desired(_guest(), config=config, interfaces=interfaces, roles=roles)
    assert len(result.announcements) == 1


def test_a_vm_is_a_guest_like_a_container() -> None:
    (announcement,) = _desired(replace(_guest(), kind="qemu")).announcements
    assert announcement.vmid == 101


def test_a_guest_that_runs_without_any_config_makes_the_unclaimed_unknown() -> None:
    assert _desired(_guest(), running=frozenset({101, 666})).unknown


def test_a_guest_on_an_uplink_bridge_is_a_finding_with_the_way_out() -> None:
    result = _desired(_guest(bridge="vmbr0"))
    assert result.announcements == ()
    (finding,) = result.findings
    assert finding.code == "uplink-bridge"
    assert "guest-bridges: [auto, vmbr0]" in finding.fix
    config = replace(CONFIG, guest_bridges=NameList(False, ("vmbr2",)))
    (finding,) = _desired(_guest(bridge="vmbr0"), config=config).findings
    assert "guest-bridges: [vmbr2, vmbr0]" in finding.fix, "the others stay"


def test_unless_the_administrator_names_that_bridge() -> None:
    config = replace(CONFIG, guest_bridges=NameList(True, ("vmbr0",)))
    (announcement,) = _desired(_guest(bridge="vmbr0"), config=config).announcements
    assert announcement.device == "vmbr0"


def test_a_bridge_that_does_not_exist() -> None:
    (finding,) = _desired(_guest(bridge="vmbr9")).findings
    assert finding.code == "no-bridge"


def test_a_tag_leads_to_the_bridges_vlan() -> None:
    aware = tuple(replace(i, vlan_filtering=i.name == "vmbr1") for i in INTERFACES)
    (announcement,) = _desired(_guest(tag=30), interfaces=aware).announcements
    assert announcement.device == "vmbr1.30"
    (finding,) = _desired(_guest(tag=30)).findings
    assert "vmbr1v30" in finding.message


def test_a_net_without_a_mac_is_a_finding() -> None:
    (finding,) = _desired(_guest(mac="")).findings
    assert finding.code == "no-mac"


def test_of_two_with_one_address_the_lower_vmid_has_it_and_the_other_is_named() -> None:
    result = _desired(_guest(102, mac="bc:24:11:00:00:02"), _guest(101))
    assert [a.vmid for a in result.announcements] == [101]
    assert [(f.code, f.subject) for f in result.findings] == [("duplicate", "guest 102")]


def test_who_has_it_already_keeps_it() -> None:
    mac = "bc:24:11:00:00:02"
    result = _desired(_guest(101), _guest(102, mac=mac),
                      incumbents={IPv4Address("198.51.100.7"): mac})
    assert [a.vmid for a in result.announcements] == [102]


def test_a_running_guest_that_could_not_be_read_makes_the_unclaimed_unknown() -> None:
    broken = _guest(102, incomplete=True)
    assert _desired(_guest(), broken, running=frozenset({101, 102})).unknown
    assert not _desired(_guest(), broken, running=frozenset({101})).unknown, "it does not run here"
    elsewhere = replace(broken, node="pve2")
    assert not _desired(_guest(), elsewhere, running=frozenset({101})).unknown


def test_claims_of_the_whole_cluster_are_known() -> None:
    assert _desired(_guest(), _guest(500, "198.51.100.9", node="pve2")).claimed == {
        (IPv4Address("198.51.100.7"), MAC), (IPv4Address("198.51.100.9"), MAC)}


def test_a_torn_file_claims_nothing_for_sure() -> None:
    """Its own address would count as that of a guest which is not ours, and be withdrawn."""
    torn = _guest(incomplete=True, hookscript=None)
    assert _desired(torn).claimed == frozenset()
    assert _desired(torn).unknown


def test_a_guest_names_no_reason_of_its_own() -> None:
    (claim,) = claims(_guest())
    assert forbidden(CONFIG, _node(never=Never()), claim) is None
