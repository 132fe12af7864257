"""Pure: FRR's configuration as it may be shown: without keys and passwords, ours or not."""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    r"(?P<word>(?:\b(?:message-digest-key \d+ md5|authentication-key|key-string|"
    r"authentication string)|(?:^|(?<=[:+-]))[ ]*(?:no )?(?:enable |neighbor \S+ )?password)"
    r"(?: [0-9](?= ))?) \S+", re.MULTILINE)
"""A password stands at the beginning of a statement; elsewhere the word is ours."""


def hidden(text: str) -> str:
    """The text with **** for every key and password of FRR's configuration."""
    return _HIDDEN.sub(r"\g<word> ****", text)
