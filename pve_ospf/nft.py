"""The only door to nftables, and to one table of it: our own (guestfilter.py).

It is written as a whole by `nft`; it is read, and single elements are changed, by netlink.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

from . import nfmessage, program, rtmessage, rtnetlink
from .errors import CannotTell
from .guestfilter import Contents, FilterState, GuestFilter, Permit, render, state
from .routes import Change
from .rtmessage import Message

_NETLINK_NETFILTER = 12
_LARGEST = 1 << 17
_ATTEMPTS = 50
_PATIENCE = 2.0
"""Seconds for an answer of the kernel, which gives it at once or not at all."""
_WRITING = 10.0
_AT_ONCE = 200
"""Elements in one batch: the kernel's answers fit into what a socket holds by default."""


def read() -> FilterState:
    """What our table holds. Never raises: what cannot be read is its `problem`."""
    try:
        with _kernel() as kernel:
            for _ in range(_ATTEMPTS):
                try:
                    return _read(kernel)
                except rtmessage.Interrupted:
                    time.sleep(0.005)
    except OSError as error:
        return FilterState(problem=f"the nft table cannot be read: {error.strerror or error}")
    return FilterState(problem="the nft tables changed during each of "
                               f"{_ATTEMPTS} attempts to read ours")


def generation() -> int:
    """A number that every change of any nft table raises; 0 when it cannot be had."""
    try:
        with _kernel() as kernel:
            found = _list(kernel, nfmessage.GETGEN, dump=False)
    except (OSError, rtmessage.Interrupted):
        return 0
    return nfmessage.generation(found[0]) if found else 0


def apply(changes: Iterable[Change]) -> list[tuple[Change, str]]:
    """Carries out changes of the table in their order, as rtnetlink.apply() does: what fails is
    returned with the reason and never stops the rest, what is gone counts as deleted."""
    failed: list[tuple[Change, str]] = []
    for (kind, _), group in groupby(changes, lambda c: (type(c.item), c.action)):
        some = list(group)
        while some:
            part, some = some[:_AT_ONCE], some[_AT_ONCE:]
            failed += _elements(part) if kind is Permit else _tables(part)
    return failed


def _tables(changes: list[Change]) -> list[tuple[Change, str]]:
    failed = []
    for change in changes:
        if isinstance(change.item, GuestFilter):
            reason = (_written(render(change.item)) if change.action == "replace"
                      else _reason(_committed([nfmessage.delete_table(1)]), change))
            if reason:
                failed.append((change, reason))
    return failed


def _elements(changes: list[Change]) -> list[tuple[Change, str]]:
    """Together; where that fails one by one, for a batch is made whole or not at all."""
    code = _committed(_messages(changes))
    if not code:
        return []
    if len(changes) == 1:
        reason = _reason(code, changes[0])
        return [(changes[0], reason)] if reason else []
    return [failure for change in changes for failure in _elements([change])]


def _messages(changes: Iterable[Change]) -> list[bytes]:
    return [nfmessage.element(change.item, number, add=change.action == "replace")
            for number, change in enumerate(changes, start=1) if isinstance(change.item, Permit)]


def _reason(code: int, change: Change) -> str:
    gone = change.action == "delete" and code == errno.ENOENT
    return "" if gone or not code else os.strerror(code)


def _committed(messages: list[bytes]) -> int:
    """0 when the kernel has made the changes, else the first errno."""
    missing = set(range(1, len(messages) + 1))
    try:
        with _kernel() as kernel:
            kernel.send(nfmessage.batch(messages))
            while missing:
                answers = rtmessage.acknowledged(kernel.recv(_LARGEST))
                # One for the batch itself, number 0, is that of all.
                if code := next(filter(None, answers.values()), 0):
                    return code
                missing -= answers.keys()
    except OSError as error:
        return error.errno or errno.ETIMEDOUT
    return 0


def _written(text: str) -> str:
    """Has nft read the text; why it could not, "" when it could."""
    try:
        done = program.run(["nft", "-f", "-"], _WRITING, text)
    except CannotTell as error:
        return error.message
    return done.first_line() if done.code else ""


@contextmanager
def _kernel() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(_PATIENCE)
        yield kernel


def _read(kernel: socket.socket) -> FilterState:
    """Raises Interrupted and OSError."""
    try:
        _list(kernel, nfmessage.GETTABLE, dump=False)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return FilterState()
        raise
    chains = filter(None, map(nfmessage.chain, _list(kernel, nfmessage.GETCHAIN)))
    comments: dict[str, tuple[str, ...]] = {}
    for chain, comment in map(nfmessage.rule, _list(kernel, nfmessage.GETRULE)):
        comments[chain] = (*comments.get(chain, ()), comment)
    sets = dict(filter(None, map(nfmessage.named_set, _list(kernel, nfmessage.GETSET))))
    elements = {name: tuple(element for part in _list(kernel, nfmessage.GETSETELEM, name)
                            for element in nfmessage.elements(part)) for name in sets}
    return state(Contents(tuple(chains), comments, sets, elements))


def _list(kernel: socket.socket, kind: int, of_set: str = "", *,
          dump: bool = True) -> list[Message]:
    """One list of the kernel's, whole, or one answer. Raises Interrupted and OSError."""
    kernel.send(nfmessage.request(kind, dump=dump, of_set=of_set))
    return rtnetlink.answer(kernel)
