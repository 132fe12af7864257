"""The systems that the package tests share: Debian 12 and 13 with the package installed by apt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.machine import runtime_directory
from tests.lab.process import Result, run
from tests.package.system import ProxmoxSystem, System, SystemLab, keep
from tests.package.tree import SUITES

ALLOW = "allow: [198.51.100.0/24]\n"


@dataclass(frozen=True)
class Installed:
    """What `apt-get install ./pve-ospf.deb` made of a plain Debian."""

    suite: str
    layer: Path
    apt: Result
    states: str
    """What systemctl said right after it, one line for each of UNITS and question."""


STATES = """
for unit in pve-ospf frr; do
	for question in is-enabled is-active is-failed; do
		echo "$unit $question: $(systemctl $question $unit || :)"
	done
done
"""


@pytest.fixture(scope="session")
def installations() -> dict[str, Installed]:
    """Suite → what came of its installation. pytest itself keeps but one parameter's fixture."""
    return {}


@pytest.fixture(
    scope="session",
    params=[pytest.param(suite, marks=pytest.mark.xdist_group(suite)) for suite in SUITES],
)
def installed(
    request: pytest.FixtureRequest, deb: Path, installations: dict[str, Installed]
) -> Installed:
    """The package on a plain Debian: no FRR before, no Proxmox, no network. Once for each suite."""
    suite: str = request.param
    if suite not in installations:
        installations[suite] = install(suite, deb)
    return installations[suite]


def install(suite: str, deb: Path) -> Installed:
    lab = SystemLab()
    plain = lab.add_system("plain", suite)
    with lab:
        apt = plain.install(deb)
        states = plain.sh(STATES)
        layer = keep(plain, runtime_directory()[0] / f"installed-{lab.name}")
    return Installed(suite, layer, apt, states)


@pytest.fixture
def plain(installed: Installed) -> Iterator[System]:
    """A Debian with the package, without Proxmox, after a reboot."""
    lab = SystemLab()
    system = lab.add_system("plain", installed.suite, installed.layer)
    with lab:
        yield system


@pytest.fixture
def pve(installed: Installed) -> Iterator[ProxmoxSystem]:
    """A Proxmox node with the package, with a bridge for guests and no OSPF about."""
    lab = SystemLab()
    system = lab.add_proxmox("pve1", "10.0.1.11", installed.suite, installed.layer)
    system.bridge("vmbr1")
    with lab:
        yield system


def compose(installed: Installed) -> SystemLab:
    """r1, an OSPF router, and pve1, a Proxmox node with the package, on one LAN. Not raised yet.

    Nothing is configured on the node but its network.
    """
    lab = SystemLab()
    lan = lab.add_lan("net1")
    router = lab.add_router("r1")
    router.plug("eth0", lan, "10.0.1.1/24")
    router.ospf("10.0.1.1", {"eth0": 10})
    node = lab.add_proxmox("pve1", "10.0.1.11", installed.suite, installed.layer)
    node.plug("eth0", lan)
    node.bridge("vmbr0", "10.0.1.11/24", ports=["eth0"])
    node.route("default", via="10.0.1.1")
    node.bridge("vmbr1")
    return lab


REPACK = """
cd "$1"
dpkg-deb --raw-extract "$2" tree
sed -i 's/^Version: .*/Version: 999/' tree/DEBIAN/control
cd tree/usr/lib/python3/dist-packages/pve_ospf
sed -i 's/^__version__ = .*/__version__ = "999"/' __init__.py
cd "$1"
dpkg-deb --build --root-owner-group tree pve-ospf_999_all.deb
"""


@pytest.fixture(scope="session")
def newer(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package once more, with a higher version."""
    place = tmp_path_factory.mktemp("newer")
    run(["sh", "-ec", REPACK, "sh", place, deb])
    return place / "pve-ospf_999_all.deb"
