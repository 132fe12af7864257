"""Hellos and database descriptions of a router, and what of them is not as here."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest

from pve_ospf.frrconf import statements
from pve_ospf.lsdb import OspfInterface
from pve_ospf.model import Interface
from pve_ospf.ospfpacket import Ours, Said, configured, differences, parse

# From the IP header on, after RFC 2328, A.3.2 and A.3.3; checksums are not looked at.
HELLO = bytes.fromhex(
    "45c0004000010000015900000a000101e0000005"  # 10.0.1.1 -> 224.0.0.5
    "0201002c0a00010100000000000000000000000000000000"  # version 2, hello, area 0, no auth
    "ffffff0000010201000000030a000101000000000a00010b")
DATABASE = bytes.fromhex(
    "45c0003400010000015900000a0001010a00010b"
    "020200200a00010100000000000000000000000000000000" "05dc020700001234")

OURS = Ours(OspfInterface("vmbr0", True, hello_interval=1, dead_interval=3,
                          network_type="BROADCAST"),
            Interface(1, "vmbr0", addresses=(IPv4Interface("10.0.1.11/24"),)), mtu=1500)
SAID = Said(IPv4Address("10.0.1.1"), IPv4Address("10.0.1.1"), IPv4Address(0),
            mask=IPv4Address("255.255.255.0"), hello=1, dead=3)


def test_a_hello() -> None:
    assert parse(HELLO) == SAID
    assert differences([SAID, SAID], OURS) == ()


def test_a_database_description_has_the_mtu() -> None:
    said = parse(DATABASE)
    assert said and said.mtu == 1500 and differences([said], OURS) == ()
    assert [str(d) for d in differences([replace(said, mtu=9000)], OURS)] == [
        "MTU is 9000 there, 1500 here"]


def test_a_key_is_known_by_its_number() -> None:
    digest = HELLO[:34] + struct.pack("!HHBBI", 2, 0, 7, 16, 1) + HELLO[44:]
    said = parse(digest)
    assert said and (said.authentication, said.key_id) == ("MD5", 7)


@pytest.mark.parametrize("packet", [
    b"", HELLO[:30], HELLO[:50], b"\x60" + HELLO[1:], HELLO[:9] + b"\x06" + HELLO[10:],
    HELLO[:20] + b"\x03" + HELLO[21:], HELLO[:21] + b"\x04" + HELLO[22:], DATABASE[:44]])
def test_anything_else_is_none(packet: bytes) -> None:
    assert parse(packet) is None


@pytest.mark.parametrize(("options", "kind"), [(0x02, "normal"), (0x00, "stub"), (0x08, "nssa")])
def test_the_areas_kind_is_in_the_options(options: int, kind: str) -> None:
    said = parse(HELLO[:50] + bytes([options]) + HELLO[51:])
    assert said and said.area_kind == kind


@pytest.mark.parametrize(("said", "expected"), [
    (replace(SAID, hello=10, dead=40), ["dead-interval is 40 s there, 3 s here",
                                        "hello-interval is 10 s there, 1 s here"]),
    (replace(SAID, hello=0, dead=1), ["dead-interval is 1 s there, 3 s here",
                                      "hello-interval is several a second there, 1 s here"]),
    (replace(SAID, area=IPv4Address(1)), ["area is 0.0.0.1 there, 0.0.0.0 here"]),
    (replace(SAID, authentication="MD5", key_id=1), ["authentication is MD5 there, none here"]),
    (replace(SAID, area_kind="nssa"), ["area's kind is nssa there, normal here"]),
    (replace(SAID, mask=IPv4Address("255.255.0.0")),
     ["mask is 255.255.0.0 there, 255.255.255.0 here"]),
    (replace(SAID, source=IPv4Address("10.7.0.1")),
     ["mask is 255.255.255.0 there, no network with that address here"]),
])
def test_what_has_to_agree(said: Said, expected: list[str]) -> None:
    assert [str(d) for d in differences([said], OURS)] == expected


def test_what_nobody_compares() -> None:
    fast = replace(OURS, ospf=replace(OURS.ospf, hello_interval=0.25, dead_interval=1))
    assert differences([replace(SAID, hello=0, dead=1)], fast) == ()
    alone = replace(OURS, ospf=replace(OURS.ospf, network_type="POINTOPOINT"))
    assert differences([replace(SAID, mask=IPv4Address(0))], alone) == ()


def test_another_key_of_the_same_kind_is_known_by_its_number() -> None:
    ours = replace(OURS, authentication="MD5", key_id=2)
    assert [str(d) for d in differences([replace(SAID, authentication="MD5", key_id=1)], ours)
            ] == ["key's id is 1 there, 2 here"]


@pytest.mark.parametrize(("text", "expected"), [
    ("", ("none", None)),
    ("interface eno1\n ip ospf authentication message-digest\n", ("none", None)),
    ("interface vmbr0\n ip ospf authentication-key x\n", ("none", None)),
    ("interface vmbr0\n ip ospf authentication null\n", ("none", None)),
    ("interface vmbr0\n ip ospf authentication\n", ("a plain password", None)),
    ("interface vmbr0\n ip ospf authentication message-digest\n"
     " ip ospf message-digest-key 3 md5 x\n", ("MD5", 3)),
    ("interface vmbr0\n ip ospf authentication message-digest\n"
     " ip ospf message-digest-key 3 md5 x\n ip ospf message-digest-key 4 md5 y\n", ("MD5", None)),
    ("key chain pve-ospf-a\n key 7\n  key-string x\n  cryptographic-algorithm hmac-sha-256\n"
     " exit\nexit\ninterface vmbr0\n ip ospf authentication key-chain pve-ospf-a\n",
     ("HMAC-SHA-256", 7))])
def test_authentication_as_configured(text: str, expected: tuple[str, int | None]) -> None:
    assert configured("vmbr0", statements(text)) == expected
