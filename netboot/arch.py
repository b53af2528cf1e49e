"""Client system architecture types (DHCP option 93, RFC 4578 section 2.1): one row per code.

The responder switches on a row's firmware, never on the number. A new kind of PC is a new row.
"""

from dataclasses import dataclass
from enum import Enum

from netboot.errors import OperatorError
from netboot.processors import AMD64, ARM64, I386, Processor
from netboot.values import nearest


class Firmware(Enum):
    """How a client's firmware behaves on the wire; decides which PXE dialect it is spoken to in."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_HTTP = "uefi-http"  # loads its first program over HTTP (UEFI 2.5 section 23.7)
    RASPBERRY_PI = "raspberry-pi"  # runs no program of ours, but asks for files of its own names


@dataclass(frozen=True, slots=True)
class Architecture:
    """One client system architecture type.

    ``code`` is the value of option 93, ``loader`` the network boot program (NBP) it can run, a file
    of Debian's package ``ipxe``: the one that uses the firmware's own network driver. ``second`` is
    for a PC with which that one does not come through: it has drivers of its own. ``processors``: what
    such a PC may have, the best one first. ``ouis``: how the MAC addresses begin of those whose
    firmware says that it is a BIOS, and that are known by their maker.
    """

    code: int
    name: str
    firmware: Firmware
    loader: str
    second: str
    processors: tuple[Processor, ...] = (AMD64,)
    ouis: tuple[str, ...] = ()

    @property
    def loaders(self) -> tuple[str, str]:
        """``loader`` and ``second``, in the order in which they are tried."""
        return self.loader, self.second

    def is_unified_for(self, processor: str) -> bool:
        """Whether PCs with this processor load a unified kernel image."""
        return self.loader == UNIFIED and processor in (row.name for row in self.processors)


# What the boot ROM of the first Pis asks for, whatever it is told; later ones ask for other files.
BOOTCODE = "bootcode.bin"
RASPBERRY_PI = Architecture(
    41,
    "raspberry-pi",
    Firmware.RASPBERRY_PI,
    BOOTCODE,
    BOOTCODE,
    processors=(),  # no script of ours says what it loads (raspberry.py)
    # The Raspberry Pi Foundation's and Raspberry Pi Ltd's.
    ouis=("b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67", "88:a2:9e"),
)

# Made for each seat, of its kernel, initramfs and command line (unified.py); per processor.
UNIFIED = "linux.efi"
_UNIFIED_ARM64 = (UNIFIED, UNIFIED, (ARM64,))

ARCHITECTURES = (
    Architecture(0, "bios", Firmware.BIOS, "undionly.kpxe", "ipxe.pxe", (AMD64, I386)),
    Architecture(7, "uefi-x64", Firmware.UEFI, "snponly.efi", "ipxe.efi"),
    # RFC 4578 says "EFI BC" for 7 and "EFI x86-64" for 9, an erratum swaps them: both mean x64.
    Architecture(9, "uefi-x64-bc", Firmware.UEFI, "snponly.efi", "ipxe.efi"),
    Architecture(16, "uefi-x64-http", Firmware.UEFI_HTTP, "snponly.efi", "ipxe.efi"),
    Architecture(11, "uefi-arm64", Firmware.UEFI, *_UNIFIED_ARM64),
    Architecture(19, "uefi-arm64-http", Firmware.UEFI_HTTP, *_UNIFIED_ARM64),
    RASPBERRY_PI,
)

BY_CODE = {row.code: row for row in ARCHITECTURES}
BY_NAME = {row.name: row for row in ARCHITECTURES}
BY_OUI = {oui: row for row in ARCHITECTURES for oui in row.ouis}
LOADERS = tuple(
    sorted({name for row in ARCHITECTURES for name in row.loaders} - {BOOTCODE, UNIFIED})
)


def parse(text: str) -> Architecture:
    """The row that ``--arch`` means: its name, or the value of option 93. Raises OperatorError."""
    found = BY_NAME.get(text) or (BY_CODE.get(int(text)) if text.isdecimal() else None)
    if found is None:
        guess = nearest(text, BY_NAME)
        raise OperatorError(
            f"--arch: expected one of {', '.join(BY_NAME)}, found '{text}'"
            + (f"; did you mean '{guess}'?" if guess else "")
        )
    return found
