"""The RAM of a PC as its iPXE reads it from the firmware's tables, and the least that a boot needs.

iPXE of Debian 12 has no setting for RAM, but it reads SMBIOS: structure 17 describes one memory
module, and its bytes 12 and 13 are the size (DMTF DSP0134, section 7.18). A kernel for which there is
too little RAM ends before it can print a word, so the script must say it. Pure.
"""

from dataclasses import dataclass

MODULES = 8  # sockets for them; the most that a board of that age has
# iPXE replaces a setting that does not exist by nothing.
OWN_MODULES = ".".join(f"${{smbios/{number}.17.12.2:hexraw}}" for number in range(MODULES))
LARGE = 0x7FFF  # its size, 32 GiB or more, is elsewhere
UNKNOWN = 0xFFFF
IN_KIB = 0x8000
# Tried in QEMU, which is why README names them.
LEAST_MIB, LEAST_MIB_OF_WHOLE = 96, 128


@dataclass(frozen=True, slots=True)
class Shortage:
    """Too little RAM: what the PC has, and what its boot needs, in MiB."""

    has: int
    needs: int

    def __str__(self) -> str:
        """Return a line for people."""
        return f"this PC has {self.has} MiB of RAM, and needs {self.needs} MiB to boot"


def shortage(modules: str, *, whole: bool) -> Shortage | None:
    """Return the shortage of a PC whose iPXE sent ``modules`` in place of ``OWN_MODULES``, if any.

    ``whole``: it gets the whole initramfs instead of slices. A PC that does not tell its RAM has
    no shortage.
    """
    has, needs = ram_mib(modules), LEAST_MIB_OF_WHOLE if whole else LEAST_MIB
    return None if has is None or has >= needs else Shortage(has, needs)


def ram_mib(modules: str) -> int | None:
    """Return the RAM in MiB, or None if it is not known."""
    total = 0
    for text in modules.split(".")[:MODULES]:
        try:
            size = int.from_bytes(bytes.fromhex(text), "little")
        except ValueError:
            return None
        if size >= UNKNOWN or size == LARGE:
            return None
        total += (size & ~IN_KIB) // 1024 if size & IN_KIB else size
    return total or None
