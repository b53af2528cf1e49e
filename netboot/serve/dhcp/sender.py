"""The sender of a DHCP packet: a client that we can boot, or a reason to ignore it. Pure."""

from netboot.boot.arch import BY_CODE, BY_OUI, Firmware
from netboot.boot.client import Client, Stage
from netboot.errors import Ignored
from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.packet import Packet

# The features that an iPXE needs for our scripts. On UEFI the firmware itself starts a kernel.
NEEDED = {
    Firmware.BIOS: {pxe.HTTP_FEATURE, pxe.BZIMAGE_FEATURE},
    Firmware.UEFI: {pxe.HTTP_FEATURE},
    Firmware.UEFI_HTTP: {pxe.HTTP_FEATURE},
}


def client_from_packet(packet: Packet) -> Client | Ignored:
    """Return the client that sent ``packet``, or the reason why we cannot boot the sender.

    Raises ProtocolError if an option of PXE cannot be parsed.
    """
    vendor_class = pxe.vendor_class(packet)
    if vendor_class is None:
        return Ignored("not a boot client: option 60 begins with neither PXEClient nor HTTPClient")
    if packet.mac is None:
        return Ignored(f"hardware type {packet.htype} with {packet.hlen} bytes is not Ethernet")
    codes = pxe.architectures(packet)
    # A Raspberry Pi's own firmware sends 0, BIOS (rpi-eeprom#182); UEFI on a Pi sends its own code.
    own = BY_OUI.get(packet.mac[:8])
    if own is not None:
        codes = tuple(own.code if code == 0 else code for code in codes)
    if not codes:
        return Ignored("no architecture: a boot client without option 93")
    by_http = vendor_class == pxe.HTTP_CLIENT
    known = [
        row
        for row in map(BY_CODE.get, codes)
        if row is not None and (row.firmware is Firmware.UEFI_HTTP) is by_http
    ]
    if not known:
        numbers = ", ".join(map(str, codes))
        return Ignored(f"no boot loader for {vendor_class.decode()} architecture {numbers}")
    machine = pxe.machine(packet)
    features = pxe.ipxe_features(packet)
    return Client(
        mac=packet.mac,
        arch=known[0],
        stage=Stage.IPXE if pxe.is_ipxe(packet) else Stage.FIRMWARE,
        nic=pxe.nic(packet),
        machine=machine,
        ours=pxe.is_ours(packet),
        able=not features or NEEDED.get(known[0].firmware, set()) <= features,
    )
