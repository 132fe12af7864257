"""What setuptools and the Debian package need to know; everything else is in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
# Read, not imported: a build machine has none of the product's dependencies.
SOURCE = (HERE / "pve_ospf/__init__.py").read_text()
VERSION = re.findall(r'^__version__ = "(.+)"$', SOURCE, re.MULTILINE)[0]

setup(
    name="pve-ospf",
    version=VERSION,
    description="Announce the addresses of Proxmox VE guests with the node's own OSPF",
    license="GPL-3.0-or-later",
    python_requires=">=3.11",
    packages=["pve_ospf"],
    package_data={"pve_ospf": ["templates/*.j2"]},
    # A script and no entry point: what setuptools makes of an entry point looks the
    # distribution up at every start, and a guest's start waits for us.
    scripts=["bin/pve-ospf"],
    install_requires=[
        *("pyroute2>=0.7.2", "jinja2>=3.1", "PyYAML>=6"),
        *("proxmoxer>=1.2", "requests>=2.28"),
    ],
)
