"""`beside.py BRIDGE MAC ADDRESS`: when does a guest answer whoever is on its own bridge?

Frames of its own, every 10 ms, from a packet socket: no route, neighbour entry or OSPF has a
part in it. So it shows for how long a guest stands still while it moves, which is the least
that anybody can notice. Ends with its input and prints when each answer came.
"""

import json
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

TICK = 0.01
GATEWAY = "169.254.1.1"
IDENTITY = os.getpid() & 0xFFFF


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def frame(source: str, target: str, address: str) -> bytes:
    echo = struct.pack("!BBHHH", 8, 0, 0, IDENTITY, 1)
    echo = struct.pack("!BBHHH", 8, 0, checksum(echo), IDENTITY, 1)
    ends = socket.inet_aton(GATEWAY) + socket.inet_aton(address)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 1, 0, 64, 1, 0) + ends
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 1, 0, 64, 1, checksum(head)) + ends
    macs = bytes.fromhex((target + source).replace(":", ""))
    return macs + b"\x08\x00" + head + echo


def main(bridge: str, mac: str, address: str) -> None:
    own = Path(f"/sys/class/net/{bridge}/address").read_text().strip()
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    wire.bind((bridge, 0x0800))
    text, guest = frame(own, mac, address), socket.inet_aton(address)
    back: list[float] = []
    print(json.dumps("started"), flush=True)
    due = time.time()
    while True:
        if time.time() >= due:
            wire.send(text)
            due += TICK
        for ready in select.select([wire, sys.stdin], [], [], max(0.0, due - time.time()))[0]:
            if ready is wire:
                packet = wire.recv(2048)
                if packet[23] == 1 and packet[26:30] == guest and packet[34] == 0 \
                        and struct.unpack("!H", packet[38:40])[0] == IDENTITY:
                    back.append(time.time())
            elif not sys.stdin.readline():
                print(json.dumps(back), flush=True)
                return


main(*sys.argv[1:4])
