"""`attach` and `detach`: makes guests ours, or no longer ours, by their hookscript."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from . import pveapi, snippet
from .errors import ConfigError, PveOspfError, Refused
from .model import Guest
from .sync import Picture, look, sync

Say = Callable[[str], None]


def attach(vmids: Iterable[int], say: Say) -> bool:
    """Sets the hookscript of each guest; one that fails never stops the others.

    A guest that already runs here is announced at once. Returns whether all succeeded.
    """
    picture = look()
    guests = _guests(picture, vmids)
    snippet.ensure()
    return _each(guests, say, _attach_one, snippet.VOLUME) & _follow(picture, guests, say)


def detach(vmids: Iterable[int], say: Say) -> bool:
    """Takes the hookscript off each guest; what runs here is withdrawn at once."""
    picture = look()
    guests = _guests(picture, vmids)
    return _each(guests, say, _detach_one, None) & _follow(picture, guests, say)


def _guests(picture: Picture, vmids: Iterable[int]) -> list[Guest]:
    """All of them or an error, before the first is touched."""
    found = []
    for vmid in dict.fromkeys(vmids):
        guest = picture.cluster.guest(vmid)
        if guest is None:
            raise ConfigError(f"guest {vmid} does not exist in this cluster", "see: pct list")
        found.append(guest)
    return found


def _each(guests: list[Guest], say: Say, act: Callable[[Guest], str | None],
          volume: str | None) -> bool:
    good = True
    for guest in guests:
        try:
            already = act(guest)
            if already:
                say(f"{guest.vmid}: {already}")
                continue
            pveapi.set_hookscript(guest, volume)
            say(f"{guest.vmid}: {'attached' if volume else 'detached'} ({guest.node})")
        except PveOspfError as error:
            say(f"{guest.vmid}: {error.message}")
            if error.hint:
                say(f"  {error.hint}")
            good = False
    return good


def _attach_one(guest: Guest) -> str | None:
    if guest.attached:
        return "already attached"
    if guest.hookscript:
        raise Refused(f"it has a hookscript already: {guest.hookscript}",
                      "Proxmox knows one hookscript per guest; to replace it: "
                      f"{'pct' if guest.kind == 'lxc' else 'qm'} set {guest.vmid} "
                      "--delete hookscript")
    return None


def _detach_one(guest: Guest) -> str | None:
    return None if guest.attached else "is not attached"


def _follow(before: Picture, guests: list[Guest], say: Say) -> bool:
    """Brings the kernel into line for guests of this node, and says what is in the way."""
    if not any(g.node == before.node.name for g in guests):
        return True
    result = sync()
    if result is None:
        return True
    for change, reason in result.failed:
        say(f"{change} failed: {reason}")
    concerned = {f"guest {g.vmid}" for g in guests}
    for finding in result.findings:
        if finding.subject in concerned:
            say(f"{finding.subject}: {finding.message}\n  {finding.fix}")
    return not result.failed
