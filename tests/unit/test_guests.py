"""Guests' configurations, as Proxmox writes them and as it never would."""

from ipaddress import IPv4Address

import pytest

from pve_ospf.guests import Problem, parse
from pve_ospf.model import Guest, GuestNet

MAC = "BC:24:11:00:00:01"
NET = f"net0: name=eth0,bridge=vmbr1,hwaddr={MAC},ip=198.51.100.7/32,gw=169.254.1.1,type=veth"


def _guest(text: str) -> Guest:
    return parse(text, 101, "lxc", "pve1")[0]


def _problems(text: str) -> tuple[Problem, ...]:
    return parse(text, 101, "lxc", "pve1")[1]


def _net(text: str) -> GuestNet:
    return _guest(text).nets[0]


def test_a_container_as_proxmox_writes_it() -> None:
    guest, problems = parse(
        "#A web%3A server\narch: amd64\nhookscript: local:snippets/pve-ospf\nhostname: web\n"
        f"memory: 512\n{NET}\nostype: debian\nrootfs: local-lvm:vm-101-disk-0,size=8G\n"
        "tags: prod;web\nunprivileged: 1\nlxc.apparmor.profile: unconfined\n"
        "lxc.cgroup2.devices.allow = c 10:200 rwm\n", 101, "lxc", "pve1")
    assert problems == ()
    assert guest == Guest(
        vmid=101, kind="lxc", node="pve1", name="web", tags=("prod", "web"),
        hookscript="local:snippets/pve-ospf",
        nets=(GuestNet(0, "vmbr1", MAC.lower(), IPv4Address("198.51.100.7")),))
    assert guest.attached


def test_only_the_live_part_counts() -> None:
    guest = _guest(f"hostname: web\n{NET}\n\n[pve:pending]\nnet1: {NET[6:]}\n\n[before]\n"
                   "hookscript: local:snippets/pve-ospf\nsnapstate: delete\n")
    assert [n.index for n in guest.nets] == [0]
    assert not guest.attached


@pytest.mark.parametrize("header", ["[pve:pending]", "[PENDING]", "[special:cloudinit]", "[x"])
def test_any_bracket_ends_the_live_part(header: str) -> None:
    assert _guest(f"hostname: web\n{header}\n{NET}\n").nets == ()


def test_of_a_key_written_twice_the_last_counts() -> None:
    assert _net(f"{NET}\n{NET.replace('100.7', '100.8')}").address == IPv4Address("198.51.100.8")


def test_several_nets_in_any_order_and_spelling() -> None:
    guest = _guest(
        f"net10: ip=dhcp,bridge=vmbr1,name=eth2,hwaddr={MAC}\n"
        f"net1: type=veth,tag=30,ip=10.1.2.3/8,firewall=1,hwaddr={MAC},bridge=vmbr2,name=eth1,\n"
        f"net0: name=eth0,bridge=vmbr1,hwaddr={MAC},ip=manual,link_down=1,ip6=auto,mtu=1400\n")
    mac = MAC.lower()
    assert guest.nets == (
        GuestNet(0, "vmbr1", mac, None, link_down=True),
        GuestNet(1, "vmbr2", mac, IPv4Address("10.1.2.3"), tag=30, firewall=True),
        GuestNet(10, "vmbr1", mac))


@pytest.mark.parametrize("length", ["8", "24", "31", "32"])
def test_a_host_address_inside_any_length(length: str) -> None:
    assert _net(NET.replace("/32", f"/{length}")).address == IPv4Address("198.51.100.7")


@pytest.mark.parametrize(("old", "new", "expected"), [
    ("/32", "/0", "not an IPv4 address with a length"),
    ("/32", "/33", "not an IPv4 address with a length"),
    ("/32", "", "not an IPv4 address with a length"),
    ("198.51.100.7", "198.51.100.256", "not an IPv4 address"),
    ("198.51.100.7", "198.51.100.007", "not an IPv4 address"),
    ("198.51.100.7", "٣.0.0.1", "not an IPv4 address"),
    (MAC, "01:00:5e:00:00:01", "not a unicast MAC"),
    (MAC, "BC:24:11", "not a unicast MAC"),
    ("bridge=vmbr1", "bridge=vmbr1 permit any", "not a bridge name"),
    ("type=veth", "tag=0", "not a VLAN id"),
    ("type=veth", "tag=4095", "not a VLAN id"),
    ("type=veth", "firewall=maybe", "is not 0 or 1"),
    ("type=veth", "ip=10.0.0.1/32", "ip is written twice"),
    ("type=veth", "nonsense", "is not key=value"),
    ("type=veth", "frob=1", "unknown option 'frob'"),
])
def test_a_net_that_proxmox_would_refuse_is_named_with_its_line(
        old: str, new: str, expected: str) -> None:
    assert old in NET
    guest, (problem,) = parse(f"hostname: web\n{NET.replace(old, new)}\n", 101, "lxc", "pve1")
    assert problem.line == 2
    assert expected in problem.text
    assert guest.nets == ()
    assert guest.incomplete, "an address may be missing: that is not 'no address'"


def test_one_bad_net_does_not_hide_the_others() -> None:
    guest = _guest(f"{NET}\nnet1: rubbish\n")
    assert [n.index for n in guest.nets] == [0]
    assert guest.incomplete


def test_an_unknown_line_is_named_and_harmless() -> None:
    text = f"hostname: web\nroute-map pve-ospf permit 1\n!\n{NET}\n"
    assert [p.line for p in _problems(text)] == [2, 3]
    assert not _guest(text).incomplete
    assert _net(text).address == IPv4Address("198.51.100.7")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a description\n", "[snap]\nnet0: x\n"])
def test_a_file_without_a_key_is_half_written(text: str) -> None:
    guest, problems = parse(text, 101, "lxc", "pve1")
    assert guest.incomplete
    assert problems[-1] == Problem(0, "the file holds no configuration")


@pytest.mark.parametrize("text", ["hookscript: loc", f"hostname: web\n{NET[:40]}", "hostname: w",
                                  f"hostname: web\n{NET}"])
def test_a_file_that_ends_in_a_line_is_half_written(text: str) -> None:
    """What is there may look whole, and what is missing cannot be known."""
    guest, problems = parse(text, 101, "lxc", "pve1")
    assert guest.incomplete
    assert Problem(0, "the file ends in the middle of a line") in problems


@pytest.mark.parametrize(("hookscript", "attached"), [
    ("local:snippets/pve-ospf", True), ("nfs-1:snippets/pve-ospf", True),
    ("local:snippets/pve-ospf-old", False), ("local:snippets/mine", False),
])
def test_attached_means_our_snippet_on_any_storage(hookscript: str, attached: bool) -> None:
    assert _guest(f"hookscript: {hookscript}\n").attached is attached


def test_a_vm_has_its_address_in_ipconfig() -> None:
    guest, problems = parse(
        f"net0: virtio={MAC},bridge=vmbr1,firewall=1,tag=5\nipconfig0: ip=203.0.113.9/24,gw=1\n"
        f"net1: model=e1000,macaddr={MAC},bridge=vmbr2\nname: vm\n", 200, "qemu", "pve1")
    assert problems == ()
    assert guest.name == "vm"
    assert guest.nets == (
        GuestNet(0, "vmbr1", MAC.lower(), IPv4Address("203.0.113.9"), tag=5, firewall=True),
        GuestNet(1, "vmbr2", MAC.lower()))


def test_keys_of_a_vm_with_a_dash_are_nothing_unknown() -> None:
    guest, problems = parse("amd-sev: type=snp\nallow-ksm: 0\nnet0: virtio=" + "BC:24:11:00:00:01"
                            ",bridge=vmbr1\n", 101, "qemu", "pve1")
    assert problems == ()
    assert len(guest.nets) == 1


def test_a_vms_new_address_counts_when_its_drive_is_made_anew() -> None:
    """Proxmox writes it at once, and the guest has it from its next start on."""
    text = """\
ipconfig0: ip=198.51.100.9/32,gw=169.254.1.1
ipconfig1: ip=198.51.100.10/32
net0: virtio=BC:24:11:00:00:01,bridge=vmbr1
net1: virtio=BC:24:11:00:00:02,bridge=vmbr1

[special:cloudinit]
added: ipconfig1
ipconfig0: ip=198.51.100.7/32,gw=169.254.1.1

[before]
ipconfig0: ip=198.51.100.1/32
"""
    guest, problems = parse(text, 101, "qemu", "pve1")
    assert [net.address for net in guest.nets] == [IPv4Address("198.51.100.7"), None]
    assert problems == ()
    at_rest, _ = parse(text.partition("\n\n")[0], 101, "qemu", "pve1")
    assert [str(net.address) for net in at_rest.nets] == ["198.51.100.9", "198.51.100.10"]
