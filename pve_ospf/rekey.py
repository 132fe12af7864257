"""Pure: what FRR has to be told, in a file, for its keys to be those of a configuration.

frr-reload takes a statement away as arguments of vtysh, where everybody on the node can read
them, and logs what it adds. So it must find the keys as they shall be.
"""

from __future__ import annotations

import re

from .frrconf import lines

_AT_INTERFACE = re.compile(r"(ip ospf message-digest-key \d+) md5 \S+( \S+)?")


def statements(running: str, wanted: str) -> list[str]:
    """The lines of that file: from the keys of one configuration to those of another."""
    before, after = _found(running), _found(wanted)
    return [line for stanza in sorted(before | after)
            if before.get(stanza) != after.get(stanza)
            for line in _differing(stanza, before.get(stanza, []), after.get(stanza, []))]


def _found(text: str) -> dict[str, list[str]]:
    """Stanza → the lines with a key; of key chains all lines."""
    found: dict[str, list[str]] = {}
    for line in lines(text):
        if line.statement and (line.stanza.startswith("key chain ")
                               or _AT_INTERFACE.fullmatch(line.statement.text)):
            found.setdefault(line.stanza, []).append(line.statement.text)
    return found


def _differing(stanza: str, before: list[str], after: list[str]) -> list[str]:
    if stanza.startswith("key chain "):
        # A key that became another one must not keep anything of the first.
        return [f"no {stanza}"] * bool(before) + [stanza, *after, "exit", "exit"] * bool(after)
    gone = [_AT_INTERFACE.sub(r"no \1\2", text) for text in before if text not in after]
    return [stanza, *gone, *(text for text in after if text not in before), "exit"]
