"""Client: who is asking, read from one packet."""

from dataclasses import dataclass
from enum import Enum

from netboot.arch import BY_CODE, BY_OUI, Architecture, Firmware
from netboot.dhcp import pxe
from netboot.dhcp.packet import Packet
from netboot.errors import Ignored

# What `netboot doctor` boots as: locally administered, so no card has it.
PROBE_MAC = "02:6e:65:74:62:6f"
# And the PCs of `netboot storm`: two more bytes are their number.
STORM_MACS = "02:6e:62:73:"


def played_mac(number: int) -> str:
    """The MAC address of a PC of a storm; numbers are below 65536."""
    return f"{STORM_MACS}{number >> 8:02x}:{number & 255:02x}"


def is_played(mac: str) -> bool:
    """Whether that is no PC, but a doctor's or a storm's: it is in no list, and its swap is a page."""
    return mac == PROBE_MAC or mac.startswith(STORM_MACS)


# What an iPXE needs for our scripts; on UEFI the firmware itself starts a kernel.
NEEDED = {
    Firmware.BIOS: {pxe.HTTP_FEATURE, pxe.BZIMAGE_FEATURE},
    Firmware.UEFI: {pxe.HTTP_FEATURE},
    Firmware.UEFI_HTTP: {pxe.HTTP_FEATURE},
}


class Stage(Enum):
    """Which program sent the packet."""

    FIRMWARE = "firmware"
    IPXE = "ipxe"


@dataclass(frozen=True, slots=True)
class Client:
    """A PC that asks to boot. ``mac`` is ``aa:bb:cc:dd:ee:ff``; ``nic`` PCI vendor and device.

    ``able`` is false of an iPXE that says itself that it cannot do what our scripts ask for: that of
    an old network card, say. ``ours`` is true of an iPXE that is known to be no card's.
    """

    mac: str
    arch: Architecture
    stage: Stage
    uuid: str | None = None
    nic: tuple[int, int] | None = None
    able: bool = True
    ours: bool = False


def client_from_packet(packet: Packet) -> Client | Ignored:
    """Who sent ``packet``, or why it is not from a PC that we can boot.

    Raises ProtocolError if one of PXE's options cannot be decoded.
    """
    vendor_class = pxe.vendor_class(packet)
    if vendor_class is None:
        return Ignored("not a boot client: option 60 begins with neither PXEClient nor HTTPClient")
    if packet.mac is None:
        return Ignored(f"hardware type {packet.htype} with {packet.hlen} bytes is not Ethernet")
    codes = pxe.architectures(packet)
    # A Raspberry Pi's own firmware says 0, BIOS (rpi-eeprom#182); UEFI on one says what it is.
    own = BY_OUI.get(packet.mac[:8])
    if own is not None:
        codes = tuple(own.code if code == 0 else code for code in codes)
    if not codes:
        return Ignored("a boot client without option 93, which names its architecture")
    by_http = vendor_class == pxe.HTTP_CLIENT
    known = [
        row
        for row in map(BY_CODE.get, codes)
        if row is not None and (row.firmware is Firmware.UEFI_HTTP) is by_http
    ]
    if not known:
        numbers = ", ".join(map(str, codes))
        return Ignored(f"no boot loader for {vendor_class.decode()} architecture {numbers}")
    features = pxe.ipxe_features(packet)
    return Client(
        mac=packet.mac,
        arch=known[0],
        stage=Stage.IPXE if pxe.is_ipxe(packet) else Stage.FIRMWARE,
        uuid=pxe.machine_uuid(packet),
        nic=pxe.nic(packet),
        ours=pxe.is_ours(packet),
        able=not features or NEEDED.get(known[0].firmware, set()) <= features,
    )
