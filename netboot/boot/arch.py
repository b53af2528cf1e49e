"""Client system architecture types (DHCP option 93, RFC 4578 section 2.1): one row per code.

The responder switches on a row's firmware, never on the code. A new kind of PC is a new row.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from netboot.errors import OperatorError
from netboot.profile.processors import AMD64, ARM64, I386, Processor
from netboot.profile.reading import nearest


class Firmware(Enum):
    """The behaviour of a client's firmware on the network; selects the PXE dialect to answer in."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_HTTP = "uefi-http"  # loads its first program over HTTP (UEFI 2.5 section 23.7)
    RASPBERRY_PI = "raspberry-pi"  # runs no program of ours, and asks for files by its own names


@dataclass(frozen=True, slots=True)
class Loader:
    """A network boot program (NBP).

    ``paths`` are its places in the Debian packages ``packages`` of the architecture ``processor``,
    one for each release that has another: the first that exists counts. A ``grub`` is a GRUB or
    loads one, and its files are in a folder for each seat; any other loader is an iPXE. A
    ``signed`` loader must not be changed by a single byte. ``then`` are the programs that it loads
    itself. A ``newest`` loader is of the newest release of Debian if a mirror has it. An ``optional``
    one is not in the packages of every release: without it its PCs begin with the next loader.
    """

    packages: tuple[str, ...]
    paths: tuple[str, ...]
    grub: bool = False
    signed: bool = False
    then: tuple[str, ...] = ()
    processor: Processor = AMD64
    newest: bool = False
    optional: bool = False


IPXE = "ipxe"  # a package for all processors
# Debian 13's place of each comes first, Debian 12's last.
IPXE_EFI = ("usr/lib/ipxe/ipxe-amd64.efi", "boot/ipxe.efi")
IPXE_LKRN = ("usr/lib/ipxe/ipxe.lkrn", "boot/ipxe.lkrn")  # a Linux kernel to its loader

LOADERS = {  # by the names under which they are served
    "undionly.kpxe": Loader((IPXE,), ("usr/lib/ipxe/undionly.kpxe",), newest=True),
    "ipxe.pxe": Loader((IPXE,), ("usr/lib/ipxe/ipxe.pxe",), newest=True),
    "snponly.efi": Loader((IPXE,), ("usr/lib/ipxe/snponly.efi",), newest=True),
    "ipxe.efi": Loader((IPXE,), IPXE_EFI, newest=True),
    "ipxe-arm64.efi": Loader((IPXE,), ("usr/lib/ipxe/ipxe-arm64.efi",), newest=True, optional=True),
    # Microsoft has signed shim. It loads the file grubx64.efi beside it, which Debian has signed
    # and which contains its modules. GRUB loads a kernel of Debian's.
    "shimx64.efi": Loader(
        ("shim-signed",),
        ("usr/lib/shim/shimx64.efi.signed",),
        grub=True,
        signed=True,
        then=("grubx64.efi", "mmx64.efi"),
    ),
    # shim starts it, signed as shim itself, if it refuses the next program: a person may enrol a key.
    "mmx64.efi": Loader(
        ("shim-helpers-amd64-signed",),
        ("usr/lib/shim/mmx64.efi.signed",),
        grub=True,
        signed=True,
    ),
    "grubx64.efi": Loader(
        ("grub-efi-amd64-signed",),
        ("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",),
        grub=True,
        signed=True,
    ),
    "grubia32.efi": Loader(
        ("grub-efi-ia32-unsigned", "grub-efi-ia32-bin"),
        ("usr/lib/grub/i386-efi/monolithic/grubnetia32.efi",),
        grub=True,
    ),
}

# Programs of a boot menu, by the names under which they are served. The files of Debian 13 are both
# a program of UEFI and a Linux kernel to a BIOS's loader.
TOOLS = {
    "memtest86.bin": Loader(("memtest86+",), ("boot/mt86+x64", "boot/memtest86+x64.bin")),
    "memtest86.efi": Loader(("memtest86+",), ("boot/mt86+x64", "boot/memtest86+x64.efi")),
}

# The operator's own signed image (unified.py), and what shim needs to start it, in a folder of their
# own: shim asks for a fixed name beside itself. Each file with that of the build, if there is one.
OWN_SHIM, OWN_IMAGE = "secure/shimx64.efi", "secure/grubx64.efi"
OWN_FILES = {OWN_SHIM: "shimx64.efi", "secure/mmx64.efi": "mmx64.efi", OWN_IMAGE: ""}

GIVEN_FOLDER = (
    "loader/"  # of the operator's own loaders (given.py), below the TFTP root and in URLs
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One client system architecture type.

    ``code`` is the value of option 93. ``loaders`` (keys of LOADERS) are the loaders that such a PC
    can run, in the order of trial: the first uses the firmware's own network driver. ``native`` is
    the loader with drivers of its own, ``signed`` Debian's for Secure Boot, ``own`` the one for a key
    of the operator's; each is empty if there is none. ``grub`` is GRUB's name of the platform if one of the loaders is a GRUB. ``processors``
    are those that such a PC may have, the best one first. ``ouis`` are the beginnings of MAC
    addresses by which to recognise PCs whose firmware claims to be a BIOS.
    """

    code: int
    name: str
    firmware: Firmware
    loaders: tuple[str, ...]
    native: str = ""
    signed: str = ""
    grub: str = ""
    own: str = ""
    processors: tuple[Processor, ...] = (AMD64,)
    ouis: tuple[str, ...] = ()

    @property
    def loader(self) -> str:
        """The loader to try first."""
        return self.loaders[0]

    def is_unified_for(self, processor: str) -> bool:
        """Return True if PCs with this processor can load a unified kernel image."""
        return UNIFIED in self.loaders and processor in (row.name for row in self.processors)

    def loader_at(
        self,
        attempt: int,
        wanted: str,
        *,
        proxy: bool,
        lacks: Collection[str] = (),
        given: str = "",
    ) -> str:
        """Return the loader of attempt number ``attempt``, counted from 0.

        ``wanted`` (native, signed, own) selects the first one. A signed GRUB ignores the offer of a
        ``proxy``, so in proxy mode it is only used if it is wanted. ``lacks`` are the optional
        loaders that the server has not. ``given`` is the operator's own shim: all PCs that can run it
        get it first, because it starts with Secure Boot and without.
        """
        there = [name for name in self.loaders if name not in lacks]
        if given and self.own:
            there.insert(0, given)
        first = there[0]
        if wanted != "auto":
            chosen = {"native": self.native, "signed": self.signed, "own": self.own}.get(wanted)
            first = chosen if chosen in there else first
        if attempt == 0:
            return first
        tried = [name for name in there if name == first or not proxy or name != self.signed]
        return tried[(tried.index(first) + attempt) % len(tried)]


# Firmware that does not know shim's key may know the operator's, so it gets the image itself.
_OWN = (OWN_SHIM, OWN_IMAGE)
_IPXE = ("snponly.efi", "ipxe.efi")
_X64 = ((*_IPXE, *_OWN, "shimx64.efi"), "ipxe.efi", "shimx64.efi", "x86_64-efi", OWN_SHIM)

# The boot ROM of the first Pis asks for this file, whatever the answer; later ones ask for others.
BOOTCODE = "bootcode.bin"
RASPBERRY_PI = Architecture(
    41,
    "raspberry-pi",
    Firmware.RASPBERRY_PI,
    (BOOTCODE,),
    processors=(),  # no script of ours gives its files (raspberry.py)
    # The OUIs of the Raspberry Pi Foundation and of Raspberry Pi Ltd.
    ouis=("b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67", "88:a2:9e"),
)

# Made for each seat of its kernel, initramfs and command line (unified.py); one per processor.
UNIFIED = "linux.efi"

_ARM64 = ("ipxe-arm64.efi", UNIFIED)

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
    # RFC 4578 says "EFI BC" for 7 and "EFI x86-64" for 9, and an erratum swaps them: both mean x64.
    Architecture(9, "uefi-x64-bc", Firmware.UEFI, *_X64),
    # Debian's GRUBs cannot load over HTTP.
    Architecture(
        16, "uefi-x64-http", Firmware.UEFI_HTTP, (*_IPXE, *_OWN), "ipxe.efi", own=OWN_SHIM
    ),
    Architecture(11, "uefi-arm64", Firmware.UEFI, _ARM64, processors=(ARM64,)),
    Architecture(19, "uefi-arm64-http", Firmware.UEFI_HTTP, _ARM64, processors=(ARM64,)),
    RASPBERRY_PI,
)

BY_CODE = {row.code: row for row in ARCHITECTURES}
# The row of the same PCs by the other way: HTTP boot instead of PXE, or PXE instead of HTTP boot.
OTHER_WAY = {7: 16, 9: 16, 11: 19, 16: 7, 19: 11}
BY_NAME = {row.name: row for row in ARCHITECTURES}
BY_OUI = {oui: row for row in ARCHITECTURES for oui in row.ouis}
BY_GRUB = {row.grub: row for row in reversed(ARCHITECTURES) if row.grub}


def parse(text: str) -> Architecture:
    """Return the row for ``--arch``, its name or the value of option 93. Raises OperatorError."""
    found = BY_NAME.get(text) or (BY_CODE.get(int(text)) if text.isdecimal() else None)
    if found is None:
        guess = nearest(text, BY_NAME)
        raise OperatorError(
            f"--arch: expected one of {', '.join(BY_NAME)}, found {text!r}"
            + (f"; did you mean '{guess}'?" if guess else "")
        )
    return found


def is_loader(name: str) -> bool:
    """Return True for a program that firmware or shim loads: it is the same for all PCs, no secret."""
    return name in LOADERS or name in OWN_FILES or name.startswith(GIVEN_FOLDER)


def is_grub(loader: str) -> bool:
    """Return True if the loader of this name is a GRUB or loads one."""
    return loader in LOADERS and LOADERS[loader].grub


def loaders_for(processors: Collection[str]) -> dict[str, Loader]:
    """Return the loaders for PCs with these processors, by name."""
    names = {
        name
        for row in ARCHITECTURES
        if any(each.name in processors for each in row.processors)
        for name in row.loaders
    }
    names &= set(LOADERS)  # the others are made here, or are a Pi's and the operator's
    names |= {each for name in names for each in LOADERS[name].then}
    return {name: LOADERS[name] for name in sorted(names)}
