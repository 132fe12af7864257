"""Whose address the LAN is asked for before it is taken."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pve_ospf import incoming, onlink
from pve_ospf.announce import Desired, Node
from pve_ospf.config import Config
from pve_ospf.errors import CannotTell
from pve_ospf.interfaces import Roles
from pve_ospf.model import Announcement
from pve_ospf.picture import Cluster, Picture
from pve_ospf.routes import KernelState

ADDRESS = IPv4Address("10.0.1.77")
WANTED = Announcement(ADDRESS, "vmbr1", "bc:24:11:00:00:01", 200, "vmbr0")
PICTURE = Picture(Config(()), Cluster(), Node("pve1", Roles()), KernelState(), Desired((WANTED,)))


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[IPv4Address]:
    """The addresses the LAN was asked for; the uplink is down, so nothing can be known."""
    found: list[IPv4Address] = []

    def strangers(_picture: Picture, _uplink: str, addresses: Collection[IPv4Address]) -> None:
        found.extend(addresses)
        raise CannotTell("vmbr0 is down")

    monkeypatch.setattr(onlink, "strangers", strangers)
    monkeypatch.setattr(incoming, "DIRECTORY", tmp_path / "incoming")
    return found


def test_a_guest_that_starts_has_its_address_asked_for(asked: list[IPv4Address]) -> None:
    (announcement,) = onlink.free(PICTURE).desired.announcements
    assert asked == [ADDRESS]
    assert announcement.uplink is None, "not taken there until somebody could be asked"


def test_a_vm_that_a_live_migration_brings_has_not(asked: list[IPv4Address]) -> None:
    """It was out for as long as asking takes: 0.27 s at the switchover."""
    incoming.expect(200, "pve2")
    assert onlink.free(PICTURE) is PICTURE
    assert asked == []
