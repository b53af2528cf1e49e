"""The sender of a DHCP packet: a client that we can boot, or a reason to ignore it. Pure."""

from collections.abc import Sequence
from functools import lru_cache

from netboot.boot.arch import BY_CODE, BY_OUI, OTHER_WAY, Architecture, Firmware
from netboot.boot.client import Client, Stage
from netboot.errors import Ignored
from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.packet import BOOTREQUEST, Option, Packet

BIOS = 0  # old ROMs name no architecture

# The features that an iPXE needs for our scripts. On UEFI the firmware itself starts a kernel.
NEEDED = {
    Firmware.BIOS: {pxe.HTTP_FEATURE, pxe.BZIMAGE_FEATURE},
    Firmware.UEFI: {pxe.HTTP_FEATURE},
    Firmware.UEFI_HTTP: {pxe.HTTP_FEATURE},
}


# The options that decide, besides the maker's part of the MAC address.
_DECIDING = (
    Option.VENDOR_CLASS_IDENTIFIER,
    Option.USER_CLASS,
    Option.CLIENT_SYSTEM_ARCHITECTURE,
    Option.ETHERBOOT_ENCAPSULATED,
)
# The PCs of a room are of few kinds, and each asks several times in a boot. A packet has 4 KiB at most, so
# all that is remembered has 512 KiB at most.
KINDS = 128
_Values = tuple[bytes | None, ...]


def client_from_packet(packet: Packet) -> Client | Ignored:
    """Return the client that sent ``packet``, or the reason why we cannot boot the sender."""
    mac, options, firsts = packet.mac, packet.options, packet.firsts
    if mac is None:
        return _client_of(packet)
    values = tuple(options.get(code) for code in _DECIDING)
    first = tuple(firsts.get(code) for code in _DECIDING) if firsts else ()
    kind = _kind(mac[:8] if mac[:8] in BY_OUI else "", values, first)
    if isinstance(kind, Ignored):
        return kind
    return Client(
        mac, kind.arch, kind.stage, kind.nic, kind.able, kind.ours, machine=pxe.machine(packet)
    )


@lru_cache(maxsize=KINDS)
def _kind(maker: str, values: _Values, firsts: _Values) -> Client | Ignored:
    """Return the client for a packet with these options, with any MAC address of its maker."""
    chaddr = bytes.fromhex(maker.replace(":", "")).ljust(16, b"\0")
    return _client_of(
        Packet(BOOTREQUEST, 0, chaddr, options=_present(values), firsts=_present(firsts))
    )


def _present(values: _Values) -> dict[int, bytes]:
    pairs = zip(_DECIDING, values, strict=False)  # none at all, if no option came twice
    return {code: value for code, value in pairs if value is not None}


def _client_of(packet: Packet) -> Client | Ignored:
    vendor_class = pxe.vendor_class(packet)
    if vendor_class is None:
        return Ignored("not a boot client: option 60 begins with neither PXEClient nor HTTPClient")
    if packet.mac is None:
        return Ignored(not_ethernet(packet))
    codes, by_http = pxe.architectures(packet), vendor_class == pxe.HTTP_CLIENT
    if not codes and by_http:
        return Ignored("an HTTPClient that names no architecture, in neither option 93 nor 60")
    codes = codes or (BIOS,)
    # A Raspberry Pi's own firmware sends 0, BIOS (rpi-eeprom#182); UEFI on a Pi sends its own code.
    own = BY_OUI.get(packet.mac[:8])
    if own is not None:
        codes = tuple(own.code if code == BIOS else code for code in codes)
    # Firmware whose option 93 makes no sense, such as the bytes the other way round, has option 60.
    arch = _architecture((*codes, *pxe.named_architecture(packet)), by_http=by_http)
    if arch is None:
        text = f"no boot loader for {vendor_class.decode()} architecture {pxe.listed(codes)}"
        return Ignored(text)
    features = pxe.ipxe_features(packet)
    return Client(
        mac=packet.mac,
        arch=arch,
        stage=Stage.IPXE if pxe.is_ipxe(packet) else Stage.FIRMWARE,
        nic=pxe.nic(packet),
        ours=pxe.is_ours(packet),
        able=not features or NEEDED.get(arch.firmware, set()) <= features,
    )


def _architecture(codes: Sequence[int], *, by_http: bool) -> Architecture | None:
    """Return the first row that the firmware can boot in its way.

    Option 60 says which answer it takes: a PXE server's, or one with a URL (UEFI 2.10 section
    24.7.3.1). So that option decides if option 93 has the number of the other way.
    """
    for code in codes:
        for row in (BY_CODE.get(code), BY_CODE.get(OTHER_WAY.get(code, code))):
            if row is not None and (row.firmware is Firmware.UEFI_HTTP) is by_http:
                return row
    return None


def not_ethernet(packet: Packet) -> str:
    """Return the reason for no answer to a sender without a MAC address."""
    return f"hardware type {packet.htype} with {packet.hlen} bytes is not Ethernet"
