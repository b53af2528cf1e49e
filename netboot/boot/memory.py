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
LEAST_MIB, LEAST_MIB_OF_WHOLE = 80, 128
LITTLE_MIB = 128  # less than this is little: such a PC is spared what it can do without
# What Linux can do without: 8 MiB of files for its tracers (before 6.6), and with one CPU 4 MiB to note
# whose each byte of its own memory is (obj_cgroups of a chunk in mm/percpu.c). Programs' stays counted.
SPARED = ("initcall_blacklist=tracer_init_tracefs", "cgroup.memory=nokmem")
# A BIOS PC of 80 MiB has no room for the initramfs above the kernel: Linux unpacks itself from 16 MiB
# on, which takes 64 MiB (init_size of Debian's 6.1, Documentation/x86/boot.rst). mem= is a word for
# the boot loader too, and iPXE then puts the initramfs below. Linux reads no word after "--".
LOW_BYTES = 16 << 20
LOW = ("--", f"mem={LOW_BYTES >> 20}M")
_BELOW = 1 << 20  # the firmware's, and below the kernel
_PADDING = 1 << 18  # of the parts


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


def is_little(modules: str) -> bool:
    """Return True if the PC is known to have little RAM."""
    has = ram_mib(modules)
    return has is not None and has < LITTLE_MIB


def is_low(size: int) -> bool:
    """Return True if kernel and initramfs of ``size`` bytes together have room below ``LOW_BYTES``."""
    return _BELOW + size + _PADDING <= LOW_BYTES


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
