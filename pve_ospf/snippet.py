"""The hookscript where Proxmox's storage `local` finds it.

The package makes the link too (debian/hook.sh); this makes what is missing on attach, and
tells `check` whether a guest that names the hookscript could start here at all.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import Refused

HOOK = Path("/usr/libexec/pve-ospf/hookscript")
SNIPPET = Path("/var/lib/vz/snippets/pve-ospf")
VOLUME = "local:snippets/pve-ospf"
_LEFT = "# Left by the removal of pve-ospf"


def ensure() -> None:
    """Makes the link; an administrator's own file of that name is refused, not replaced."""
    if problem() is None:
        return
    if os.path.lexists(SNIPPET) and not (SNIPPET.is_symlink() or _is_placeholder()):
        raise Refused(f"{SNIPPET} exists and is not pve-ospf's",
                      f"rename it, then run: ln -s {HOOK} {SNIPPET}")
    SNIPPET.parent.mkdir(parents=True, exist_ok=True)
    temporary = SNIPPET.with_name(f".pve-ospf.{os.getpid()}")
    temporary.symlink_to(HOOK)
    temporary.replace(SNIPPET)


def problem() -> str | None:
    """Why a guest that names the hookscript would not start or not be announced, or None."""
    if not os.path.lexists(SNIPPET):
        return "does not exist, so attached guests cannot start"
    if not SNIPPET.is_file():
        return "leads nowhere, so attached guests cannot start"
    if not os.access(SNIPPET, os.X_OK):
        return "is not executable, so attached guests cannot start"
    if SNIPPET.resolve() != HOOK.resolve():
        return "is not pve-ospf's hookscript, so attached guests are not announced"
    return None


def _is_placeholder() -> bool:
    try:
        return _LEFT in SNIPPET.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
