"""qmeventd: hears of every QEMU that ends, and has it cleaned up after."""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
from pathlib import Path

SOCKET = Path("/run/qmeventd.sock")


class _Machine(socketserver.StreamRequestHandler):
    """One QEMU, from its start to its end."""

    def handle(self) -> None:
        credentials = self.connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        pid, _, _ = struct.unpack("3i", credentials)
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        vmid = Path(words[words.index("-pidfile") + 1]).stem
        clean, guest = self._listen(pid)
        # In a session of its own, and nothing waits for it.
        subprocess.Popen(
            ["/usr/sbin/qm", "cleanup", vmid, str(int(clean)), str(int(guest))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ).wait()

    def _listen(self, pid: int) -> tuple[bool, bool]:
        """Until QEMU hangs up: whether it ended in order, and whether the guest wanted it.

        A guest that powers itself off stays, stopped (-no-shutdown), until it is ended here.
        """
        clean = guest = False
        self.wfile.write(b'{"execute": "qmp_capabilities"}\n')
        try:
            for line in self.rfile:
                message = json.loads(line)
                if message.get("event") == "SHUTDOWN":
                    clean, guest = True, message["data"]["guest"]
                    os.kill(pid, signal.SIGTERM)
        except (ConnectionResetError, ProcessLookupError, ValueError):
            pass
        return clean, guest


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


def serve() -> None:
    SOCKET.unlink(missing_ok=True)
    with _Server(str(SOCKET), _Machine) as server:
        server.serve_forever()
