"""A unified kernel image: one EFI program with kernel, initramfs and command line. Pure.

systemd's stub (systemd-stub(7)) finds them as sections of its own file and starts the kernel. So
firmware that can load one file can boot a PC: without a boot loader, a second DHCP exchange, or a
further download.

Format: Microsoft's "PE Format"; the UKI specification gives the names of the sections.
"""

import struct
from collections.abc import Iterable, Mapping

from netboot.boot.plan import BootPlan
from netboot.errors import OperatorError

MACHINE_OFFSET = 0x3C  # of the offset of "PE\0\0"
OPTIONAL_HEADER = 24  # bytes after it
SECTION_HEADER = struct.Struct(
    "<8s6I2HI"
)  # name, sizes and offsets, no relocations, characteristics
READABLE_DATA = 0x40000040
COMMAND_LINE_BYTES = 2048  # the most that Linux takes (arch/arm64/include/uapi/asm/setup.h)


def command_line(plan: BootPlan) -> str:
    """Return the kernel command line of one seat."""
    words = (
        # The firmware passes no address to Linux, so the initramfs asks for one.
        f"ip=::::{plan.seat.hostname}::off",
        f"BOOTIF=01-{plan.client.mac.replace(':', '-')}",
        *plan.arguments,
    )
    return " ".join(words)


def end_of(line: str) -> str:
    """Return the end of an image with that command line, to replace that of a template."""
    return line.ljust(COMMAND_LINE_BYTES)[:COMMAND_LINE_BYTES]


def make_template(stub: bytes, kernel: bytes, initrds: Iterable[bytes]) -> bytes:
    """Return an image without its command line, which comes at the end.

    Raises OperatorError.
    """
    blank = b" " * COMMAND_LINE_BYTES
    sections = {".linux": kernel, ".initrd": concatenated(initrds), ".cmdline": blank}
    template = unified(stub, sections)
    if not template.endswith(blank):
        raise OperatorError(
            f"the EFI stub aligns its sections to more than {COMMAND_LINE_BYTES} bytes"
        )
    return template


def unified(stub: bytes, sections: Mapping[str, bytes]) -> bytes:
    """Return ``stub`` with ``sections`` (names with the dot) added.

    Raises OperatorError if the stub is no EFI program, or has no room for more sections.
    """
    try:
        return _unified(bytearray(stub), sections)
    except (struct.error, IndexError) as error:
        raise OperatorError(
            "the EFI stub cannot take a kernel: it is no EFI program, or lacks room for sections"
        ) from error


def _unified(image: bytearray, sections: Mapping[str, bytes]) -> bytes:
    (start,) = struct.unpack_from("<I", image, MACHINE_OFFSET)
    count, optional_size = struct.unpack_from("<6xH12xH", image, start)
    header = start + OPTIONAL_HEADER
    alignment, file_alignment = struct.unpack_from("<32xII", image, header)
    size_of_headers = struct.unpack_from("<60xI", image, header)[0]
    table = header + optional_size
    end = table + SECTION_HEADER.size * (count + len(sections))
    if image[start : start + 4] != b"PE\0\0" or end > size_of_headers:
        raise struct.error("not a PE file, or one without room for more sections")
    there = [
        SECTION_HEADER.unpack_from(image, table + SECTION_HEADER.size * i) for i in range(count)
    ]
    address = max(place + size for _, size, place, *_ in there)
    del image[max(at + length for _, _, _, length, at, *_ in there) :]  # cut off the symbols
    struct.pack_into("<2I", image, start + 12, 0, 0)  # so the header refers to none
    for name, content in sections.items():
        address = _aligned(address, alignment)
        image += bytes(_aligned(len(image), file_alignment) - len(image))
        row = (name.encode(), len(content), address, _aligned(len(content), file_alignment))
        row_at = table + SECTION_HEADER.size * count
        SECTION_HEADER.pack_into(image, row_at, *row, len(image), 0, 0, 0, 0, READABLE_DATA)
        image += content
        address += len(content)
        count += 1
    image += bytes(_aligned(len(image), file_alignment) - len(image))
    struct.pack_into("<H", image, start + 6, count)
    struct.pack_into("<I", image, header + 56, _aligned(address, alignment))  # size in memory
    struct.pack_into("<I", image, header + 64, 0)  # no checksum: firmware ignores it
    return bytes(image)


def concatenated(archives: Iterable[bytes]) -> bytes:
    """Return several initrds as one.

    The kernel skips zeros between them, and each begins at a multiple of 4
    (Documentation/driver-api/early-userspace/buffer-format.rst).
    """
    return b"".join(each + bytes(-len(each) % 4) for each in archives)


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
