"""Pure: what of the administrator's a change of the running FRR would take away."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .frrconf import Statement, lines


def taken_away(commands: Sequence[str], kept: Collection[Statement]) -> tuple[Statement, ...]:
    """The statements of `kept` that these commands of frr-reload end, sorted.

    It takes a statement away by its beginning, too (`no ip prefix-list NAME`), and a whole
    stanza at once; and what stands there as `no …`, by saying it.
    """
    found: set[Statement] = set()
    for line in lines("\n".join(commands)):
        words = " ".join(line.raw.split())
        if words.startswith("no "):
            what = words.removeprefix("no ")
            found |= {s for s in kept if s.stanza == line.stanza and _begins(s.text, what)}
            if not line.stanza:
                found |= {s for s in kept if s.stanza and _begins(s.stanza, what)}
        elif line.statement:
            found |= {s for s in kept if s == Statement(line.stanza, f"no {words}")}
    return tuple(sorted(found))


def _begins(text: str, with_: str) -> bool:
    return text == with_ or text.startswith(f"{with_} ")
