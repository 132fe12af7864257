"""pve-ospf: announce the addresses of Proxmox VE guests with the node's own OSPF."""

__version__ = "0.1.0"
