"""Every golden file is taken by the FRR it is for, comes to rest, and means what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pve_ospf.frrconf import statements
from pve_ospf.lsdb import ospf_interfaces
from pve_ospf.ospfd import Dialect
from tests.lab.frr import Router
from tests.lab.lab import Lab
from tests.lab.poll import poll
from tests.unit.golden_cases import CASES, FRR_8_4, FRR_10_3, FRR_10_7, GOLDEN, Case

SUITES = {"bookworm": FRR_8_4, "trixie": FRR_10_3, "sid": FRR_10_7}
RELOAD = "/usr/lib/frr/frr-reload.py"
CONF = "/etc/frr/frr.conf"
# Both forwardings as the machine has them: frr-reload would switch them otherwise.
ADMINS = """\
frr defaults traditional
hostname golden
log syslog informational
no ipv6 forwarding
service integrated-vtysh-config
"""
# What frr-reload finds in a daemon's own file for ever (facts/frr.md).
NOISE = ("no hostname golden", "service integrated-vtysh-config")
STARTED = ("two-uplinks-and-tunnels", "high-cost", "uplinks-of-their-own", "md5", "hmac-sha")
"""The cases whose own files each daemon also starts on: a start takes seconds."""
HEADINGS = ("Lines To Delete", "Lines To Add", "===============", "============")


@dataclass
class Frr:
    """A machine with one version of FRR, whose interfaces and configuration tests replace."""

    machine: Router
    dialect: Dialect

    def golden(self, case: Case, name: str) -> str:
        """A golden file, if this FRR has what the case calls for."""
        if not case.speaks(self.dialect):
            pytest.skip("refused for this FRR: tests/unit/test_ospfd.py")
        return (GOLDEN / case.name / name).read_text()

    def set_up(self, case: Case, files: dict[str, str]) -> None:
        """The interfaces of a case, and FRR started on `files` alone."""
        script = ["rm -f /etc/frr/*.conf",
                  "for l in $(ls /sys/class/net); do [ $l = lo ] || ip link del $l || :; done"]
        for number, interface in enumerate(case.interfaces):
            if interface.name == "lo":
                continue
            script.append(f"ip link add {interface.name} up type veth peer name peer{number}")
            script.append(f"ip link set peer{number} up")
            script += [f"ip addr add {a} dev {interface.name}" for a in interface.addresses]
        if self.machine.frr_running:
            self.machine.frr_stop()
        self.machine.sh("\n".join(script) + "\nsed -i s/^ospfd=no/ospfd=yes/ /etc/frr/daemons")
        for path, text in files.items():
            self.write(path, text)
        self.machine.frr_start()
        poll(self.running, 20, "ospfd answers")

    def write(self, path: str, text: str) -> None:
        self.machine.write(path, text, 0o640)
        self.machine.run(["chown", "frr:frr", path])

    def reload(self, *words: str) -> None:
        said = self.machine.run([RELOAD, "--reload", "--stdout", *words]).output
        assert "ERROR" not in said, said

    def difference(self, *words: str) -> list[str]:
        said = self.machine.run([RELOAD, "--test", *words])
        assert "ERROR" not in said.output, said.output
        return [line for line in said.stdout.splitlines() if line and line not in HEADINGS]

    def running(self) -> str:
        return self.machine.vtysh("show running-config")

    def means(self, case: Case) -> None:
        """What OSPF does now is what the case's configuration says, and nothing more."""
        config = case.build(self.dialect)
        now = ospf_interfaces(self.machine.vtysh_json("show ip ospf interface json"))
        assert {(i.name, i.area, i.hello_interval, i.dead_interval, i.passive)
                for i in now if i.enabled} == {
                    (i.name, i.area, 1 / i.minimal if i.minimal else i.hello, i.dead, False)
                    for i in config.interfaces}
        by_name = {i.name: i for i in now}
        for interface in config.interfaces:
            found = by_name[interface.name]
            assert interface.cost in (None, found.cost)
            assert found.network_type == {
                None: found.network_type, "broadcast": "BROADCAST",
                "point-to-point": "POINTOPOINT"}[interface.network]
            said = self.machine.vtysh(f"show ip ospf interface {interface.name}")
            assert ("Cryptographic authentication" in said) == (interface.key is not None)
            assert ("BFD" in said) == interface.bfd
        process = self.machine.vtysh_json("show ip ospf json")
        assert process["routerId"] == str(config.router_id)
        assert process["lsaMinIntervalMsecs"] == process["lsaMinArrivalMsecs"] == 100
        # No subnet but the speaking interfaces' own is told to anyone.
        told = self.machine.vtysh("show ip ospf database router self-originate")
        assert "169.254" not in told
        strangers = {line.split()[-1] for line in told.splitlines() if "TOS 0 Metric" in line}
        assert not config.max_metric or "65535" in strangers or "Transit" not in told
        for tunnel in (i for i in case.interfaces if i.name in config.passive):
            assert all(str(a.network.network_address) not in told for a in tunnel.addresses)


@pytest.fixture(scope="module", params=SUITES)
def frr(request: pytest.FixtureRequest) -> Iterator[Frr]:
    lab = Lab()
    machine = lab.add_router("golden", request.param)
    with lab:
        yield Frr(machine, SUITES[request.param])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_integrated(frr: Frr, case: Case) -> None:
    golden = frr.golden(case, "frr.conf")
    frr.set_up(case, {CONF: ADMINS, "/etc/frr/vtysh.conf": "service integrated-vtysh-config\n"})
    frr.write(CONF, ADMINS + golden)
    frr.machine.run(["vtysh", "-C", "-f", CONF])
    before = statements(frr.running())
    frr.reload(CONF)
    assert frr.difference(CONF) == []
    assert statements(frr.running()) - before == statements(golden)
    frr.means(case)
    frr.reload(CONF)
    assert frr.difference(CONF) == []
    # Of a daemon's own file, the same twice.
    own = frr.golden(case, "split-ospfd.conf")
    beside = statements(frr.machine.vtysh("show running-config ospfd no-header"))
    head = [s.text for s in beside - statements(own) if not s.stanza]
    frr.write("/tmp/ospfd.conf", "\n".join([*head, own]))
    daemon = ("--daemon", "ospfd", "/tmp/ospfd.conf")
    for _ in range(2):
        assert not set(frr.difference(*daemon)) - set(NOISE)
        frr.reload(*daemon)


def test_read_at_the_start(frr: Frr) -> None:
    """The way of every boot: no reload has put anything right."""
    case = next(case for case in CASES if case.name == "two-uplinks-and-tunnels")
    golden = (GOLDEN / case.name / "frr.conf").read_text()
    frr.set_up(case, {CONF: ADMINS + golden,
                      "/etc/frr/vtysh.conf": "service integrated-vtysh-config\n"})
    poll(lambda: statements(golden) <= statements(frr.running()), 20, "FRR has read its file")
    assert frr.difference(CONF) == []
    frr.means(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_split_is_taken_by_ospfd(frr: Frr, case: Case) -> None:
    golden = frr.golden(case, "split-ospfd.conf")
    frr.machine.write("/tmp/ospfd.conf", golden)
    said = frr.machine.run(["/usr/lib/frr/ospfd", "-C", "-f", "/tmp/ospfd.conf"])
    assert said.output == ""


@pytest.mark.parametrize("case", [case for case in CASES if case.name in STARTED],
                         ids=lambda case: case.name)
def test_split(frr: Frr, case: Case) -> None:
    files = {part: frr.golden(case, f"split-{part}.conf") for part in ("zebra", "ospfd")}
    head = "hostname golden\n"
    frr.set_up(case, {"/etc/frr/vtysh.conf": "no service integrated-vtysh-config\n",
                      "/etc/frr/zebra.conf": head + files["zebra"],
                      "/etc/frr/ospfd.conf": head + files["ospfd"]})
    everything = statements(files["zebra"]) | statements(files["ospfd"])
    poll(lambda: everything <= statements(frr.running()), 20, "FRR has read its files")
    own = ("--daemon", "ospfd", "/etc/frr/ospfd.conf")
    assert not set(frr.difference(*own)) - set(NOISE)
    frr.reload(*own)
    assert not set(frr.difference(*own)) - set(NOISE)
    assert everything <= statements(frr.running())
    frr.means(case)


def test_a_bad_file_is_rejected(frr: Frr) -> None:
    """The control: these validators do say no."""
    golden = (GOLDEN / "two-uplinks-and-tunnels/frr.conf").read_text()
    bad = golden.replace("ip ospf passive", "ip ospf pasive")
    assert bad != golden
    frr.machine.write("/tmp/bad.conf", bad)
    said = frr.machine.run(["vtysh", "-C", "-f", "/tmp/bad.conf"], check=False)
    assert said.returncode == 2 and "ip ospf pasive" in said.output
    said = frr.machine.run(["/usr/lib/frr/ospfd", "-C", "-f", "/tmp/bad.conf"])
    assert "No such command on config line" in said.stderr and "pasive" in said.stderr


def test_older_versions_text_does_not_come_to_rest_here(frr: Frr) -> None:
    """The control for the dialects: `passive-interface` never converges from 8.1 on."""
    case = next(case for case in CASES if case.name == "two-uplinks-and-tunnels")
    old = (GOLDEN / case.name / "frr-7.5.conf").read_text()
    frr.set_up(case, {CONF: ADMINS, "/etc/frr/vtysh.conf": "service integrated-vtysh-config\n"})
    frr.write(CONF, ADMINS + old)
    frr.reload(CONF)
    assert frr.difference(CONF) != []
