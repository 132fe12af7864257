"""Beside Proxmox SDN: what is refused, and that what its merge leaves says what we mean."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from pve_ospf import redistribution, sdn
from pve_ospf.errors import Refused
from pve_ospf.frrconf import block, statements
from pve_ospf.ospfd import render
from tests.lab.standin.sdn import Frr, merge, written
from tests.unit.golden_cases import ALLOW, FRR_8_4, GUESTS, NIC, UPLINK, Case

CONFIG = Case("", ALLOW, (UPLINK, NIC, GUESTS)).build(FRR_8_4)
EVPN = "/etc/pve/sdn/controllers.cfg: evpn: main"
FABRIC = "/etc/pve/sdn/fabrics.cfg: ospf_fabric: backbone"


def merged(text: str) -> str:
    frr = Frr()
    merge(text, frr)
    return "\n".join(written(frr))


def test_everything_survives_the_merge_and_markers_do_no_harm() -> None:
    text = render(sdn.mergeable(CONFIG))
    said = statements(merged(block(text)))
    assert said - {s for s in said if s.text == "line vty"} == statements(text)
    assert merged(block(text)) == merged(text)


def test_the_control_the_plain_configuration_does_not_survive() -> None:
    assert not statements(render(CONFIG)) <= statements(merged(block(render(CONFIG))))


def test_merged_it_lets_out_what_it_would_by_itself() -> None:
    plain = redistribution.read(render(CONFIG, "ospfd"))
    after = redistribution.read(merged(render(sdn.mergeable(CONFIG))))
    assert plain is not None and after is not None
    addresses = ["198.51.100.7", "203.0.113.9", "169.254.1.1", "127.0.0.1", "224.0.0.5",
                 "192.0.2.11", "192.0.2.77", "8.8.8.8"]
    for address in map(IPv4Address, addresses):
        for device in (GUESTS.name, UPLINK.name):
            assert after.permits(address, device) == plain.permits(address, device), address
    assert after.permits(IPv4Address("198.51.100.7"), GUESTS.name)


def test_denials_have_lower_numbers_than_permits() -> None:
    for prefixes in sdn.mergeable(CONFIG).prefix_lists:
        actions = [rule.action for _, rule in prefixes.entries()]
        assert actions == sorted(actions), "deny before permit"


@pytest.mark.parametrize(("owners", "opted_in", "local", "named"), [
    ([EVPN], False, False, "controllers.cfg: evpn: main"),
    ([], False, True, "/etc/frr/frr.conf.local exists"),
    ([EVPN], True, False, "does not exist on this node"),
    ([FABRIC], False, False, "fabric backbone"),
    ([FABRIC, EVPN], True, True, "fabric backbone"),
])
def test_refused(owners: list[str], opted_in: bool, local: bool, named: str) -> None:
    with pytest.raises(Refused) as refused:
        sdn.check(owners, opted_in, local)
    assert named in refused.value.message and refused.value.hint


def test_opted_in_with_the_file_there_it_is_not() -> None:
    sdn.check([EVPN], True, True)
    sdn.check([], True, True)
