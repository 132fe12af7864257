"""What of the administrator's a change would take away."""

from __future__ import annotations

import pytest

from pve_ospf.foreign import taken_away
from pve_ospf.frrconf import statements

HIS = """\
no ip forwarding
ip prefix-list mine seq 5 permit 10.0.0.0/8
ip prefix-list mine seq 10 permit any
interface vmbr0
 description the way out
 ip ospf cost 7
exit
router ospf
 log-adjacency-changes detail
exit
route-map his permit 10
 match ip address prefix-list mine
exit
"""


@pytest.mark.parametrize(("commands", "gone"), [
    ("interface vmbr0\n no ip ospf hello-interval 1", []),
    ("no ip prefix-list pve-ospf-deny seq 5 permit 10.0.0.0/8 le 32", []),
    ("no route-map pve-ospf permit 1000\nrouter ospf\n no redistribute kernel", []),
    ("no interface vxlan9", []),
    ("interface vmbr0\n ip ospf cost 7", []),
    ("interface vmbr1\n no ip ospf cost 7", []),
    ("interface vmbr0\n no ip ospf cost 7\n exit", ["ip ospf cost 7"]),
    ("interface vmbr0\n no ip ospf cost", ["ip ospf cost 7"]),
    ("no interface vmbr0", ["description the way out", "ip ospf cost 7"]),
    ("no router ospf", ["log-adjacency-changes detail"]),
    ("no ip prefix-list mine", ["ip prefix-list mine seq 10 permit any",
                                "ip prefix-list mine seq 5 permit 10.0.0.0/8"]),
    ("no ip prefix-list min", []),
    ("no route-map his permit 10", ["match ip address prefix-list mine"]),
    ("ip forwarding", ["no ip forwarding"]),
])
def test_what_is_his_and_goes(commands: str, gone: list[str]) -> None:
    assert [s.text for s in taken_away(commands.split("\n"), statements(HIS))] == gone
