"""Where this machine gets Debian packages from: its own apt sources, never a host name of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.process import LabError, run

OVERRIDE = "PVE_OSPF_LAB_MIRROR"
SECURITY_OVERRIDE = "PVE_OSPF_LAB_SECURITY_MIRROR"
DEBIAN_SUITES = {
    *("bookworm", "trixie", "forky", "sid"),
    *("oldstable", "stable", "testing", "unstable"),
}


@dataclass(frozen=True)
class Source:
    """One place in apt's sources: an address and the suites taken from it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True)
class Mirror:
    """`security` is None where the machine itself takes no security updates."""

    archive: str
    security: str | None

    def sources_list(self, suite: str) -> str:
        """The one-line sources of a tree of `suite` (sid has no security suite)."""
        lines = [f"deb {self.archive} {suite} main"]
        if self.security and suite != "sid":
            lines.append(f"deb {self.security} {suite}-security main")
        return "\n".join(lines) + "\n"


def find_mirror(apt: Path = Path("/etc/apt")) -> Mirror:
    """Raises LabError naming the variable to set when no Debian mirror is configured."""
    sources = list(read_sources(apt))
    archive = os.environ.get(OVERRIDE) or _first(sources, lambda suite: suite in DEBIAN_SUITES)
    if archive is None:
        raise LabError(
            f"no Debian mirror in {apt}/sources.list or {apt}/sources.list.d: "
            f"set {OVERRIDE} to the address of one"
        )
    security = os.environ.get(SECURITY_OVERRIDE) or _first(sources, _is_security)
    return Mirror(archive, security)


def proxy() -> dict[str, str]:
    """Environment that hands the machine's apt proxy on to debootstrap and to apt in a tree."""
    said = run(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"]).stdout.strip()
    address = said.partition("=")[2].strip("'\"")
    return {"http_proxy": address} if address and address != "DIRECT" else {}


def read_sources(apt: Path) -> Iterator[Source]:
    """Every enabled binary source of apt, one-line and deb822."""
    lists = [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]
    for path in lists:
        if path.is_file():
            yield from parse_one_line(path.read_text())
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        yield from parse_deb822(path.read_text())


def parse_one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] != "deb":
            continue
        if len(words) > 1 and words[1].startswith("["):
            end = next((i for i, word in enumerate(words) if word.endswith("]")), len(words))
            words[1 : end + 1] = []
        if len(words) >= 3:
            yield Source(words[1], (words[2],), tuple(words[3:]))


def parse_deb822(text: str) -> Iterator[Source]:
    for stanza in text.split("\n\n"):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        for uri in fields.get("uris", "").split():
            suites = tuple(fields.get("suites", "").split())
            yield Source(uri, suites, tuple(fields.get("components", "").split()))


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[key] = fields.get(key, "") + " " + line.strip()
        elif ":" in line:
            key, _, value = line.partition(":")
            key = key.lower()
            fields[key] = value.strip()
    return fields


def _is_security(suite: str) -> bool:
    return suite.endswith("-security") and suite.removesuffix("-security") in DEBIAN_SUITES


def _first(sources: list[Source], wanted: Callable[[str], bool]) -> str | None:
    for source in sources:
        if "main" in source.components and any(wanted(suite) for suite in source.suites):
            return source.uri.rstrip("/")
    return None
