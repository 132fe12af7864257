"""Our block in the administrator's file: everything else stays byte for byte."""

from __future__ import annotations

import pytest

from pve_ospf.errors import Refused
from pve_ospf.frrconf import (
    NO_FORWARDING,
    Statement,
    append,
    block,
    install,
    installed,
    outside,
    part,
    statements,
    without,
)
from pve_ospf.frrconf import theirs as theirs_of
from tests.unit.golden_cases import GOLDEN

BODY = """\
zebra work-queue 0
!
ip prefix-list pve-ospf-deny seq 5 permit 127.0.0.0/8 le 32
!
route-map pve-ospf deny 10
 match ip address prefix-list pve-ospf-deny
exit
!
interface vmbr0
 ip ospf area 0.0.0.0
 ip ospf hello-interval 1
exit
!
interface tun0
 ip ospf passive
exit
!
router ospf
 ospf router-id 192.0.2.11
 redistribute kernel route-map pve-ospf
exit
!
"""
OURS = block(BODY)

ADMINS = [
    "", "\n", "log syslog informational\n", "no newline at the end", "two\n\n\n", "\ttab \r\n",
    "hostname x\nend\n", "hostname x\nend", "end\n\n", "interface eno1\n description it's mine\n",
    "router ospf\n log-adjacency-changes\n", "! a comment\n# another\n!\n!\n",
    "caf\udce9\x0b\x0c\x1c\u2028\n",
]


@pytest.mark.parametrize("theirs", ADMINS)
def test_installing_and_taking_away_leaves_no_trace(theirs: str) -> None:
    text = install(theirs, OURS, (), "f")
    assert installed(text, "f") == OURS
    assert outside(text, "f") == theirs
    assert install(text, "", (), "f") == theirs


@pytest.mark.parametrize("theirs", ADMINS)
def test_installing_twice_changes_nothing(theirs: str) -> None:
    text = install(theirs, OURS, (), "f")
    assert install(text, OURS, statements(OURS), "f") == text


def test_another_block_takes_the_place_of_the_old_one() -> None:
    text = install("above\n", OURS, (), "f") + "below\n"
    new = block("zebra work-queue 5\n")
    assert install(text, new, (), "f") == f"above\n{new}below\n"


def test_the_block_comes_before_a_last_end() -> None:
    assert install("hostname x\nend\n", OURS, (), "f") == f"hostname x\n{OURS}end\n"


@pytest.mark.parametrize("text", [
    OURS.replace("! pve-ospf end\n", ""), OURS.partition("\n")[2], OURS + OURS,
    "! pve-ospf end\n! pve-ospf begin\n"])
def test_half_a_block_is_refused_with_its_lines(text: str) -> None:
    with pytest.raises(Refused, match=r"/etc/frr/frr.conf.*line \d"):
        install(text, OURS, (), "/etc/frr/frr.conf")


WRITTEN = """\
frr version 8.4.4
hostname pve1
zebra work-queue 0
!
interface eno1
 ip ospf cost 7
exit
!
interface tun0
 ip ospf passive
exit
!
interface vmbr0
 description the uplink
 ip ospf area 0.0.0.0
 ip ospf hello-interval 1
exit
!
router ospf
 log-adjacency-changes
 ospf router-id 192.0.2.11
 redistribute kernel route-map pve-ospf
exit
!
ip prefix-list mine seq 5 permit any
ip prefix-list pve-ospf-deny seq 5 permit 127.0.0.0/8 le 32
!
route-map pve-ospf deny 10
 match ip address prefix-list pve-ospf-deny
exit
!
route-map pve-ospf-mine permit 10
exit
!
"""
"""What `write memory` makes of the block and of what the administrator has beside it."""

THEIRS = """\
frr version 8.4.4
hostname pve1
!
interface eno1
 ip ospf cost 7
exit
!
interface vmbr0
 description the uplink
exit
!
router ospf
 log-adjacency-changes
exit
!
ip prefix-list mine seq 5 permit any
!
route-map pve-ospf-mine permit 10
exit
!
"""


def test_after_write_memory_our_statements_are_replaced_not_doubled() -> None:
    assert install(WRITTEN, OURS, statements(BODY), "f") == THEIRS + OURS


def test_what_is_ours_by_name_goes_even_if_nothing_is_known() -> None:
    text = without(WRITTEN, ())
    assert "pve-ospf-deny" not in text and "route-map pve-ospf\n" not in text
    assert "route-map pve-ospf-mine permit 10" in text and "ip ospf area" in text


def test_a_stanza_of_theirs_that_was_empty_stays() -> None:
    text = "interface eno1\nexit\n!\nroute-map mine permit 10\nexit\n!\n"
    assert without(text, statements(BODY)) == text


def test_an_empty_entry_of_our_route_map_goes() -> None:
    assert without("route-map pve-ospf permit 20\nexit\n!\n", ()) == "!\n"


def test_for_frr_reload_an_interface_keeps_its_empty_stanza() -> None:
    text = without(WRITTEN, statements(BODY), keep_interfaces=True)
    assert "interface tun0\nexit\n" in text and "ip ospf passive" not in text


def test_what_is_appended_leaves_even_ours_alone() -> None:
    """Going back once took our own statements out of the configuration it put back."""
    assert append(WRITTEN + "end\n", "interface x\nexit\n") == (
        WRITTEN + "interface x\nexit\nend\n")


def test_statements_know_their_stanza_with_and_without_indent() -> None:
    text = "interface  vmbr0\nip ospf   area 0\n!\n ip ospf cost 1\nip route 10.0.0.0/8 Null0\nx\n"
    assert statements(text) == {
        Statement("interface vmbr0", "ip ospf area 0"),
        Statement("interface vmbr0", "ip ospf cost 1"),
        Statement("", "ip route 10.0.0.0/8 Null0"), Statement("", "x")}


def test_every_golden_block_is_known_again_statement_by_statement() -> None:
    for path in GOLDEN.rglob("*.conf"):
        text = path.read_text()
        if text:
            bare = "\n".join(row for row in text.split("\n") if "pve-ospf begin" not in row
                             and "pve-ospf end" not in row)
            assert not statements(without(bare, statements(text)))


def test_a_key_chain_has_a_level_more() -> None:
    chain = ("key chain {}\n key 7\n  key-string x\n exit\n"
             " key 8\n  key-string y\n exit\nexit\n!\n")
    text = chain.format("pve-ospf-site") + chain.format("mine") + "interface eno1\nexit\n"
    assert {s.stanza for s in statements(text)} == {
        "key chain pve-ospf-site", "key chain mine"}
    assert without(text, ()) == "!\n" + chain.format("mine") + "interface eno1\nexit\n"


def test_no_forwarding_that_write_memory_wrote_goes_and_an_administrators_stays() -> None:
    """It is FRR's where our statements stand without markers: FRR has written that file."""
    known = statements(BODY)
    theirs = "no ip forwarding\nhostname mine\n"
    written = theirs + BODY
    assert NO_FORWARDING not in statements(install(written, block(BODY), known, ""))
    assert NO_FORWARDING not in statements(theirs_of(written, known, ""))
    for text in (theirs, theirs + block(BODY)):
        assert NO_FORWARDING in statements(install(text, block(BODY), known, ""))
        assert NO_FORWARDING in statements(theirs_of(text, known, ""))


def test_part_of_a_text_keeps_stanzas_and_order() -> None:
    wanted = {s for s in statements(BODY) if s.stanza.startswith("interface ") or not s.stanza}
    said = part(BODY, wanted)
    assert statements(said) == wanted
    assert said.endswith("interface tun0\n ip ospf passive\nexit\n")
    assert "route-map pve-ospf deny" not in said and said.count("exit") == 2
    assert part(BODY, ()) == ""
