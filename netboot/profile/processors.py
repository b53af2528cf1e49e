"""The processors of PCs, and the packages that Debian has for each: one row for each architecture.

A PC's firmware tells little of its processor: boot/arch.py lists the processors that each kind of
firmware may run on.
"""

from dataclasses import dataclass

RELEASES = ("bookworm", "trixie")  # of Debian, the oldest first


@dataclass(frozen=True, slots=True)
class Processor:
    """An architecture of Debian.

    ``name`` is Debian's name (dpkg-architecture(1)), ``kernel`` the package with its kernel,
    ``compiler`` a C compiler in the package ``compiler_package``, ``musl`` the folder below
    /usr/lib and /usr/include in which musl-dev has its C library. With a ``stub`` (a file of
    systemd's), kernel and initramfs can be in one file (boot/unified.py). ``sliced``: a PC with iPXE
    gets the parts of the initramfs that it needs.
    ``last_release`` is the last Debian that has this kernel, empty if the newest has it.
    """

    name: str
    kernel: str
    compiler: str
    compiler_package: str
    musl: str
    stub: str = ""
    sliced: bool = True
    last_release: str = ""


AMD64 = Processor(
    "amd64",
    "linux-image-amd64",
    "x86_64-linux-gnu-gcc",
    "gcc-x86-64-linux-gnu",
    "x86_64-linux-musl",
    stub="linuxx64.efi.stub",
)
# Every x86 since the Pentium Pro of 1995 has PAE, except some Pentium M. The compiler's name does
# not begin with Debian's name of the architecture.
I386 = Processor(
    "i386",
    "linux-image-686-pae",
    "i686-linux-gnu-gcc",
    "gcc-i686-linux-gnu",
    "i386-linux-musl",
    last_release="12",
)
# These PCs have UEFI. Debian 12 has no iPXE for them, and some firmware may fail with Debian 13's.
ARM64 = Processor(
    "arm64",
    "linux-image-arm64",
    "aarch64-linux-gnu-gcc",
    "gcc-aarch64-linux-gnu",
    "aarch64-linux-musl",
    stub="linuxaa64.efi.stub",
    sliced=False,
)

PROCESSORS = (AMD64, I386, ARM64)

BY_NAME = {row.name: row for row in PROCESSORS}
