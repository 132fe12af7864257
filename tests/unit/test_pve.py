"""Which configuration counts, when none may be taken for the cluster's; processes that end."""

import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from pve_ospf import pve
from pve_ospf.errors import CannotTell, ConfigError
from tests.lab.poll import poll


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pve, "PVE", tmp_path / "pve")
    monkeypatch.setattr(pve, "CLUSTER_CONFIG", tmp_path / "pve/pve-ospf.yaml")
    monkeypatch.setattr(pve, "LOCAL_CONFIG", tmp_path / "config.yaml")
    monkeypatch.setattr(pve, "PMXCFS", tmp_path / "pmxcfs")
    (tmp_path / "pve").mkdir()
    return tmp_path


def _allowed() -> list[IPv4Network]:
    return [entry.prefix for entry in pve.read_config("pve1").allow]


def test_the_clusters_file_comes_first_and_the_nodes_own_where_there_is_no_cluster(
        root: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        _allowed()
    (root / "config.yaml").write_text("allow: [192.0.2.0/24]\n")
    assert _allowed() == [IPv4Network("192.0.2.0/24")]
    (root / "pve/pve-ospf.yaml").write_text("allow: [198.51.100.0/24]\n")
    assert _allowed() == [IPv4Network("198.51.100.0/24")]


def test_until_etc_pve_is_mounted_the_nodes_own_file_does_not_count(root: Path) -> None:
    (root / "config.yaml").write_text("allow: [192.0.2.0/24]\n")
    (root / "pmxcfs").touch()
    with pytest.raises(CannotTell, match="not mounted"):
        _allowed()
    (root / "pve/local").symlink_to("nodes/pve1")
    assert _allowed() == [IPv4Network("192.0.2.0/24")]


def test_a_process_that_ended_and_is_not_waited_for_has_no_arguments() -> None:
    with subprocess.Popen(["true"]) as ended:
        poll(lambda: not Path(f"/proc/{ended.pid}/cmdline").read_bytes(), 10, "ended")
        assert Path(f"/proc/{ended.pid}").exists(), "as pve.running() sees it"
        assert pve.command_line(str(ended.pid)) == ()
