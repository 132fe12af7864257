"""PVE::LXC::Config: changing a container's options, and plugging what can be plugged live."""

from __future__ import annotations

import re
import subprocess
import sys

from . import network, rootfs, vmoptions
from .container import GuestError, check_lock, is_running, load, lock_config, write_lxc_config
from .guestconfig import (
    GuestConfig,
    complete_net,
    complete_vm_net,
    parse_properties,
    print_net,
)
from .hookscript import HookError, check_hookscript

FAST = {
    "description",
    "onboot",
    "startup",
    "protection",
    "hostname",
    "hookscript",
    "cores",
    "tags",
    "lock",
}
"""Options that a running container takes at once."""

KNOWN = FAST | {
    *("arch", "cpulimit", "cpuunits", "debug", "features", "memory", "nameserver"),
    *("ostype", "rootfs", "searchdomain", "swap", "template", "unprivileged"),
}
REPLUG = ("bridge", "tag", "firewall", "link_down")


VM_KNOWN = KNOWN | {
    "boot",
    "name",
    "scsihw",
    "bios",
    "agent",
    "cipassword",
    "ciuser",
    "sockets",
    "vmgenid",
    "migrate_downtime",
}


def known(option: str, kind: str = "lxc") -> bool:
    if kind == "lxc":
        return option in KNOWN or re.fullmatch(r"(net|mp)\d+", option) is not None
    return (
        option in VM_KNOWN or re.fullmatch(r"(net|ipconfig|scsi|virtio|ide)\d+", option) is not None
    )


def change(vmid: int, options: dict[str, str], delete: list[str], kind: str = "lxc") -> None:
    """PUT …/config: the new values, with the guest's lock held."""
    if not options and not delete:
        raise GuestError("no options specified")
    with lock_config(vmid, kind):
        config = load(vmid, kind)
        check_lock(config)
        for option in [*delete, *options]:
            if not known(option, kind):
                raise GuestError(
                    f"400 Parameter verification failed.\ndelete: unknown option '{option}'"
                )
        for option in delete:
            if option not in config.options:
                print(
                    f"cannot delete '{option}' - not set in current configuration!", file=sys.stderr
                )
        for option, value in options.items():
            config.pending.options[option] = checked(option, value, kind)
        apply = _apply if config.is_container else vmoptions.apply
        apply(config, [option for option in delete if option in config.options])
        config.write()
        if config.is_container:
            write_lxc_config(vmid, config)


def checked(option: str, value: str, kind: str = "lxc") -> str:
    """The value as it is stored; raises GuestError for what PVE refuses."""
    if "\n" in value:
        raise GuestError(f"detected invalid newline inside property '{option}'")
    if option == "hookscript":
        try:
            check_hookscript(value)
        except HookError as error:
            raise GuestError(str(error)) from None
    if re.fullmatch(r"net\d+", option):
        return complete_net(value) if kind == "lxc" else complete_vm_net(value)
    if option == "tags":
        return ";".join(dict.fromkeys(tag for tag in re.split(r"[;, ]+", value.strip()) if tag))
    return value


def _apply(config: GuestConfig, delete: list[str]) -> None:
    """A stopped container takes everything; a running one what can be done live, the rest waits."""
    running = is_running(config.vmid)
    waiting = []
    for option in delete:
        if not running or option in FAST:
            del config.options[option]
        elif found := re.fullmatch(r"net(\d+)", option):
            network.delete(f"veth{config.vmid}i{found[1]}")
            del config.options[option]
        else:
            waiting.append(option)
    for option in sorted(config.pending.options):
        if option == "delete":
            continue
        if not running or option in FAST:
            config.options[option] = config.pending.options.pop(option)
        elif found := re.fullmatch(r"net(\d+)", option):
            value = config.pending.options.pop(option)
            update_net(config, option, int(found[1]), parse_properties(value))
    if waiting:
        config.pending.options["delete"] = ",".join(waiting)


def update_net(config: GuestConfig, option: str, number: int, new: dict[str, str]) -> None:
    """Change a running container's interface.

    The file is written after every step, as PVE does it: for a moment the interface
    stands in it without an address, or not at all.
    """
    vmid, veth = config.vmid, f"veth{config.vmid}i{number}"
    old = parse_properties(config.options.get(option, ""))
    if not old:
        _plug_new(config, option, veth, new)
    elif any(old.get(key) != new.get(key) for key in ("hwaddr", "name")):
        network.delete(veth)
        del config.options[option]
        config.write()
        _plug_new(config, option, veth, new)
    else:
        if any(old.get(key) != new.get(key) for key in REPLUG):
            network.unplug(veth)
            network.plug(veth, new)
            old = {key: value for key, value in old.items() if key not in REPLUG}
            old |= {key: new[key] for key in REPLUG if key in new}
        config.options[option] = print_net(old)
        config.write()
    for family, suffix in (("-4", ""), ("-6", "6")):
        _update_address(config, option, new, family, suffix)
    rootfs.write_network(vmid, network.guest_commands(config.nets()))


def _plug_new(config: GuestConfig, option: str, veth: str, new: dict[str, str]) -> None:
    """hotplug_net; what is written at its end has no address yet."""
    network.ip(
        "link", "add", veth, "type", "veth", "peer", "name", f"{veth}p", "addr", new["hwaddr"]
    )
    mtu = str(network.bridge_mtu(new["bridge"]))
    for name in (veth, f"{veth}p"):
        network.ip("link", "set", name, "up", "mtu", mtu)
    network.plug(veth, new)
    pid = _init_pid(config.vmid)
    network.ip("link", "set", f"{veth}p", "netns", pid, "name", new["name"])
    _inside(pid, "link", "set", new["name"], "up")
    kept = ("bridge", "tag", "firewall", "hwaddr", "name", "link_down")
    config.options[option] = print_net({"type": "veth"} | {k: new[k] for k in kept if k in new})
    config.write()


def _update_address(
    config: GuestConfig, option: str, new: dict[str, str], family: str, suffix: str
) -> None:
    """update_ipconfig: the new address, then the gateway, then the old address goes."""
    now = parse_properties(config.options[option])
    keys = (f"ip{suffix}", f"gw{suffix}")
    if all(now.get(key) == new.get(key) for key in keys):
        return
    pid, name = _init_pid(config.vmid), new["name"]
    address, gateway = (new.get(key, "") for key in keys)
    if "/" in address and address != now.get(keys[0]):
        _inside(pid, family, "addr", "add", address, "dev", name)
    if "/" in address and gateway:
        for line in network.gateway_commands(family, name, address, gateway):
            _inside(pid, *line.replace("route add", "route replace").split()[1:])
    old = now.get(keys[0], "")
    if "/" in old and old != address:
        subprocess.run(
            [
                "nsenter",
                "-t",
                pid,
                "-n",
                "sysctl",
                "-qw",
                f"net.ipv4.conf.{name}.promote_secondaries=1",
            ],
            check=False,
        )
        _inside(pid, family, "addr", "del", old, "dev", name)
    for key in keys:
        now.pop(key, None)
        if key in new:
            now[key] = new[key]
    config.options[option] = print_net(now)
    config.write()


def _init_pid(vmid: int) -> str:
    done = subprocess.run(
        ["lxc-info", "-P", "/var/lib/lxc", "-n", str(vmid), "-p", "-H"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _inside(pid: str, *words: str) -> None:
    """The node's `ip` in the container's network; PVE warns when it fails, and goes on."""
    subprocess.run(["nsenter", "-t", pid, "-n", "ip", *words], check=False)
