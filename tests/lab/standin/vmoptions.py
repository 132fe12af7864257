"""PVE::QemuServer: changing a VM's options, and plugging what can be plugged live."""

from __future__ import annotations

import re

from . import network, qmp
from .guestconfig import GuestConfig, parse_vm_net
from .qemuserver import pid

FAST = {"description", "onboot", "startup", "protection", "name", "hookscript", "tags", "lock"}
CLOUD_INIT = re.compile(r"ipconfig\d+|cipassword|ciuser|nameserver|searchdomain|sshkeys")
"""Taken into the config of a running VM at once, while the guest goes on with the old values
until it is started anew: the config then does not say what the guest has."""

REPLUG = ("bridge", "tag", "firewall")


def apply(config: GuestConfig, delete: list[str]) -> None:
    """A stopped VM takes everything; a running one what can be done live, the rest waits."""
    running = pid(config.vmid) != 0
    waiting = []
    for option in delete:
        if not running or _fast(option):
            del config.options[option]
        else:
            waiting.append(option)
    for option in sorted(config.pending.options.keys() - {"delete"}):
        if not running or _fast(option) or _plugged(config, option):
            config.options[option] = config.pending.options.pop(option)
    if waiting:
        config.pending.options["delete"] = ",".join(waiting)


def _fast(option: str) -> bool:
    return option in FAST or CLOUD_INIT.fullmatch(option) is not None


def _plugged(config: GuestConfig, option: str) -> bool:
    """vmconfig_update_net, for what leaves the card itself as it is."""
    found = re.fullmatch(r"net(\d+)", option)
    old = parse_vm_net(config.options.get(option, ""))
    if not found or not old:
        return False
    new = parse_vm_net(config.pending.options[option])
    if any(old.get(key) != new.get(key) for key in ("model", "macaddr", "mtu", "queues")):
        return False
    tap = f"tap{config.vmid}i{found[1]}"
    if any(old.get(key) != new.get(key) for key in REPLUG):
        network.unplug(tap)
        network.plug(tap, new | {"link_down": "0"})
    if old.get("link_down") != new.get("link_down"):
        qmp.command(config.vmid, "set_link", name=option, up=new.get("link_down") != "1")
    return True
