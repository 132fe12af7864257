"""ARP frames byte for byte, what is answered, and the kernel filter run as the kernel would."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from pve_ospf import arpframe
from pve_ospf.arpframe import Instruction, answer, filter_program, parse

OURS, HOST = "02:00:00:00:00:11", "02:00:00:00:00:50"
AWAY, HOME, FREE = map(IPv4Address, ("10.0.1.77", "10.0.1.78", "10.0.1.79"))
ASKER = IPv4Address("10.99.1.50")


def passes(program: list[Instruction], frame: bytes) -> bool:
    """The few opcodes of linux/filter.h a filter of ours has, as the kernel runs them."""
    accumulator = index = at = 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        match code:
            case 0x28 | 0x20:
                size = 2 if code == 0x28 else 4
                if k + size > len(frame):
                    return False
                accumulator = int.from_bytes(frame[k:k + size], "big")
            case 0x14:
                accumulator = (accumulator - k) % 2**32
            case 0x07:
                index = accumulator
            case 0x05:
                at += k
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x1D:
                at += if_true if accumulator == index else if_false
            case 0x25:
                at += if_true if accumulator > k else if_false
            case 0x06:
                return k > 0
            case _:
                raise AssertionError(f"opcode {code:#x}")


def test_a_request_on_the_wire() -> None:
    assert arpframe.request(HOST, ASKER, AWAY).hex(" ") == (
        "ff ff ff ff ff ff 02 00 00 00 00 50 08 06 00 01 08 00 06 04 00 01 "
        "02 00 00 00 00 50 0a 63 01 32 00 00 00 00 00 00 0a 00 01 4d")


def test_a_reply_on_the_wire() -> None:
    assert arpframe.reply(OURS, AWAY, HOST, ASKER).hex(" ") == (
        "02 00 00 00 00 50 02 00 00 00 00 11 08 06 00 01 08 00 06 04 00 02 "
        "02 00 00 00 00 11 0a 00 01 4d 02 00 00 00 00 50 0a 63 01 32")


def test_an_announcement_is_a_request_and_a_reply_of_the_address_to_itself() -> None:
    request, reply = map(parse, arpframe.announcement(OURS, AWAY))
    assert request == arpframe.Arp(1, OURS, AWAY, "00:00:00:00:00:00", AWAY)
    assert reply == arpframe.Arp(2, OURS, AWAY, OURS, AWAY)


@pytest.mark.parametrize("frame", [
    b"", arpframe.probe(HOST, AWAY)[:41],
    arpframe.probe(HOST, AWAY).replace(b"\x08\x06", b"\x86\xdd", 1),
    arpframe.probe(HOST, AWAY).replace(b"\x06\x04\x00\x01", b"\x08\x04\x00\x01"),
])
def test_what_is_no_whole_arp_packet_of_ipv4_is_none(frame: bytes) -> None:
    assert parse(frame) is None


def test_the_padding_of_a_short_frame_does_not_matter() -> None:
    assert parse(arpframe.probe(HOST, AWAY) + bytes(18)) == parse(arpframe.probe(HOST, AWAY))


ASKED = [
    (arpframe.request(HOST, ASKER, AWAY), True),
    (arpframe.request(HOST, ASKER, HOME), False),  # the kernel's proxy entry answers that
    (arpframe.request(HOST, ASKER, FREE), False),
    (arpframe.probe(HOST, AWAY), True),
    (arpframe.probe(HOST, HOME), True),
    (arpframe.probe(HOST, FREE), False),
    *((frame, False) for frame in arpframe.announcement(HOST, AWAY)),
    (arpframe.reply(HOST, AWAY, OURS, ASKER), False),
    (arpframe.reply(HOST, ASKER, OURS, AWAY), False),
    (arpframe.request(HOST, ASKER, AWAY).replace(b"\x08\x06", b"\x08\x00", 1), False),
    (arpframe.request(HOST, ASKER, AWAY)[:40], False),
]


@pytest.mark.parametrize(("frame", "answered"), ASKED)
def test_what_is_answered_and_let_through(frame: bytes, answered: bool) -> None:
    said = answer(frame, OURS, {AWAY}, {HOME})
    assert (said is not None) is answered
    assert passes(filter_program({AWAY}, {HOME}), frame) is answered


def test_the_answer_goes_to_who_asked_alone() -> None:
    said = answer(arpframe.request(HOST, ASKER, AWAY), OURS, {AWAY}, ())
    assert said == arpframe.reply(OURS, AWAY, HOST, ASKER)


def test_a_probe_is_answered_to_nobodys_address() -> None:
    said = answer(arpframe.probe(HOST, AWAY), OURS, {AWAY}, ())
    assert said == arpframe.reply(OURS, AWAY, HOST, IPv4Address(0))


def test_nobody_makes_us_answer_the_whole_lan() -> None:
    assert answer(arpframe.request("ff:ff:ff:ff:ff:ff", ASKER, AWAY), OURS, {AWAY}, ()) is None


def test_for_no_address_nothing_passes() -> None:
    assert not any(passes(filter_program(()), frame) for frame, _ in ASKED)


@pytest.mark.parametrize("base", ["10.0.0.0", "192.168.0.0", "223.255.240.0"])
@pytest.mark.parametrize("count", [1, 2, 254, 255, 256, 257, 511, 700, 1000])
def test_each_of_many_passes_and_none_between_them(base: str, count: int) -> None:
    addresses = [IPv4Address(base) + 3 * number for number in range(count)]
    program = filter_program(addresses, addresses[::2])
    assert len(program) <= 4096
    assert all(max(if_true, if_false) <= 255 for _, if_true, if_false, _ in program)
    for address in addresses:
        assert passes(program, arpframe.request(HOST, ASKER, address))
        assert not passes(program, arpframe.request(HOST, ASKER, address + 1))
        assert not passes(program, arpframe.request(HOST, ASKER, address - 1))


def test_of_too_many_the_range_passes_and_the_answer_stays_exact() -> None:
    addresses = {IPv4Address("10.0.0.0") + 3 * number for number in range(2000)}
    program = filter_program(addresses)
    assert len(program) < 50
    between = arpframe.request(HOST, ASKER, min(addresses) + 1)
    assert passes(program, between)
    assert answer(between, OURS, addresses, ()) is None
    for outside in (min(addresses) - 1, max(addresses) + 1):
        assert not passes(program, arpframe.request(HOST, ASKER, outside))
    for address in addresses:
        assert passes(program, arpframe.request(HOST, ASKER, address))
