"""A user's flow, and its packets counted on the cluster's tunnels, at both ends of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.lab.lab import Lab
from tests.lab.poll import poll
from tests.lab.process import kill_group

TABLE = """
table inet users_flow {{
	chain incoming {{
		type filter hook prerouting priority -400;
{rules_in}
	}}
	chain outgoing {{
		type filter hook postrouting priority 400;
{rules_out}
	}}
}}
"""
RULE = '\t\t{direction}ifname "{name}" ip {end} {user} counter comment "{name}"'


def count(lab: Lab, user: str, tunnels: Iterable[str]) -> None:
    """From now on each node counts what goes in or out by a tunnel, from or to `user`. One that
    does not exist yet is counted when it does."""
    names = tuple(tunnels)
    rules_in, rules_out = ("\n".join(RULE.format(direction=direction, name=name, end=end, user=user)
                                     for name in names for end in ("saddr", "daddr"))
                           for direction in "io")
    for node in lab.nodes:
        node.run(["nft", "-f", "-"], stdin=TABLE.format(rules_in=rules_in, rules_out=rules_out))


def crossed(lab: Lab) -> Counter[str]:
    """Tunnel → packets counted so far."""
    found: Counter[str] = Counter()
    for node in lab.nodes:
        for entry in json.loads(node.sh("nft -j list table inet users_flow"))["nftables"]:
            rule = entry.get("rule", {})
            for part in rule.get("expr", ()):
                found[rule["comment"]] += int(part.get("counter", {}).get("packets", 0))
    return found


@contextmanager
def flowing(lab: Lab, user: str) -> Iterator[None]:
    """Twenty packets a second from the client to `user`, who is reached at the end."""
    ping = lab.client.popen(["ping", "-q", "-n", "-i", "0.05", user])
    try:
        yield
        poll(lambda: lab.client.ping(user), 90, "the user is reached again")
    finally:
        kill_group(ping)
