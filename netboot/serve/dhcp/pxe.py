"""The options of PXE and iPXE in a packet: 43, 60, 77, 93, 97 and 175.

RFC 4578, RFC 3004 and the PXE specification 2.1; iPXE's own options after its include/ipxe/dhcp.h.
"""

import re
import struct
from collections.abc import Mapping, Sequence

from netboot.boot.ipxe import OWN_USER_CLASS
from netboot.serve.dhcp.packet import END, PAD, Option, Packet

# Option 60 begins with one of these (PXE 2.1 section 2.2.1; UEFI 2.5 section 23.7.2.1).
PXE_CLIENT = b"PXEClient"
HTTP_CLIENT = b"HTTPClient"
NAMED_ARCHITECTURE = re.compile(rb"(?:PXE|HTTP)Client:Arch:([0-9]{1,5})")
IPXE_USER_CLASS = b"iPXE"
MOST_LISTED = 8  # architecture types; firmware names one or two, a stranger's packet 127

# UUIDs that board makers leave on all boards of a kind, in the order of bytes that is chosen below.
PLACEHOLDERS = ("00020003-0004-0005-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc")

# Option 43 (PXE 2.1, table 2-1). Bit 3 of discovery control: no discovery, load the file named.
DISCOVERY_CONTROL = 6
BOOT_MENU = 9
MENU_PROMPT = 10
USE_BOOT_FILE = 8

# Option 175 (iPXE).
NO_PXEDHCP = 0xB0  # do not wait for proxy offers
BUS_ID = 0xB1
FEATURES = range(0x10, 0x50)  # one sub-option for each feature that an iPXE was built with
HTTP_FEATURE = 0x13
BZIMAGE_FEATURE = 0x18
PCI_BUS = 1


def parse_suboptions(data: bytes) -> dict[int, bytes]:
    """Parse encapsulated options (RFC 2132 section 8.4) into a map from number to value.

    One that is cut off is left out.
    """
    return _split(data)[0]


def _split(data: bytes) -> tuple[dict[int, bytes], bool]:
    """Return the encapsulated options, and whether all of them are whole."""
    suboptions: dict[int, bytes] = {}
    at, size = 0, len(data)
    while at < size and (code := data[at]) != END:
        if code == PAD:
            at += 1
            continue
        end = at + 2 + data[at + 1] if at + 1 < size else size + 1
        if end > size:
            return suboptions, False
        suboptions[code] = data[at + 2 : end]
        at = end
    return suboptions, True


def serialize_suboptions(suboptions: Mapping[int, bytes]) -> bytes:
    """Serialize encapsulated options, END included. A value has at most 255 bytes."""
    body = b"".join(bytes((code, len(value))) + value for code, value in suboptions.items())
    return body + bytes((END,))


def vendor_class(packet: Packet) -> bytes | None:
    """Return ``PXE_CLIENT`` or ``HTTP_CLIENT`` if option 60 begins with it, else None."""
    value = packet.options.get(Option.VENDOR_CLASS_IDENTIFIER, b"")
    if value.startswith(PXE_CLIENT):
        return PXE_CLIENT
    return HTTP_CLIENT if value.startswith(HTTP_CLIENT) else None


def is_ipxe(packet: Packet) -> bool:
    """Return True if the sender is iPXE, by its user class."""
    return _has_class(packet, IPXE_USER_CLASS) or is_ours(packet)


def is_ours(packet: Packet) -> bool:
    """Return True if the sender is the iPXE of a medium that ``netboot media`` wrote."""
    return _has_class(packet, OWN_USER_CLASS)


def _has_class(packet: Packet, name: bytes) -> bool:
    """Return True if the user class (option 77) is or contains ``name``.

    iPXE sends the bare string (its net/udp/dhcp.c); RFC 3004 has a length before each class.
    """
    value = packet.options.get(Option.USER_CLASS, b"")
    if name in (value.rstrip(b"\0"), packet.first(Option.USER_CLASS).rstrip(b"\0")):
        return True
    at = 0
    while at < len(value):
        if value[at + 1 : at + 1 + value[at]] == name:
            return True
        at += 1 + value[at]
    return False


def architectures(packet: Packet) -> tuple[int, ...]:
    """Return the client system architecture types, empty if the packet names none.

    They are a list of 16-bit numbers in option 93 (RFC 4578 section 2.1). Without it, old ROMs have
    the number in option 60 only.
    """
    value = packet.first(Option.CLIENT_SYSTEM_ARCHITECTURE)
    if len(value) > 1:
        return struct.unpack_from(f"!{len(value) // 2}H", value)
    return (value[0],) if value else named_architecture(packet)


def named_architecture(packet: Packet) -> tuple[int, ...]:
    """Return the architecture type in option 60 (PXE 2.1 section 2.2.1), empty if there is none."""
    named = NAMED_ARCHITECTURE.match(packet.options.get(Option.VENDOR_CLASS_IDENTIFIER, b""))
    return (int(named[1]),) if named else ()


def listed(numbers: Sequence[int]) -> str:
    """Return architecture types for a message, the first ``MOST_LISTED`` of them."""
    text = ", ".join(map(str, numbers[:MOST_LISTED]))
    return text if len(numbers) <= MOST_LISTED else f"{text} and more"


def machine(packet: Packet) -> str:
    """Return the machine's UUID (option 97), empty if there is none. Boot ROMs also send it empty.

    Firmware and iPXE send the first three numbers in either byte order, of which one is chosen. A
    value that is shorter than RFC 4578 section 2.3 says is none, and so is a placeholder.
    """
    value = packet.first(Option.CLIENT_MACHINE_IDENTIFIER)
    number = value[1:17]  # after its type
    if len(number) < 16 or len(set(number)) == 1:  # all 0, all ff
        return ""
    other = number[3::-1] + number[5:3:-1] + number[7:5:-1] + number[8:]
    text = min(number, other).hex()  # uuid.UUID takes 3 us, of the 40 for an answer
    found = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    return "" if found in PLACEHOLDERS else found


def ipxe_features(packet: Packet) -> frozenset[int]:
    """Return the features of the sender's iPXE (option 175); empty if it does not tell all."""
    told, is_whole = _split(packet.options.get(Option.ETHERBOOT_ENCAPSULATED, b""))
    return frozenset(told) & frozenset(FEATURES) if is_whole else frozenset()


def nic(packet: Packet) -> tuple[int, int] | None:
    """Return PCI vendor and device of the sender's NIC, or None without iPXE's bus-id (175.177)."""
    encapsulated = packet.options.get(Option.ETHERBOOT_ENCAPSULATED, b"")
    bus_id = parse_suboptions(encapsulated).get(BUS_ID, b"")
    if len(bus_id) != 5 or bus_id[0] != PCI_BUS:
        return None
    vendor, device = struct.unpack("!HH", bus_id[1:])
    return vendor, device
