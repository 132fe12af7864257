"""Pure: beside Proxmox SDN's own routing, what FRR's configuration may be here, and say.

SDN writes frr.conf anew from controllers and fabrics, and merges frr.conf.local into it
(PVE::Network::SDN, parse_merge_frr_local_config): of that file only `interface`, `router`,
`ip prefix-list … seq` and `route-map … permit N … exit` survive. A line with `!` is dropped,
entries of a route-map are counted from 1, and what stands anywhere else ends in the section
before it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from .errors import Refused
from .ospfd import DENY_LIST, OspfdConfig, PrefixList, RouteMapEntry

OPT_IN = "frr.conf.local"
_OSPF_FABRIC = "ospf_fabric: "


def check(owners: Collection[str], opted_in: bool, local_exists: bool) -> None:
    """Raises Refused where SDN leaves us nothing of FRR's configuration to write; `owners` are
    the sections of its controllers and fabrics."""
    fabrics = [owner.partition(_OSPF_FABRIC)[2] for owner in owners if _OSPF_FABRIC in owner]
    if fabrics:
        raise Refused(
            f"Proxmox SDN runs OSPF itself, by its fabric {', '.join(fabrics)}: a second router "
            "id or passive interfaces of ours would break it",
            f"Have the fabric announce the guests: Datacenter, SDN, Fabrics, {fabrics[0]}: "
            "redistribute\nkernel, and as its route filter the prefixes of `allow` (Proxmox VE "
            "9.2 or newer; without\nthe filter other nodes learn guests' addresses and do not "
            "install them). Then apply SDN.\nWhat hooks, sync and the agent do goes on; "
            "pve-ospf apply is not needed.")
    if opted_in and not local_exists:
        raise Refused(f"sdn: {OPT_IN}: /etc/frr/{OPT_IN} does not exist on this node, and once it "
                      "does, SDN writes frr.conf whatever else it has",
                      f"To have it so: touch /etc/frr/{OPT_IN}; then: pve-ospf apply")
    if not opted_in:
        why = [*owners, *([f"/etc/frr/{OPT_IN} exists"] if local_exists else [])]
        raise Refused(
            f"Proxmox SDN writes FRR's configuration on this node and would undo ours: "
            f"{'; '.join(why)}",
            f"To have SDN merge our part into it, write into /etc/pve/pve-ospf.yaml:\n"
            f"  sdn: {OPT_IN}" + ("" if local_exists else f"\nand: touch /etc/frr/{OPT_IN}")
            + f"\nOr do without controllers, fabrics and {OPT_IN}: SDN leaves FRR alone then.")


def mergeable(config: OspfdConfig) -> OspfdConfig:
    """The same, of what survives the merge: denials go into each bridge's own list, ahead of
    what it permits, and the route-map has permits only, with the numbers it gets.

    Raises Refused when something is called for that does not survive.
    """
    if config.chains:
        names = ", ".join(key.name for key in config.chains)
        raise Refused(f"authentication: SDN's merge drops the key chain of {names}",
                      "Use a key of type md5 on this node.")
    denials = tuple(replace(rule, action="deny") for prefixes in config.prefix_lists
                    if prefixes.name == DENY_LIST for rule in prefixes.rules)
    lists = tuple(PrefixList(prefixes.name, (*denials, *prefixes.rules))
                  for prefixes in config.prefix_lists if prefixes.name != DENY_LIST)
    permits = [entry for entry in config.route_map if entry.action == "permit"]
    return replace(config, prefix_lists=lists, work_queue=None, route_map=tuple(
        RouteMapEntry(number, "permit", entry.prefix_list, entry.interface)
        for number, entry in enumerate(permits, 1)))
