"""The nodes' ssh among each other: a socket on the storage they share."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
from pathlib import Path

SOCKETS = Path("/mnt/pve/shared/.nodes")


class RemoteError(Exception):
    """The node does not answer, or the command failed there."""


class _Request(socketserver.StreamRequestHandler):
    """One command: its words as a line of JSON; answered by exit code and output.

    With {"tunnel": WORDS} the command talks to the caller itself, until either hangs up.
    """

    rbufsize = 0  # what follows the line is the command's

    def handle(self) -> None:
        words = json.loads(self.rfile.readline())
        if isinstance(words, dict):
            end = self.connection.fileno()
            subprocess.run(words["tunnel"], stdin=end, stdout=end, check=False)
            return
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        said = [text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr)]
        self.wfile.write(json.dumps([done.returncode, *said]).encode())


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


def serve() -> None:
    """Carry out what the other nodes ask; runs for ever."""
    SOCKETS.mkdir(exist_ok=True)
    path = SOCKETS / socket.gethostname()
    path.unlink(missing_ok=True)
    with _Server(str(path), _Request) as server:
        server.serve_forever()


def ask(node: str, words: list[str]) -> tuple[int, str, str]:
    """Run a command on another node: exit code, stdout, stderr."""
    with _connect(node) as connection, connection.makefile("rb") as answer:
        connection.sendall(json.dumps(words).encode() + b"\n")
        code, out, err = json.loads(answer.read())
    return code, out, err


def tunnel(node: str, words: list[str]) -> socket.socket:
    """Start a command on another node, and talk to it over its stdin and stdout."""
    connection = _connect(node)
    connection.sendall(json.dumps({"tunnel": words}).encode() + b"\n")
    return connection


def _connect(node: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(SOCKETS / node))
    except OSError:
        raise RemoteError(f"ssh: connect to host {node} port 22: No route to host") from None
    return connection


def run(node: str, words: list[str]) -> str:
    """As ask(), passing the output on; raises RemoteError when the command fails."""
    code, out, err = ask(node, words)
    print(out, end="")
    print(err, end="", file=sys.stderr)
    if code:
        raise RemoteError(f"command 'ssh root@{node} {' '.join(words)}' failed: exit code {code}")
    return out
