"""The only user of packet sockets: ARP asked, answered and announced on an uplink.

Needs CAP_NET_RAW. Nothing here waits but `probe`, for as long as it is told.
"""

from __future__ import annotations

import array
import errno
import select
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from . import arpframe, home
from .errors import CannotTell
from .home import PerUplink

PATIENCE = 0.27
"""Seconds a probe listens. To close its socket takes the kernel some 20 ms more."""
PROBES = 5
"""Questions for each address within that time; a lossy link must not hide its holder."""
PAUSE = 0.1
"""Seconds between the two announcements of an address."""

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_GONE = (errno.ENODEV, errno.ENXIO, errno.ENETDOWN)
"""An interface that is down or no more; whoever watches links will come again."""
_LOST = (errno.ENOBUFS, errno.EAGAIN)
_BATCH = 256
_ENOUGH = 64


@dataclass(slots=True)
class _Post:
    """A socket on an uplink, and what it answers for."""

    device: str
    index: int
    socket: socket.socket
    mac: str = ""
    asked: frozenset[IPv4Address] = frozenset()
    probed: frozenset[IPv4Address] = frozenset()


@dataclass(slots=True)
class Responder:
    """Answers ARP on uplinks for addresses whose guests are away, from a select loop.

    The caller selects on `sockets()` with at most `due()` seconds, gives what is readable to
    `handle`, and calls `repeat` each time round.
    """

    _posts: dict[str, _Post] = field(default_factory=dict)
    _again: list[tuple[float, str, str, frozenset[IPv4Address]]] = field(default_factory=list)

    def answer_for(self, wanted: PerUplink, macs: Mapping[str, str],
                   defended: PerUplink | None = None) -> None:
        """From now on answers for exactly `wanted`, and to probes for `defended` as well.

        Addresses of `wanted` that are new, or whose uplink (`macs`: its name → its MAC) is,
        are announced, so that caches which held another node's MAC follow. An interface that
        is not there is left out until the next call. Raises CannotTell without CAP_NET_RAW.
        """
        probed = defended or {}
        needed = {device for device in (*wanted, *probed) if device in macs}
        for device in set(self._posts) - needed:
            self._drop(device)
        for device in sorted(needed):
            try:
                self._serve(device, macs[device], wanted.get(device, frozenset()),
                            probed.get(device, frozenset()))
            except OSError as error:
                self._drop(device)
                _unless_gone(device, error)

    def announce(self, device: str, mac: str, addresses: Collection[IPv4Address]) -> None:
        """gratuitous() now and once more PAUSE later, by repeat()."""
        if addresses:
            gratuitous(device, mac, addresses)
            self._again.append((time.monotonic() + PAUSE, device, mac, frozenset(addresses)))

    def due(self) -> float | None:
        """Seconds until repeat() has something to do; None when it has not."""
        if not self._again:
            return None
        return max(0.0, min(self._again)[0] - time.monotonic())

    def repeat(self) -> None:
        """Sends the second announcements that are due."""
        now = time.monotonic()
        due = [a for a in self._again if a[0] <= now]
        self._again = [a for a in self._again if a[0] > now]
        for _, device, mac, addresses in due:
            gratuitous(device, mac, addresses)

    def sockets(self) -> dict[int, str]:
        """Descriptor → uplink, for select."""
        return {post.socket.fileno(): device for device, post in self._posts.items()}

    def handle(self, fileno: int) -> None:
        """Answers what waits on a socket; what is left after a while, the next time round."""
        for post in self._posts.values():
            if post.socket.fileno() == fileno:
                try:
                    _answer(post)
                except OSError as error:
                    _unless_gone(post.device, error)

    def close(self) -> None:
        """From now on answers for nothing."""
        for device in list(self._posts):
            self._drop(device)
        self._again.clear()

    def _serve(self, device: str, mac: str, asked: frozenset[IPv4Address],
               probed: frozenset[IPv4Address]) -> None:
        index, post = _index(device), self._posts.get(device)
        if post and post.index != index:
            self._drop(device)  # made anew under its old name: the socket is on the old one
            post = None
        if post is None:
            post = self._posts[device] = _Post(device, index, _open())
            _filter(post.socket, asked, probed)
            post.socket.bind((device, arpframe.ETHERTYPE))
        elif (post.asked, post.probed) != (asked, probed):
            _filter(post.socket, asked, probed)
        self._forget(device, post.asked - asked)
        known = post.asked if post.mac == mac else frozenset()
        post.mac, post.asked, post.probed = mac, asked, probed
        self.announce(device, mac, asked - known)

    def _drop(self, device: str) -> None:
        post = self._posts.pop(device, None)
        if post:
            post.socket.close()
            self._forget(device, post.asked)

    def _forget(self, device: str, addresses: frozenset[IPv4Address]) -> None:
        """What is another's from now on must not be announced for us a moment later."""
        self._again = [(when, name, mac, again - addresses if name == device else again)
                       for when, name, mac, again in self._again]


def gratuitous(device: str, mac: str, addresses: Iterable[IPv4Address]) -> None:
    """Says to all on `device` that the addresses are at `mac`, in both forms, once. On an
    interface that is down it does nothing. Raises CannotTell without CAP_NET_RAW."""
    frames = [frame for a in addresses for frame in arpframe.announcement(mac, a)]
    try:
        with _open() as sender:
            sender.bind((device, 0))
            for frame in frames:
                _send(sender, frame)
    except OSError as error:
        _unless_gone(device, error)


def probe(device: str, mac: str, addresses: Collection[IPv4Address],
          patience: float = PATIENCE, nodes: Collection[IPv4Address] = (),
          macs: Collection[str] = ()) -> dict[IPv4Address, str]:
    """Who on the LAN of `device` holds one of the addresses: address → a stranger's MAC.

    All are asked for in parallel, PROBES times, for `patience` seconds in all (at once where
    each is a stranger's). The answers of the cluster's nodes do not count: of those at `nodes`,
    which are asked as well, and of `macs`, which are known. Raises CannotTell when the
    interface is down or gone: it is not known then whether an address is free.
    """
    asked = [*dict.fromkeys((*addresses, *nodes))]
    heard: dict[IPv4Address, set[str]] = defaultdict(set)
    found: dict[IPv4Address, str] = {}
    try:
        with _open() as listener:
            listener.bind((device, arpframe.ETHERTYPE))
            begun = time.monotonic()
            for turn in range(1, PROBES + 1):
                for address in asked:
                    _send(listener, arpframe.probe(mac, address))
                # The last answers have twice as long to come.
                share = 1 if turn == PROBES else turn / (PROBES + 1)
                _listen(listener, begun + patience * share, heard)
                found = home.conflicts(heard, addresses, nodes, {mac, *macs})
                if len(found) == len(set(addresses)) and heard.keys() >= set(nodes):
                    break
    except OSError as error:
        raise CannotTell(f"{device}: whether an address is free there cannot be asked: "
                         f"{error.strerror}") from error
    return found


def _index(device: str) -> int:
    try:
        return socket.if_nametoindex(device)
    except OSError as error:  # older Pythons give no errno
        raise OSError(errno.ENODEV, "no such interface") from error


def _open() -> socket.socket:
    """A packet socket that receives nothing yet, so that no frame slips in before its filter."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setblocking(False)
    return opened


def _filter(post: socket.socket, asked: Collection[IPv4Address],
            probed: Collection[IPv4Address]) -> None:
    program = arpframe.filter_program(asked, probed)
    code = array.array("B", b"".join(struct.pack("HBBI", *step) for step in program))
    pointer = struct.pack("HP", len(program), code.buffer_info()[0])  # struct sock_fprog
    try:
        post.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        # No room for the old and the new one together (net.core.optmem_max). Without any, more
        # frames come for a moment, and _answer() knows them all the same.
        post.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        post.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def _answer(post: _Post) -> None:
    for _ in range(_BATCH):
        frame = _receive(post.socket)
        if frame is None:
            return
        said = arpframe.answer(frame, post.mac, post.asked, post.probed)
        if said:
            _send(post.socket, said)


def _listen(listener: socket.socket, until: float, heard: dict[IPv4Address, set[str]]) -> None:
    """Notes until then who says to have which address. Who merely probes for one has none: there
    are switches that probe for every address they have seen."""
    while (left := until - time.monotonic()) > 0:
        if select.select([listener], [], [], left)[0]:
            frame = _receive(listener)
            arp = arpframe.parse(frame or b"")
            if arp:
                heard[arp.sender].add(arp.sender_mac)


def _receive(receiver: socket.socket) -> bytes | None:
    """The next frame, None when there is none; b"" for one that is not for this interface:
    another host's, or another VLAN's."""
    try:
        frame, (_, _, kind, *_) = receiver.recvfrom(_ENOUGH)
    except BlockingIOError:
        return None
    return b"" if kind == socket.PACKET_OTHERHOST else frame


def _send(sender: socket.socket, frame: bytes) -> None:
    try:
        sender.send(frame)
    except OSError as error:
        if error.errno not in _LOST:  # a full queue loses frames, as any cable may
            raise


def _unless_gone(device: str, error: OSError) -> None:
    if error.errno not in _GONE:
        hint = "pve-ospf needs CAP_NET_RAW" if error.errno == errno.EPERM else ""
        raise CannotTell(f"{device}: no packet socket for ARP: {error.strerror}",
                         hint) from error
