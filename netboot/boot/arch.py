"""Client system architecture types (DHCP option 93, RFC 4578 section 2.1): one row per code.

The responder switches on a row's firmware, never on the number. A new kind of PC is a new row.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from netboot.errors import OperatorError
from netboot.profile.processors import AMD64, ARM64, I386, Processor
from netboot.profile.values import nearest


class Firmware(Enum):
    """How a client's firmware behaves on the wire; decides which PXE dialect it is spoken to in."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_HTTP = "uefi-http"  # loads its first program over HTTP (UEFI 2.5 section 23.7)
    RASPBERRY_PI = "raspberry-pi"  # runs no program of ours, but asks for files of its own names


@dataclass(frozen=True, slots=True)
class Loader:
    """A network boot program (NBP): ``path`` is its place in Debian's package ``package``, of the
    architecture ``processor``. A ``grub`` is, or ends as, a GRUB, whose files lie in a folder of the
    seat; others are an iPXE. Not a byte of a ``signed`` one may change. ``then``: the loader that it
    loads itself.
    """

    package: str
    path: str
    grub: bool = False
    signed: bool = False
    then: str = ""
    processor: Processor = AMD64


LOADERS = {  # by the name they have here
    "undionly.kpxe": Loader("ipxe", "usr/lib/ipxe/undionly.kpxe"),
    "ipxe.pxe": Loader("ipxe", "usr/lib/ipxe/ipxe.pxe"),
    "snponly.efi": Loader("ipxe", "usr/lib/ipxe/snponly.efi"),
    "ipxe.efi": Loader("ipxe", "boot/ipxe.efi"),
    # Microsoft has signed shim. It loads what is called grubx64.efi beside it, which Debian has
    # signed and which has its modules inside, and that a kernel of Debian's.
    "shimx64.efi": Loader(
        "shim-signed",
        "usr/lib/shim/shimx64.efi.signed",
        grub=True,
        signed=True,
        then="grubx64.efi",
    ),
    "grubx64.efi": Loader(
        "grub-efi-amd64-signed",
        "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
        grub=True,
        signed=True,
    ),
    "grubia32.efi": Loader(
        "grub-efi-ia32-bin", "usr/lib/grub/i386-efi/monolithic/grubnetia32.efi", grub=True
    ),
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """One client system architecture type.

    ``code`` is the value of option 93, ``loaders`` (of LOADERS) what such a PC can run, in the order
    in which they are tried: first one that uses the firmware's own network driver. ``native`` is the
    one with drivers of its own, ``signed`` the one for Secure Boot; empty if there is none. ``grub``
    is GRUB's name of the platform, if one of the loaders is a GRUB. ``processors``: what such a PC
    may have, the best one first. ``ouis``: how the MAC addresses begin of those whose firmware says
    that it is a BIOS, and that are known by their maker.
    """

    code: int
    name: str
    firmware: Firmware
    loaders: tuple[str, ...]
    native: str = ""
    signed: str = ""
    grub: str = ""
    processors: tuple[Processor, ...] = (AMD64,)
    ouis: tuple[str, ...] = ()

    @property
    def loader(self) -> str:
        """The one that is tried first."""
        return self.loaders[0]

    def is_unified_for(self, processor: str) -> bool:
        """Whether PCs with this processor load a unified kernel image."""
        return self.loader == UNIFIED and processor in (row.name for row in self.processors)

    def loader_at(self, attempt: int, wanted: str, *, proxy: bool) -> str:
        """The loader of the attempt with that number, from 0, if ``wanted`` (native, signed) is to
        be the first. A signed GRUB does not look at a ``proxy``'s offer: there it has to be wanted.
        """
        first = {"native": self.native, "signed": self.signed}.get(wanted) or self.loader
        tried = [name for name in self.loaders if name == first or not proxy or name != self.signed]
        return tried[(tried.index(first) + attempt) % len(tried)]


_X64 = (("snponly.efi", "ipxe.efi", "shimx64.efi"), "ipxe.efi", "shimx64.efi", "x86_64-efi")

# What the boot ROM of the first Pis asks for, whatever it is told; later ones ask for other files.
BOOTCODE = "bootcode.bin"
RASPBERRY_PI = Architecture(
    41,
    "raspberry-pi",
    Firmware.RASPBERRY_PI,
    (BOOTCODE,),
    processors=(),  # no script of ours says what it loads (raspberry.py)
    # The Raspberry Pi Foundation's and Raspberry Pi Ltd's.
    ouis=("b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67", "88:a2:9e"),
)

# Made for each seat, of its kernel, initramfs and command line (unified.py); per processor.
UNIFIED = "linux.efi"

ARCHITECTURES = (
    Architecture(
        0,
        "bios",
        Firmware.BIOS,
        ("undionly.kpxe", "ipxe.pxe"),
        "ipxe.pxe",
        processors=(AMD64, I386),
    ),
    Architecture(
        6,
        "uefi-ia32",
        Firmware.UEFI,
        ("grubia32.efi",),
        grub="i386-efi",
        processors=(AMD64, I386),
    ),
    Architecture(7, "uefi-x64", Firmware.UEFI, *_X64),
    # RFC 4578 says "EFI BC" for 7 and "EFI x86-64" for 9, an erratum swaps them: both mean x64.
    Architecture(9, "uefi-x64-bc", Firmware.UEFI, *_X64),
    # Debian's GRUBs cannot HTTP.
    Architecture(16, "uefi-x64-http", Firmware.UEFI_HTTP, ("snponly.efi", "ipxe.efi"), "ipxe.efi"),
    Architecture(11, "uefi-arm64", Firmware.UEFI, (UNIFIED,), processors=(ARM64,)),
    Architecture(19, "uefi-arm64-http", Firmware.UEFI_HTTP, (UNIFIED,), processors=(ARM64,)),
    RASPBERRY_PI,
)

BY_CODE = {row.code: row for row in ARCHITECTURES}
BY_NAME = {row.name: row for row in ARCHITECTURES}
BY_OUI = {oui: row for row in ARCHITECTURES for oui in row.ouis}
BY_GRUB = {row.grub: row for row in reversed(ARCHITECTURES) if row.grub}


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


def is_grub(loader: str) -> bool:
    """Whether the loader of that name is, or ends as, a GRUB."""
    return loader in LOADERS and LOADERS[loader].grub


def loaders_for(processors: Collection[str]) -> dict[str, Loader]:
    """The loaders of a room whose PCs have these processors, by name."""
    names = {
        name
        for row in ARCHITECTURES
        if any(each.name in processors for each in row.processors)
        for name in row.loaders
    }
    names &= set(LOADERS)  # others are made, or a Pi's and the operator's
    names |= {LOADERS[name].then for name in names} - {""}
    return {name: LOADERS[name] for name in sorted(names)}
