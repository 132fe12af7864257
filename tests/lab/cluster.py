"""The directory that stands in for pmxcfs, shared by the nodes as /etc/pve."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.standin import pmxcfs

STORAGE = """dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl,backup,snippets,rootdir

"""


@dataclass
class Cluster:
    """What all nodes see; the address of a node is its corosync ring's."""

    path: Path
    rings: dict[str, str] = field(default_factory=dict)

    def add(self, node: str, ring: str) -> None:
        self.rings[node] = ring

    def write(self) -> None:
        """Lay out the directory as pmxcfs shows it."""
        (self.path / "priv").mkdir(parents=True)
        (self.path / "priv").chmod(0o700)
        for node in self.rings:
            for kind in ("lxc", "qemu-server", "priv"):
                (self.path / "nodes" / node / kind).mkdir(parents=True)
        # On a real node these name the node itself. Here all nodes see one directory, so
        # the way leads over /run/pve-local, which every node has of its own.
        (self.path / "local").symlink_to("/run/pve-local")
        (self.path / "lxc").symlink_to("local/lxc")
        (self.path / "qemu-server").symlink_to("local/qemu-server")
        (self.path / "storage.cfg").write_text(STORAGE)
        (self.path / "corosync.conf").write_text(self._corosync())
        pmxcfs.refresh(self.path)

    def _corosync(self) -> str:
        nodes = "".join(
            f"  node {{\n    name: {name}\n    nodeid: {number}\n"
            f"    quorum_votes: 1\n    ring0_addr: {ring}\n  }}\n"
            for number, (name, ring) in enumerate(self.rings.items(), start=1)
        )
        return (
            f"logging {{\n  debug: off\n  to_syslog: yes\n}}\n\nnodelist {{\n{nodes}}}\n\n"
            "quorum {\n  provider: corosync_votequorum\n}\n\n"
            "totem {\n  cluster_name: lab\n  config_version: 2\n"
            "  interface {\n    linknumber: 0\n  }\n"
            "  ip_version: ipv4-6\n  link_mode: passive\n  secauth: on\n  version: 2\n}\n"
        )

    def placement(self) -> dict[str, str]:
        """VMID → node, as the files are now."""
        return {
            path.stem: path.parent.parent.name
            for kind in ("lxc", "qemu-server")
            for path in self.path.glob(f"nodes/*/{kind}/*.conf")
        }
