"""`tests/lab/enter python3 -m tests.lab [SUITE]`: the demo topology, and a shell to use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.lab import topology
from tests.lab.lab import Lab
from tests.lab.process import LabError

DIST = Path(__file__).parents[2] / "dist"
HELP = """
The lab is up: nodes pve1 and pve2, routers r1, r2 and r3, and client.
  on MACHINE            a shell on it
  on MACHINE COMMAND…   e.g. `on r3 vtysh -c 'show ip route'`, `on pve1 pct list`
  exit                  takes everything down
"""
# One `on` for all: nsenter into the PID that is in the machine's file.
ON = """#!/bin/sh
machine=$1; shift
pid=$(cat "{directory}/$machine.pid") || exit 1
[ $# -gt 0 ] || set -- bash
exec nsenter --target "$pid" --mount --net --pid --uts --ipc -- "$@"
"""


def main(suite: str = "bookworm") -> int:
    built = sorted(DIST.glob("pve-ospf_*.deb"), key=lambda path: path.stat().st_mtime)
    try:
        with topology.demo(deb=built[-1] if built else None, suite=suite) as lab:
            return shell(lab)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def shell(lab: Lab) -> int:
    """An interactive shell beside the machines; its exit code."""
    tools = lab.directory / "tools"
    tools.mkdir()
    for machine in lab.machines.values():
        (tools / f"{machine.name}.pid").write_text(f"{machine.pid}\n")
    (tools / "on").write_text(ON.format(directory=tools))
    (tools / "on").chmod(0o755)
    print(HELP, flush=True)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PS1": "lab# "}
    return subprocess.run(["bash", "--norc"], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
