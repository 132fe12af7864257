"""`pvesh`: the part of Proxmox's API that the product asks for, from the same files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from typing import Any

from . import guestconfig, pmxcfs, qemuserver, remote, sdn
from .container import GuestError, is_running, load
from .options import change
from .pct import parse

INTEGERS = {
    "cores",
    "cpulimit",
    "cpuunits",
    "memory",
    "onboot",
    "protection",
    "sockets",
    "swap",
    "unprivileged",
}
KINDS = {"lxc": "lxc", "qemu": "qemu-server"}
Options = dict[str, str]


def get_version(_: Options) -> Any:
    return {"release": "9.0", "repoid": "0000000000000000", "version": "9.0.0"}


def get_nodes(_: Options) -> Any:
    names = sorted(path.name for path in (pmxcfs.ROOT / "nodes").iterdir())
    return [
        {"id": f"node/{name}", "node": name, "status": "online", "type": "node"} for name in names
    ]


def get_cluster_status(_: Options) -> Any:
    text = (pmxcfs.ROOT / "corosync.conf").read_text()
    rings = re.findall(r"name: (\S+).*?ring0_addr: (\S+)", text, re.DOTALL)
    cluster = {
        "id": "cluster",
        "name": "lab",
        "nodes": len(rings),
        "quorate": 1,
        "type": "cluster",
        "version": 2,
    }
    return [cluster] + [
        {
            "id": f"node/{name}",
            "ip": ring,
            "local": int(name == socket.gethostname()),
            "name": name,
            "nodeid": number,
            "online": 1,
            "type": "node",
        }
        for number, (name, ring) in enumerate(rings, start=1)
    ]


def get_resources(options: Options) -> Any:
    """Guests and nodes; like the real thing it knows of other nodes only what is in files."""
    guests = [_guest(path.parts[-3], kind, path) for kind, path in _configs("*")]
    nodes = [node | {"type": "node"} for node in get_nodes({})]
    wanted = options.get("type")
    return [
        entry for entry in guests + nodes if wanted in (None, "vm" if "vmid" in entry else "node")
    ]


def list_guests(options: Options) -> Any:
    node, kind = options["node"], options["kind"]
    return [_guest(node, found, path) for found, path in _configs(node) if found == kind]


def get_config(options: Options) -> Any:
    """As the API's: pending changes as if made, numbers as numbers, no snapshots."""
    kind = KINDS[options["kind"]]
    config = load(int(options["vmid"]), kind)
    digest = hashlib.sha1(config.path.read_bytes(), usedforsecurity=False).hexdigest()
    if options.get("current") != "1":
        config.apply_pending()
    found: dict[str, Any] = {
        key: int(value) if key in INTEGERS and value.isdigit() else value
        for key, value in config.options.items()
    }
    if config.live.description:
        found["description"] = config.live.description
    if config.live.raw:
        found["lxc"] = [list(entry) for entry in config.live.raw]
    return found | {"digest": digest}


def get_status(options: Options) -> Any:
    config = load(int(options["vmid"]), KINDS[options["kind"]])
    return _guest(options["node"], options["kind"], config.path)


def set_config(options: Options) -> Any:
    vmid, kind = int(options.pop("vmid")), KINDS[options.pop("kind")]
    options.pop("node")
    options.pop("digest", None)
    delete = re.split(r"[,; ]+", options.pop("delete", ""))
    change(vmid, options, [name for name in delete if name], kind)


def _configs(node: str) -> list[tuple[str, Any]]:
    return [
        (kind, path)
        for kind, directory in KINDS.items()
        for path in sorted(pmxcfs.ROOT.glob(f"nodes/{node}/{directory}/*.conf"))
    ]


def _guest(node: str, kind: str, path: Any) -> dict[str, Any]:
    config = guestconfig.parse(
        int(path.stem), path, path.read_bytes().decode("utf-8", "surrogateescape")
    )
    here = node == socket.gethostname()
    runs = is_running if kind == "lxc" else qemuserver.pid
    entry = {
        "id": f"{kind}/{config.vmid}",
        "name": config.options.get("hostname" if kind == "lxc" else "name", f"VM {config.vmid}"),
        "node": node,
        "status": "running" if here and runs(config.vmid) else "stopped",
        "template": int(config.options.get("template", 0)),
        "type": kind,
        "vmid": config.vmid,
    }
    return entry | {key: config.options[key] for key in ("tags", "lock") if key in config.options}


GUEST = r"/nodes/(?P<node>[^/]+)/(?P<kind>lxc|qemu)"
API: dict[str, list[tuple[str, Callable[[Options], Any]]]] = {
    "get": [
        (r"/version", get_version),
        (r"/nodes", get_nodes),
        (r"/cluster/status", get_cluster_status),
        (r"/cluster/resources", get_resources),
        (GUEST, list_guests),
        (GUEST + r"/(?P<vmid>\d+)/config", get_config),
        (GUEST + r"/(?P<vmid>\d+)/status/current", get_status),
    ],
    "set": [
        (GUEST + r"/(?P<vmid>\d+)/config", set_config),
        (r"/cluster/sdn", sdn.apply),
    ],
    "create": [(r"/nodes/(?P<node>[^/]+)/(?P<kind>qemu)/(?P<vmid>\d+)/config", set_config)],
    "delete": [],
}


def call(command: str, path: str, options: Options) -> Any:
    """Find the handler, on the node that the path names; raises GuestError or LookupError."""
    path = "/" + path.strip("/")
    for pattern, handler in API[command]:
        if not (found := re.fullmatch(pattern, path)):
            continue
        uri = found.groupdict()
        node = uri.get("node", "localhost")
        if node in ("localhost", socket.gethostname()):
            uri |= {"node": socket.gethostname()} if "node" in uri else {}
            return handler(options | uri)
        if not (pmxcfs.ROOT / "nodes" / node).is_dir():
            raise GuestError(f"no such cluster node '{node}'")
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        code, out, err = remote.ask(
            node, ["pvesh", command, path, "--output-format", "json", *words]
        )
        sys.stderr.write(err)
        if code:
            raise GuestError("proxy handler failed")
        return json.loads(out) if out.strip() else None
    raise LookupError(f"No '{command}' handler defined for '{path}'")


def main(words: list[str]) -> int:
    if os.environ.get("LC_ALL", "C") not in ("C", "C.UTF-8", "POSIX"):
        sys.stderr.write('perl: warning: Setting locale failed.\n'
                         'perl: warning: Falling back to the standard locale ("C").\n')
    words = [word for word in words if word not in ("--noproxy", "-noproxy")]
    positional, options = parse(words)
    if len(positional) != 2 or positional[0] not in API:
        print(
            "ERROR: unknown command, or no API path\nUSAGE: pvesh <COMMAND> <api_path> [OPTIONS]",
            file=sys.stderr,
        )
        return 255
    form = options.pop("output-format", "text")
    try:
        command, path = positional
        data = call(command, path, options)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    except (GuestError, remote.RemoteError) as error:
        print(error, file=sys.stderr)
        return 255
    except OSError as error:  # /etc/pve is read-only or gone
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 255
    if data is not None:
        print(_printed(data, form))
    return 0


def _printed(data: Any, form: str) -> str:
    if form == "json":
        return json.dumps(data, sort_keys=True, separators=(",", ":"))
    if form == "json-pretty" or isinstance(data, list):
        return json.dumps(data, sort_keys=True, indent=3)
    return "\n".join(f"{key} {data[key]}" for key in sorted(data))
