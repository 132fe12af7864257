"""The systems that the package tests share: Debian 12 and 13 with the package installed by apt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.machine import runtime_directory
from tests.lab.process import Result, run
from tests.package.network import announce, compose, known, own_lines
from tests.package.system import ProxmoxSystem, System, SystemLab, keep
from tests.package.tree import SUITES


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


@pytest.fixture(scope="session")
def standing() -> Iterator[dict[str, SystemLab]]:
    """Suite → a network with guest 101 announced; every test leaves it so."""
    labs: dict[str, SystemLab] = {}
    yield labs
    for lab in labs.values():
        lab.close()


@pytest.fixture
def network(installed: Installed, standing: dict[str, SystemLab]) -> SystemLab:
    """The standing one; a new one after a test that has not left it as it was."""
    old = standing.pop(installed.suite, None)
    if old is not None and not known(old):
        old.close()
        old = None
    if old is None:
        old = compose(installed.suite, installed.layer)
        old.start()
        standing[installed.suite] = old
        announce(old, own_lines(old))
    standing[installed.suite] = old
    return old


@pytest.fixture
def announced(network: SystemLab) -> ProxmoxSystem:
    """pve1, where guest 101 runs and is announced."""
    node = network.machines["pve1"]
    assert isinstance(node, ProxmoxSystem)
    return node


REPACK = """
cd "$1"
dpkg-deb --raw-extract "$2" tree
sed -i "s/^Version: .*/Version: $3/" tree/DEBIAN/control
sed -i "s/^__version__ = .*/__version__ = \\"$3\\"/" \
	tree/usr/lib/python3/dist-packages/pve_ospf/__init__.py
[ -z "$4" ] || cp "$4" "$(find tree -name pve-ospf.service)"
dpkg-deb --build --root-owner-group tree "pve-ospf_$3_all.deb"
rm -r tree
"""

# pve-ospf.service before there was an agent.
ONESHOT = """\
[Unit]
After=network.target networking.service frr.service pve-cluster.service
Before=pve-guests.service
ConditionPathExists=|/etc/pve/pve-ospf.yaml
ConditionPathExists=|/etc/pve-ospf/config.yaml
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/pve-ospf sync
SuccessExitStatus=1
TimeoutStartSec=60
[Install]
WantedBy=multi-user.target
"""


def repack(deb: Path, place: Path, version: str, unit: Path | None = None) -> Path:
    """The same package with another version, and perhaps another unit."""
    run(["sh", "-ec", REPACK, "sh", place, deb, version, unit or ""])
    return place / f"pve-ospf_{version}_all.deb"


@pytest.fixture(scope="session")
def newer(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package once more, with a higher version."""
    return repack(deb, tmp_path_factory.mktemp("newer"), "999")


@pytest.fixture(scope="session")
def older(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a lower version, whose unit runs `sync` and no agent."""
    place = tmp_path_factory.mktemp("older")
    unit = place / "pve-ospf.service"
    unit.write_text(ONESHOT)
    return repack(deb, place, "0.0.1", unit)
