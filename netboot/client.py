"""Client: who is asking, read from one packet."""

from dataclasses import dataclass
from enum import Enum

from netboot.arch import BY_CODE, Architecture
from netboot.dhcp import pxe
from netboot.dhcp.packet import Packet
from netboot.errors import Ignored

# What `netboot doctor` boots as: locally administered, so no card has it.
PROBE_MAC = "02:6e:65:74:62:6f"


class Stage(Enum):
    """Which program sent the packet."""

    FIRMWARE = "firmware"
    IPXE = "ipxe"


@dataclass(frozen=True, slots=True)
class Client:
    """A PC that asks to boot. ``mac`` is ``aa:bb:cc:dd:ee:ff``; ``nic`` PCI vendor and device."""

    mac: str
    arch: Architecture
    stage: Stage
    uuid: str | None = None
    nic: tuple[int, int] | None = None


def client_from_packet(packet: Packet) -> Client | Ignored:
    """Who sent ``packet``, or why it is not from a PC that we can boot.

    Raises ProtocolError if one of PXE's options cannot be decoded.
    """
    if not pxe.is_pxe(packet):
        return Ignored("not a PXE client: option 60 does not begin with PXEClient")
    if packet.mac is None:
        return Ignored(f"hardware type {packet.htype} with {packet.hlen} bytes is not Ethernet")
    codes = pxe.architectures(packet)
    if not codes:
        return Ignored("a PXE client without option 93, which names its architecture")
    known = [BY_CODE[code] for code in codes if code in BY_CODE]
    if not known:
        return Ignored(f"no boot loader for client architecture {', '.join(map(str, codes))}")
    return Client(
        mac=packet.mac,
        arch=known[0],
        stage=Stage.IPXE if pxe.is_ipxe(packet) else Stage.FIRMWARE,
        uuid=pxe.machine_uuid(packet),
        nic=pxe.nic(packet),
    )
