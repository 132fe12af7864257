"""`probe.py ADDRESS [tcp]`: an echo request and a line over TCP (port 7) every 10 ms.

Ends with its input, waits for what is still on its way, and prints for each probe when it was
sent and when its answer came (null: never), and what happened to the connection.
"""

import contextlib
import errno
import json
import os
import select
import socket
import struct
import sys
import time

TICK = 0.01
LATE = 1.0
TCP_LATE = 8.0
IDENTITY = os.getpid() & 0xFFFF


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def request(number: int) -> bytes:
    head = struct.pack("!BBHHH", 8, 0, 0, IDENTITY, number & 0xFFFF)
    return struct.pack("!BBHHH", 8, 0, checksum(head), IDENTITY, number & 0xFFFF)


class Connection:
    """The TCP part; `error` names what broke it."""

    def __init__(self, address: str) -> None:
        self.sent: list[float] = []
        self.back: list[float] = []
        self.error = ""
        self._text = b""
        self._unsent = b""
        self.socket = socket.create_connection((address, 7), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def send(self) -> None:
        self._unsent += b"%d\n" % len(self.sent)
        self.sent.append(time.time())
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent):]
        except BlockingIOError:
            return  # the buffer is full: in the gap
        except OSError as error:
            self.error = errno.errorcode[error.errno or 0]

    def receive(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.error = errno.errorcode[error.errno or 0]
            return
        if not data:
            self.error = "closed"
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            if int(line) != len(self.back):
                self.error = "out of order"
            self.back.append(time.time())


def main(address: str, tcp: bool) -> None:
    icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    icmp.setblocking(False)
    connection = Connection(address) if tcp else None
    sent: list[float] = []
    back: list[float | None] = []
    print(json.dumps("started"), flush=True)
    due, end = time.time(), 0.0
    while not end or time.time() < end:
        now = time.time()
        if not end and now >= due:
            with contextlib.suppress(OSError):  # no route: a lost probe, too
                icmp.sendto(request(len(sent)), (address, 0))
            sent.append(now)
            back.append(None)
            if connection and not connection.error:
                connection.send()
            due += TICK
        if end and connection and not connection.error and now > end - TCP_LATE + LATE \
                and len(connection.back) == len(connection.sent):
            break
        wanted = [icmp] + ([sys.stdin] if not end else []) + (
            [connection.socket] if connection and not connection.error else [])
        ready = select.select(wanted, [], [], TICK if end else max(0.0, due - time.time()))[0]
        if icmp in ready:
            packet = icmp.recv(2048)
            kind, _, _, identity, number = struct.unpack("!BBHHH", packet[20:28])
            if kind == 0 and identity == IDENTITY and number < len(back):
                back[number] = time.time()
        if connection and connection.socket in ready:
            connection.receive()
        if sys.stdin in ready and not sys.stdin.readline():
            end = time.time() + (TCP_LATE if connection and not connection.error else LATE)
    print(json.dumps({
        "sent": sent, "back": back,
        "tcp": connection and {"sent": connection.sent, "back": connection.back,
                               "error": connection.error}}), flush=True)


main(sys.argv[1], sys.argv[2:] == ["tcp"])
