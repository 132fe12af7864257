"""The only reader of /etc/pve and of /proc for guests.

A read that fails raises CannotTell: a cluster filesystem that is not mounted, or a file that
cannot be opened, never looks like "there are no guests". Nothing here writes but `publish` and
`tell_tunnels`, and no hook calls those: a write to /etc/pve can block without a limit (facts).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from stat import S_ISLNK

from . import config as config_text
from . import keys, tunnels
from .config import ALLOW_HINT, Config
from .errors import CannotTell, ConfigError
from .keys import Key
from .tunnels import Told

PVE = Path("/etc/pve")
CLUSTER_CONFIG = PVE / "pve-ospf.yaml"
PMXCFS = Path("/usr/bin/pmxcfs")
LOCAL_CONFIG = Path("/etc/pve-ospf/config.yaml")
CLUSTER_KEYS = PVE / "priv" / "pve-ospf.yaml"
LOCAL_KEYS = Path("/etc/pve-ospf/keys.yaml")

_MIGRATION = re.compile(r"^migration\s*:.*\bnetwork=([0-9./]+)", re.MULTILINE)
_RING = re.compile(r"^\s*ring\d+_addr\s*:\s*(\S+)\s*$", re.MULTILINE)
_LXC_COMMAND = re.compile(r"@/var/lib/lxc/(\d+)/command")
_SECTION = re.compile(r"^([a-z_]+: *\S+)", re.MULTILINE)
_ROUTER_ID = "pve-ospf.router-id"
_TUNNELS = "pve-ospf.tunnels"
_VMS = Path("/run/qemu-server")
_LISTENING = 0x10000  # __SO_ACCEPTCON in the flags column of /proc/net/unix


def node_name() -> str:
    """This node's name in the cluster, from where /etc/pve/local leads.

    Not the host name, while /etc/pve is there: one that was changed (hostnamectl, DHCP) would
    name a node that owns no guest, and everything would be withdrawn.
    """
    if not mounted():
        return host_name()
    try:
        return (PVE / "local").resolve(strict=True).name
    except FileNotFoundError:
        return (PVE / "local").resolve().name  # renamed: GuestFiles says that it leads nowhere
    except OSError as error:
        raise _unread(PVE / "local", error) from error


def host_name() -> str:
    """What the machine calls itself, for who only has to be named."""
    return socket.gethostname().partition(".")[0]


def mounted() -> bool:
    """Whether the cluster filesystem is there: /etc/pve/local is a symlink (facts).

    Raises CannotTell when it is there and dead: pmxcfs has crashed, and until it is started
    again every access is refused ("Transport endpoint is not connected").
    """
    try:
        return S_ISLNK((PVE / "local").lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unread(PVE / "local", error) from error


def exists(path: Path) -> bool:
    """Whether there is such a file or directory. Raises CannotTell; pathlib's own raises, or
    says no, or either, by Python's version."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unread(path, error) from error
    return True


def below(folder: Path, pattern: str) -> list[Path]:
    """What matches below the folder; nothing where there is none. Raises CannotTell."""
    try:
        return sorted(folder.glob(pattern))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unread(folder, error) from error


def read_config(node: str) -> Config:
    """pve-ospf.yaml for `node`, from the cluster, else from /etc/pve-ospf/config.yaml.

    Raises ConfigError when there is none or it is wrong, CannotTell when it cannot be read or
    when the cluster's own might be there but /etc/pve is not mounted: until then the other
    file is not the one that counts.
    """
    for path in (CLUSTER_CONFIG, LOCAL_CONFIG):
        try:
            return _parsed(read(path), str(path), node)
        except FileNotFoundError as error:
            if exists(PMXCFS) and not mounted():
                raise CannotTell(f"{CLUSTER_CONFIG}: /etc/pve is not mounted",
                                 "see: systemctl status pve-cluster") from error
    raise ConfigError(f"{CLUSTER_CONFIG} does not exist, so nothing is announced", ALLOW_HINT)


def read_keys() -> dict[str, Key]:
    """The keys OSPF authenticates with, of the cluster or of this node; {} without a file.

    Raises ConfigError when the file is wrong or others than root may read it, CannotTell when
    it cannot be read. In /etc/pve/priv everything is root's alone, whatever mode it was given.
    """
    for path in (CLUSTER_KEYS, LOCAL_KEYS):
        try:
            text = read(path)
        except FileNotFoundError:
            continue
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others than root may read it: its keys may be known",
                              f"chmod 600 {path}; then change the keys, here and on the routers")
        return keys.parse(text, str(path))
    return {}


def vm_run(vmid: int) -> str | None:
    """As running(), for one VM."""
    return _vm_run(_VMS / f"{vmid}.pid")


_parsed = lru_cache(maxsize=4)(config_text.parse)
"""The agent asks again and again for what hardly ever changes."""


def running() -> dict[int, str]:
    """The guests that run on this node: VMID → which run of it this is.

    A container runs while its command socket *listens*, which is what Proxmox itself reads; a
    VM while the process of its pid file lives, also one that waits for a migration to arrive
    (see vm.py). Raises CannotTell.
    """
    return {**dict(_running_containers()), **dict(_running_vms())}


def command_line(run: str) -> tuple[str, ...]:
    """The arguments of a VM's process, by what running() said of it; empty when it is gone.

    One that ends, or waits for its parent to be told, is listed but has no arguments any more:
    taken for a QEMU without -S, a stopped VM was announced at the end of its backup.
    """
    try:
        text = read(Path(f"/proc/{run}/cmdline"))
        return tuple(text.split("\0")) if text else ()
    except (FileNotFoundError, CannotTell):
        return ()


def ring_addresses() -> frozenset[IPv4Address]:
    """Every corosync ring address of the cluster, and the nodes' addresses pmxcfs knows."""
    names: set[str] = set()
    for path in (PVE / "corosync.conf", Path("/etc/corosync/corosync.conf")):
        try:
            names |= set(_RING.findall(read(path)))
        except FileNotFoundError:
            continue  # a node on its own has no corosync
    return frozenset(a for name in names for a in _addresses_of(name)) | frozenset(
        a for several in node_addresses().values() for a in several)


def cluster_networks(rings: frozenset[IPv4Address] | None = None) -> frozenset[IPv4Network]:
    """Where the cluster talks to itself: the addresses of ring_addresses(), each alone, and the
    network for migrations that datacenter.cfg sets. Raises CannotTell."""
    networks = set(map(IPv4Network, ring_addresses() if rings is None else rings))
    with suppress(FileNotFoundError):
        for text in _MIGRATION.findall(read(PVE / "datacenter.cfg")):
            with suppress(ValueError):  # an IPv6 network, or none
                networks.add(IPv4Network(text, strict=False))
    return frozenset(networks)


def node_addresses() -> dict[str, frozenset[IPv4Address]]:
    """Node name → addresses it is known by: corosync.conf, .members, published router id."""
    found: dict[str, set[IPv4Address]] = {}
    try:
        corosync = read(PVE / "corosync.conf")
    except FileNotFoundError:
        corosync = ""
    for block in re.findall(r"\bnode\s*\{([^}]*)\}", corosync):
        name = re.search(r"^\s*name\s*:\s*(\S+)", block, re.MULTILINE)
        if name:
            for ring in _RING.findall(block):
                found.setdefault(name[1], set()).update(_addresses_of(ring))
    try:
        members = read(PVE / ".members")
    except FileNotFoundError:
        members = ""
    for name_, ip in re.findall(r'"([^"]+)"\s*:\s*\{[^}]*"ip"\s*:\s*"([^"]+)"', members):
        found.setdefault(name_, set()).update(_addresses_of(ip))
    for path in below(PVE / "nodes", f"*/{_ROUTER_ID}"):
        found.setdefault(path.parent.name, set()).update(_addresses_of(read(path).strip()))
    return {name: frozenset(addresses) for name, addresses in found.items()}


def router_id(node: str) -> IPv4Address | None:
    """The router id a node has published; None where it has not. Raises CannotTell."""
    try:
        return IPv4Address(read(PVE / "nodes" / node / _ROUTER_ID).strip())
    except (FileNotFoundError, AddressValueError):
        return None


def publish(node: str, router_id: IPv4Address | None) -> None:
    """Tells the cluster this node's router id (None: takes it back), for `apply`.

    By it another node knows whose LSA it sees: corosync's addresses may be on a tunnel that
    OSPF does not know. Raises CannotTell when /etc/pve cannot be written (no quorum).
    """
    path = PVE / "nodes" / node / _ROUTER_ID
    try:
        if router_id is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or read(path).strip() != str(router_id):
            path.write_text(f"{router_id}\n", encoding="ascii")
    except OSError as error:
        raise CannotTell(f"{path}: {error.strerror}",
                         "is the cluster quorate? pvecm status") from error


def tunnels_told() -> dict[str, Told]:
    """What each node has told of its tunnels; without those that have told nothing that could
    be understood. Raises CannotTell."""
    found = {path.parent.name: tunnels.parse(read(path))
             for path in (PVE / "nodes").glob(f"*/{_TUNNELS}")}
    return {node: said for node, said in found.items() if said}


def tell_tunnels(node: str, said: Told | None) -> None:
    """Tells the cluster this node's tunnels (None: takes it back), for `apply`.

    Whole or not at all: a part of it would say that the other tunnels are none. Raises
    CannotTell when /etc/pve cannot be written (no quorum).
    """
    path = PVE / "nodes" / node / _TUNNELS
    try:
        if said is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or read(path) != tunnels.to_text(said):
            temporary = path.with_name(f"{_TUNNELS}.new")
            temporary.write_text(tunnels.to_text(said), encoding="ascii")
            temporary.replace(path)
    except OSError as error:
        raise CannotTell(f"{path}: {error.strerror}",
                         "is the cluster quorate? pvecm status") from error


def sdn_routing() -> tuple[str, ...]:
    """Controllers and fabrics of Proxmox SDN: with any of them it writes FRR's configuration
    and switches ospfd off (facts: SDN and FRR). Raises CannotTell."""
    found: list[str] = []
    for kind in ("controllers", "fabrics"):
        path = PVE / "sdn" / f"{kind}.cfg"
        try:
            found += [f"{path}: {what}" for what in _SECTION.findall(read(path))]
        except FileNotFoundError:
            continue  # SDN was never used
    return tuple(found)


def read(path: Path) -> str:
    """The file's text. Absence is FileNotFoundError; anything else is CannotTell."""
    try:
        # Guests' names come from users: an undecodable byte must not stop anything.
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unread(path, error) from error


def _unread(path: Path, error: OSError) -> CannotTell:
    return CannotTell(f"{path}: {error.strerror}",
                      "see: systemctl status pve-cluster" if path.is_relative_to(PVE) else "")


def _running_containers() -> Iterator[tuple[int, str]]:
    try:
        sockets = read(Path("/proc/net/unix"))
    except FileNotFoundError as error:
        raise CannotTell("/proc/net/unix does not exist: is /proc mounted?") from error
    for line in sockets.splitlines()[1:]:
        columns = line.split()
        match = _LXC_COMMAND.fullmatch(columns[-1])
        # After a stop a connection of the old socket can linger: only the listener counts.
        if match and int(columns[3], 16) & _LISTENING:
            yield int(match[1]), columns[6]  # the socket's inode


def _running_vms() -> Iterator[tuple[int, str]]:
    for path in _VMS.glob("*.pid"):
        run = _vm_run(path)
        if run and path.stem.isdigit():
            yield int(path.stem), run


def _vm_run(path: Path) -> str | None:
    try:
        pid = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # it just quit, or is about to write its pid
    return str(pid) if Path(f"/proc/{pid}").exists() else None


def _addresses_of(name: str) -> list[IPv4Address]:
    """An address, or a name as /etc/hosts has it: DNS could hang a guest's start."""
    try:
        return [IPv4Address(name)]
    except AddressValueError:
        pass
    try:
        hosts = read(Path("/etc/hosts"))
    except FileNotFoundError:
        return []
    found = []
    for line in hosts.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name in names:
            try:
                found.append(IPv4Address(address))
            except AddressValueError:
                continue
    return found
