"""The kernel as sync knows it, through its two doors: rtnetlink, and nft for the guest filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby

from . import nft, rtnetlink
from .guestfilter import GuestFilter, Permit
from .interfaces import Roles
from .model import Interface
from .routes import Change, KernelState


def read_state(roles_of: Callable[[tuple[Interface, ...]], Roles]) -> KernelState:
    """Everything the kernel holds that concerns us. Raises CannotTell; a filter that cannot be
    read is no reason to leave routes alone, and only told (KernelState.filter.problem)."""
    return replace(rtnetlink.read_state(roles_of), filter=nft.read())


def apply(changes: Iterable[Change]) -> list[tuple[Change, str]]:
    """Carries out the changes in their order; what fails is returned with the kernel's reason
    and never stops the rest."""
    failed: list[tuple[Change, str]] = []
    for filtering, group in groupby(changes, lambda c: isinstance(c.item, GuestFilter | Permit)):
        door = nft.apply if filtering else rtnetlink.apply
        failed += door(group)
    return failed
