"""FRR's service: started, stopped, started at boot; by systemd, or by its script without it.
And commands of ours that run on by themselves."""

from __future__ import annotations

from pathlib import Path
from time import time_ns

from .errors import Refused
from .program import run
from .vtysh import DAEMONS

SYSTEMD = Path("/run/systemd/system")
PROGRAM = Path("/usr/bin/pve-ospf")


def restart(within: float = 120) -> None:
    """Restarts FRR as a whole, so that daemons newly switched on start; `within` seconds.

    Raises Refused, and CannotTell when it takes longer.
    """
    _do("restart", within)


def stop(within: float = 120) -> None:
    """Stops FRR as a whole, as restart() does."""
    _do("stop", within)


def starts_at_boot() -> bool:
    """Whether systemd starts FRR; Proxmox ships it installed and not enabled. True where
    there is no systemd to ask."""
    return not SYSTEMD.exists() or not run(["systemctl", "is-enabled", "--quiet", "frr"], 20).code


def start_at_boot(wanted: bool) -> None:
    """Has systemd start FRR from now on, or no longer. Raises Refused."""
    verb = "enable" if wanted else "disable"
    result = run(["systemctl", verb, "--quiet", "frr"], 60)
    if result.code:
        raise Refused(f"systemctl {verb} frr failed: {result.first_line()}")


def detach(command: str) -> None:
    """Has `pve-ospf COMMAND` run on by itself, whatever becomes of us and of our session.

    Under systemd as a unit of its own: the end of a session, or of a service, takes along
    everything that is in its cgroup. Raises Refused.
    """
    by = (["systemd-run", "--quiet", "--collect", f"--unit=pve-ospf-{command}-{time_ns()}"]
          if SYSTEMD.exists() else ["setsid", "--fork"])
    result = run([*by, PROGRAM, command], 20)
    if result.code:
        raise Refused(f"{by[0]} pve-ospf {command} failed: {result.first_line()}")


def _do(verb: str, within: float) -> None:
    command = (["systemctl", verb, "frr"] if SYSTEMD.exists()
               else [str(DAEMONS / "frrinit.sh"), verb])
    if SYSTEMD.exists():
        # frr.service may start three times in three minutes; one restart more stops FRR and
        # leaves it stopped. Resetting a unit resets that count, too.
        run(["systemctl", "reset-failed", "frr"], 20)
    result = run(command, within)
    if result.code:
        raise Refused(f"{' '.join(command)} failed: {result.first_line()}",
                      "See: systemctl status frr; journalctl -u frr")
