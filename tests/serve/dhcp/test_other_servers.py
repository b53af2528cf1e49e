"""Real DHCP servers with our snippets: each kind of firmware and iPXE finds its file, and no other.

The firmware is that of tests/support/offers.py. No DHCP server of ours runs.
"""

import asyncio
import json
import os
import re
import shutil
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import UDP

from netboot.boot.arch import BY_NAME
from netboot.boot.snippets import KINDS, facts, snippet
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot as BootSection
from netboot.serve.dhcp.packet import MessageType
from tests.serve.dhcp.test_neighbourhood import OURS, SITE, site
from tests.serve.dhcp.test_offers import MODELS
from tests.serve.dhcp.test_server import Cable, Lan, on_lan
from tests.support import offers
from tests.support.offers import Boot, Offer
from tests.support.pxe_client import PxeClient

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

KNOWN = facts(Profile(boot=BootSection(architectures=tuple(PROCESSORS))), IPv4Address(OURS))
# At the first start of a server on a busy machine.
ANSWER_SECONDS, TRIES = 1.0, 60
PATH = f"{os.environ['PATH']}:/usr/sbin"
Command = Callable[[Path], list[str | Path]]


def dnsmasq(folder: Path, kind: str = "dnsmasq") -> list[str | Path]:
    """Return the command of a dnsmasq with its snippet, as file of a folder of configuration."""
    (folder / "netboot.conf").write_text(snippet(kind, KNOWN))
    words = ["dnsmasq", "--keep-in-foreground", "--port=0", "--user=root", "--interface=site"]
    words += [
        "--bind-interfaces",
        "--dhcp-range=10.4.0.50,10.4.0.99,1h",
        "--no-ping",
        "--pid-file=",
    ]
    words += [f"--dhcp-leasefile={folder / 'site.leases'}"]
    return [*words, f"--conf-file={folder / 'netboot.conf'}"]


def kea(folder: Path) -> list[str | Path]:
    """Return the command of a Kea whose settings have the snippet inside "Dhcp4"."""
    settings: dict[str, Any] = {
        "interfaces-config": {"interfaces": ["site"]},
        "lease-database": {"type": "memfile", "persist": False},
        "valid-lifetime": 3600,
        "subnet4": [{"subnet": "10.4.0.0/24", "pools": [{"pool": "10.4.0.50 - 10.4.0.99"}]}],
    }
    own = snippet("kea", KNOWN).rstrip()
    path = folder / "kea.json"
    path.write_text(f'{{"Dhcp4": {{\n{own},\n{json.dumps(settings)[1:-1]}\n}}}}\n')
    return [
        "env",
        f"KEA_LOCKFILE_DIR={folder}",
        f"KEA_PIDFILE_DIR={folder}",
        "kea-dhcp4",
        "-c",
        path,
    ]


def isc(folder: Path) -> list[str | Path]:
    """Return the command of ISC's dhcpd that includes the snippet."""
    (folder / "netboot.conf").write_text(snippet("isc", KNOWN))
    (folder / "dhcpd.leases").touch()
    (folder / "dhcpd.conf").write_text(
        f'include "{folder}/netboot.conf";\n'
        "ping-check false;\n"
        "subnet 10.4.0.0 netmask 255.255.255.0 { range 10.4.0.50 10.4.0.99; }\n"
    )
    words: list[str | Path] = ["dhcpd", "-4", "-f", "-q", "-user", "root", "-group", "root"]
    words += ["-cf", folder / "dhcpd.conf", "-lf", folder / "dhcpd.leases"]
    return [*words, "-pf", folder / "dhcpd.pid", "site"]


async def _offer(cable: Cable, client: PxeClient) -> Offer:
    """Return the first offer to a client, which asks again until the server is up."""
    for _ in range(TRIES):
        cable.send(client.discover())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    ip, packet = await cable.reply()
                    if packet.mac == client.mac and packet.message_type is MessageType.DHCPOFFER:
                        return Offer(bytes(ip[UDP].payload), ip.src)
        except TimeoutError:
            continue
    raise AssertionError(f"no offer to {client}")


@pytest.mark.parametrize(
    "command",
    [
        dnsmasq,
        kea,
        pytest.param(
            isc,
            marks=pytest.mark.skipif(
                shutil.which("dhcpd", path=PATH) is None,
                reason="no dhcpd: this release of Debian has no isc-dhcp-server, which was given up",
            ),
        ),
    ],
)
def test_each_kind_of_pc_finds_its_file(tmp_path: Path, command: Command) -> None:
    async def scenario(lan: Lan) -> None:
        with site(*command(tmp_path)):
            cable = Cable("c9")
            lan.stack.callback(cable.close)
            number = 0
            for row in KNOWN.rows:
                for model in MODELS[BY_NAME[row.name].firmware]:
                    ipxe, number = model is offers.ipxe, number + 1
                    client = PxeClient(f"52:54:00:00:01:{number:02x}", row.code, ipxe)
                    offer = await _offer(cable, client)
                    assert offer.source == SITE and not offer.is_proxy
                    assert offer.option("vendor_class_id") == (
                        b"HTTPClient" if row.by_http else None
                    ), "UEFI that sees PXEClient asks this server on port 4011"
                    assert model([offer]) == Boot(OURS, KNOWN.script if ipxe else row.file)
                    assert offer.next_server == OURS
            plain = PxeClient("52:54:00:00:02:01")
            cable.send(plain.plain("discover"))
            _, packet = await cable.reply()
            assert (packet.mac, packet.file.strip(b"\0")) == (plain.mac, b""), "it does not boot"

    on_lan(tmp_path, scenario)


@pytest.mark.parametrize("kind", ["opnsense", "pihole"])
def test_the_snippets_for_servers_made_of_dnsmasq_are_its_own(kind: str) -> None:
    def lines(name: str) -> list[str]:
        return re.findall(r"^[^#\n].*$", snippet(name, KNOWN), re.MULTILINE)

    assert lines(kind) == lines("dnsmasq")
    assert KINDS[kind].comment == "#"
