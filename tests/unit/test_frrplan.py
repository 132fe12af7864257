"""What removal makes of FRR's files, where that needs no FRR."""

from __future__ import annotations

from pathlib import Path

from pve_ospf import frrconf, frrplan
from pve_ospf.frrfiles import Layout
from pve_ospf.switches import switched_on


def test_removal_makes_no_file(tmp_path: Path) -> None:
    zebra, ospfd = tmp_path / "zebra.conf", tmp_path / "ospfd.conf"
    ospfd.write_text("hostname mine\n" + frrconf.block("router ospf\n log-adjacency-changes\n"))
    files = frrplan.without_us(Layout("split", ((zebra, "zebra"), (ospfd, "ospfd"))))[0]
    assert [(c.path, c.new) for c in files if c.old != c.new] == [(ospfd, "hostname mine\n")]


def test_daemons_that_are_switched_on() -> None:
    text = "bgpd=yes\n#ripd=yes\nospfd=no\nbfdd=yes\nbfdd=0\nvtysh_enable=yes\nisisd='yes'\n"
    assert switched_on(text + 'bgpd_options="-A 127.0.0.1"\n') == {"bgpd", "isisd"}
