"""Pure: the keys OSPF authenticates with; none of them is ever shown.

A file of its own, because www-data reads /etc/pve but not /etc/pve/priv:

    backbone: {type: md5, id: 1, key: "s3cret"}
    site-b: {type: hmac-sha-256, id: 2, key: "a longer s3cret"}

FRR says nothing about what it misreads here: of an MD5 key it takes the first 16 characters
(8.4.4 to 10.7.1), and frr-reload drops a line with `!` in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .config import KEY_NAME, document
from .errors import ConfigError, Refused

MD5 = "md5"
LONGEST = {MD5: 16, "hmac-sha-256": 63}
"""Characters of a key by algorithm. Debian's FRR is built without OpenSSL and knows no other."""

_TEXT = re.compile(r"[A-Za-z0-9#$%&*+,./:;<=>@^_~()\[\]{}-]+")



@dataclass(frozen=True, slots=True)
class Key:
    """A key, and what a router has to be told beside it; `text` is left out of every repr."""

    name: str
    algorithm: str
    id: int
    text: str = field(repr=False)

    def __post_init__(self) -> None:
        problem = _misread(self.algorithm, self.text)
        if problem:
            raise Refused(f"key {self.name}: {problem}")

    @property
    def chain(self) -> str | None:
        """The key chain it stands in; None for MD5, which stands at the interface."""
        return None if self.algorithm == MD5 else f"pve-ospf-{self.name}"


def parse(text: str, source: str) -> dict[str, Key]:
    """The keys of a file by name. Raises ConfigError, which never tells the key."""
    return {str(name): _key(name, entry, source)
            for name, entry in document(text, source, "it holds no key").items()}


def _key(name: Any, entry: Any, source: str) -> Key:
    def wrong(problem: str, below: str = "") -> ConfigError:
        return ConfigError(f"{source}: {name}{below}: {problem}")

    if not isinstance(name, str) or not KEY_NAME.fullmatch(name) or name == "none":
        raise wrong("is not a name for a key: small letters, digits and -, at most 31")
    if not isinstance(entry, Mapping) or set(entry) != {"type", "id", "key"}:
        raise wrong("takes exactly the keys id, key, type")
    algorithm, number, text = entry["type"], entry["id"], entry["key"]
    if algorithm not in LONGEST:
        raise wrong(f"{algorithm!r} is not a type; allowed: {', '.join(LONGEST)}", ".type")
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 255:
        raise wrong(f"{number!r} is not a whole number 1-255", ".id")
    problem = _misread(algorithm, text)
    if problem:
        raise wrong(problem, ".key")
    return Key(name, algorithm, number, text)


def _misread(algorithm: str, text: Any) -> str:
    """What FRR would make of a key without a word, "" when nothing."""
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        return "a key is letters, digits and #$%&*+,-./:;<=>@^_~()[]{} in quotes, no spaces"
    if len(text) > LONGEST[algorithm]:
        return (f"{len(text)} characters; {algorithm} takes {LONGEST[algorithm]}, and FRR would "
                "cut it off without a word")
    return ""
