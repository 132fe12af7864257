"""An OpenVPN tunnel between two machines: TLS, point to point, keys made for the occasion."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.lab.machine import Machine
from tests.lab.process import Word, run

PORT = 1194
# Each end knows the other's certificate by its fingerprint: no authority is needed.
COMMON = """dev {name}
dev-type tun
proto udp
port {port}
lport {port}
local {local}
remote {remote}
ifconfig {address} {peer}
key /etc/openvpn/{name}.key
cert /etc/openvpn/{name}.crt
peer-fingerprint {fingerprint}
dh none
keepalive 1 10
persist-tun
log /var/log/{name}.log
"""


def connect(
    name: str,
    server: Machine,
    client: Machine,
    underlay: tuple[str, str],
    inner: tuple[str, str],
    *,
    port: int = PORT,
) -> None:
    """Raise tun interface `name` on both machines, which are up already.

    `underlay` and `inner` are (the server's, the client's) addresses, outside and inside of
    the tunnel. It carries traffic a second or so later: poll for it.
    """
    certificates = [_certificate(machine, name) for machine in (server, client)]
    ends = (
        (server, "tls-server", underlay, inner, certificates[1]),
        (client, "tls-client", underlay[::-1], inner[::-1], certificates[0]),
    )
    for machine, role, (local, remote), (address, peer), fingerprint in ends:
        text = COMMON.format(
            name=name,
            port=port,
            local=local,
            remote=remote,
            address=address,
            peer=peer,
            fingerprint=fingerprint,
        )
        machine.write(f"/etc/openvpn/{name}.conf", f"{text}{role}\n")
        machine.run(["openvpn", "--daemon", "--config", f"/etc/openvpn/{name}.conf"])


def _certificate(machine: Machine, name: str) -> str:
    """Give the machine a key and a self-signed certificate; its SHA-256 fingerprint."""
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = (Path(directory) / end for end in ("key", "crt"))
        fingerprint = _make(machine.name, key, certificate)
        machine.write(f"/etc/openvpn/{name}.key", key.read_text(), 0o600)
        machine.write(f"/etc/openvpn/{name}.crt", certificate.read_text())
    return fingerprint


def _make(name: str, key: Path, certificate: Path) -> str:
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subject: list[Word] = ["-nodes", "-days", 1, "-subj", f"/CN={name}"]
    run([*make, *subject, "-keyout", key, "-out", certificate])
    shown = run(["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"])
    return shown.stdout.strip().partition("=")[2]
