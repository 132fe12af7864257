"""One line of `daemons` and of `vtysh.conf` changes, and comes back; every other byte stays."""

from __future__ import annotations

import pytest

from pve_ospf.switches import SPLIT, enable, enabled, is_split, put_back, split

DAEMONS = "# comment: ospfd=no\nbgpd=no\nospfd=no\nospf6d=no\n\nospfd_options=\"  -A 127.0.0.1\"\n"


def test_only_the_switch_changes_and_comes_back() -> None:
    text, former = enable(DAEMONS, "ospfd")
    assert text == DAEMONS.replace("\nospfd=no\n", "\nospfd=yes\n") and former == "ospfd=no"
    assert enabled(text, "ospfd") and not enabled(text, "ospf6d")
    assert put_back(text, "ospfd=yes", former) == DAEMONS


@pytest.mark.parametrize(
    "line", ['ospfd="no"', "ospfd='no'", "ospfd=0", "ospfd=", " ospfd=no # off"])
def test_every_way_of_saying_no(line: str) -> None:
    text = f"zebra=yes\n{line}\nbgpd=no\n"
    assert not enabled(text, "ospfd")
    new, former = enable(text, "ospfd")
    assert enabled(new, "ospfd") and put_back(new, "ospfd=yes", former) == text


@pytest.mark.parametrize("line", ["ospfd=yes", 'ospfd="yes"', "ospfd=1", "ospfd=no\nospfd=yes"])
def test_every_way_of_saying_yes(line: str) -> None:
    assert enabled(f"{line}\n", "ospfd")


def test_the_last_assignment_counts() -> None:
    text = "ospfd=yes\nospfd=no\n"
    assert not enabled(text, "ospfd")
    assert enable(text, "ospfd") == ("ospfd=yes\nospfd=yes\n", "ospfd=no")


@pytest.mark.parametrize("text", ["", "bgpd=no\n", "bgpd=no"])
def test_a_switch_that_was_not_there(text: str) -> None:
    new, former = enable(text, "ospfd")
    assert former is None and enabled(new, "ospfd")
    assert put_back(new, "ospfd=yes", former) == text


def test_what_the_administrator_changed_since_stays() -> None:
    assert put_back("ospfd=maybe\n", "ospfd=yes", "ospfd=no") == "ospfd=maybe\n"


def test_vtysh_conf() -> None:
    text = "service integrated-vtysh-config\nusername x nopassword\n"
    new, former = split(text)
    assert not is_split(text) and is_split(new) and SPLIT in new
    assert put_back(new, SPLIT, former) == text
    assert is_split("no service integrated-vtysh-config\n")
    assert not is_split("no service integrated-vtysh-config\nservice integrated-vtysh-config\n")
    assert not is_split("! no service integrated-vtysh-config\n") and not is_split("")
