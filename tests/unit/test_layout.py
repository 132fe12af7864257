"""Who may import what: a module is either pure or a shell, and each outside system has one door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pve_ospf

PACKAGE = Path(pve_ospf.__file__).parent
ROOT = Path(__file__).parents[2]

# Everything not named here is pure, a new module too.
SHELLS = {
    *("agent", "apply", "arp", "attach", "cli", "events", "frrfiles", "frrplan", "frrwatch"),
    *("guestfiles", "heal", "hookscript", "incoming", "journal", "kernel", "look", "nft"),
    *("nudge", "onlink", "overhear", "overview", "prestart", "pve", "pveapi", "qmp", "readings"),
    *("routers", "rtnetlink", "snippet", "before", "sync", "vtysh"),
    *("installation", "objections", "program", "removal", "service", "verification"),
    *("guard", "lock", "wayback"),
}
OUTSIDE = {
    *("fcntl", "os", "pathlib", "shutil", "socket", "subprocess", "syslog", "time"),
    *("proxmoxer", "pyroute2", "requests"),
}
DOORS = {
    "pyroute2": {"rtnetlink"},
    "proxmoxer": {"pveapi"},
    "requests": {"pveapi"},
    "subprocess": {"program", "pveapi"},
}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
PURE = [name for name in MODULES if name not in SHELLS]


def imported(source: str) -> Iterator[str]:
    """First names of what is imported anywhere in a module; its siblings as ".name"."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield "." + node.module.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield from ("." + name.name for name in node.names)


def imports(module: str) -> set[str]:
    return set(imported((PACKAGE / f"{module}.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_reaches_nothing_outside(module: str) -> None:
    assert not imports(module) & OUTSIDE


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_rests_on_pure_modules(module: str) -> None:
    assert not imports(module) & {f".{shell}" for shell in SHELLS}


@pytest.mark.parametrize("outside", DOORS)
def test_each_outside_system_has_its_door(outside: str) -> None:
    assert {module for module in MODULES if outside in imports(module)} <= DOORS[outside]


def test_imports_are_seen_wherever_they_stand() -> None:
    source = """
import os.path
from socket import AF_INET
from . import pve, model
from .sync import look
def later():
    import pyroute2.netlink
"""
    assert set(imported(source)) == {"os", "socket", ".pve", ".model", ".sync", "pyroute2"}


def test_the_package_has_the_programs_version() -> None:
    newest = (ROOT / "debian/changelog").read_text(encoding="utf-8").split()[1]
    assert newest == f"({pve_ospf.__version__})"
