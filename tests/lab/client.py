"""A machine that only uses the network."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab.machine import Machine


@dataclass(frozen=True)
class Download:
    """What came of a download."""

    ok: bool
    bytes: int
    seconds: float


class Client(Machine):
    """No FRR; it has a default route and asks for things."""

    sysctls = {"net.ipv4.conf.all.rp_filter": "0"}

    def get(self, address: str, path: str = "file", *, timeout: float = 30) -> Download:
        """Download from a container's web server; at most `timeout` seconds."""
        words = ["curl", "-s", "-o", "/dev/null", "--max-time", f"{timeout:g}"]
        words += ["-w", "%{size_download} %{time_total}", f"http://{address}/{path}"]
        done = self.run(words, check=False, timeout=timeout + 5)
        size, seconds = (done.stdout or "0 0").split()
        return Download(done.ok, int(size), float(seconds))

    def path(self, address: str) -> list[str]:
        """The addresses on the way, the last one included; "*" where none answered."""
        said = self.run(["traceroute", "-n", "-q", 1, "-w", 1, "-m", 12, address]).stdout
        return [line.split()[1] for line in said.splitlines()[1:]]
