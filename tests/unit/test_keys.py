"""The keys' file, and that no key is ever shown."""

import pytest

from pve_ospf.errors import ConfigError, Refused
from pve_ospf.keys import Key, parse
from pve_ospf.rekey import statements
from pve_ospf.secrecy import hidden

SECRET = "s3cret"  # noqa: S105


def test_both_kinds() -> None:
    keys = parse(f"lan: {{type: md5, id: 1, key: {SECRET}}}\n"
                 f"far: {{type: hmac-sha-256, id: 255, key: '{'x' * 63}'}}\n", "keys.yaml")
    assert keys["lan"].chain is None and keys["far"].chain == "pve-ospf-far"
    assert SECRET in keys["lan"].text and SECRET not in repr(keys)


@pytest.mark.parametrize(("text", "expected"), [
    ("", "keys.yaml: the file is empty, so it holds no key"),
    (f"lan: {SECRET}", "lan: takes exactly the keys id, key, type"),
    (f"{{lan: {{type: md5, id: 1, key: {SECRET}, more: 1}}}}", "lan: takes exactly the keys"),
    (f"LAN: {{type: md5, id: 1, key: {SECRET}}}", "LAN: is not a name for a key"),
    (f"none: {{type: md5, id: 1, key: {SECRET}}}", "none: is not a name for a key"),
    (f"lan: {{type: md4, id: 1, key: {SECRET}}}", "lan.type: 'md4' is not a type; allowed: md5,"),
    (f"lan: {{type: md5, id: 256, key: {SECRET}}}", "lan.id: 256 is not a whole number 1-255"),
    (f"lan: {{type: md5, id: true, key: {SECRET}}}", "lan.id: True is not a whole number"),
    (f"lan: {{type: md5, id: 1, key: {SECRET}abcdefghijk}}", "lan.key: 17 characters; md5 takes"),
    (f"lan: {{type: hmac-sha-256, id: 1, key: {SECRET * 11}}}", "lan.key: 66 characters;"),
    ("lan: {type: md5, id: 1, key: 123456}", "lan.key: a key is letters, digits and"),
    *((f"lan: {{type: md5, id: 1, key: '{SECRET}{bad}'}}", "lan.key: a key is letters, digits")
      for bad in ("!", " x", "ü", "?", "|", '"', "\\")),
    (f'lan: {{type: md5, id: 1, key: "{SECRET}\\n ip ospf area 0"}}', "lan.key: a key is"),
    (f"lan: {{type: md5, id: 1, key: {SECRET}", "not valid YAML"),
])
def test_a_mistake_names_the_place_and_never_the_key(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "keys.yaml")
    assert expected in caught.value.message
    assert SECRET not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(("line", "shown"), [
    ("+ ip ospf message-digest-key 1 md5 s3cret", "+ ip ospf message-digest-key 1 md5 ****"),
    ("no ip ospf message-digest-key 1 md5 s3cret", "no ip ospf message-digest-key 1 md5 ****"),
    ("  key-string s3cret", "  key-string ****"),
    (" ip ospf authentication-key s3cret", " ip ospf authentication-key ****"),
    (" neighbor 192.0.2.1 password s3cret", " neighbor 192.0.2.1 password ****"),
    ("enable password 8 s3cret", "enable password 8 ****"),
    ("area 1 virtual-link 10.0.0.1 message-digest-key 3 md5 s3cret",
     "area 1 virtual-link 10.0.0.1 message-digest-key 3 md5 ****"),
    ("  /etc/frr/frr.conf:7: password s3cret", "  /etc/frr/frr.conf:7: password ****"),
    ("+password s3cret\n no neighbor x password a", "+password ****\n no neighbor x password ****"),
    ("a plain password there", "a plain password there"),
    (" ip ospf message-digest-key 1", " ip ospf message-digest-key 1"),
    (" cryptographic-algorithm md5", " cryptographic-algorithm md5"),
])
def test_hidden(line: str, shown: str) -> None:
    assert hidden(line) == shown


CHAIN = """\
key chain pve-ospf-site
 key 7
  key-string {}
  cryptographic-algorithm hmac-sha-256
 exit
exit
"""


def test_what_differs_in_keys_is_said_and_nothing_else() -> None:
    old = ("interface vmbr0\n ip ospf message-digest-key 1 md5 old\n ip ospf cost 3\nexit\n"
           "interface eno1\n ip ospf message-digest-key 2 md5 stays\nexit\n")
    new = old.replace("md5 old", "md5 new").replace("cost 3", "cost 4")
    assert statements(old, new) == [
        "interface vmbr0", "no ip ospf message-digest-key 1",
        "ip ospf message-digest-key 1 md5 new", "exit"]
    assert statements(old, old) == []
    assert statements(old, "") == [
        "interface eno1", "no ip ospf message-digest-key 2", "exit",
        "interface vmbr0", "no ip ospf message-digest-key 1", "exit"]


def test_a_key_chain_is_replaced_as_a_whole() -> None:
    chain = CHAIN.format("new")
    said = [line.strip() for line in chain.splitlines()]
    assert statements("", chain) == said
    assert statements(CHAIN.format("old"), chain) == ["no key chain pve-ospf-site", *said]
    assert statements(chain, "") == ["no key chain pve-ospf-site"]
    assert statements(chain, chain) == []


@pytest.mark.parametrize("text", ["s3cret-s3cret-s3c", "s3cret!", "s3 cret", ""])
def test_the_model_itself_refuses_what_frr_would_misread(text: str) -> None:
    with pytest.raises(Refused) as caught:
        Key("lan", "md5", 1, text)
    assert "s3" not in caught.value.message
