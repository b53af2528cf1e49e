"""The initramfs: one archive of busybox, scripts, swap agent, kernel modules and firmware."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.errors import OperatorError
from netboot.host.programs import convert
from netboot.images import modules, resources
from netboot.images.cache import Cache
from netboot.images.compiler import Compiler
from netboot.images.kernel import BUILTIN, Firmware, Kernel
from netboot.images.modules import Module

NOT_PACKED = ("agent", "lab")  # C sources, and files for the lab's PCs only
BUSYBOX = "bin/busybox"
BUILD_FILE = "etc/netboot.build"  # holds the build's key; in base and in the full initramfs
# Single-threaded, so that the bytes do not depend on the number of cores. The kernel's decompressor
# allocates the window: 1 MiB makes the base 1 % larger than the 8 MiB of level 19, which a PC of 80 MiB
# does not have.
COMPRESS = ("zstd", "-19", "--zstd=wlog=20", "-T1", "--quiet", "--no-progress", "--stdout")


def sources() -> Path:
    """Return the folder ``initramfs``. Raises OperatorError."""
    return resources.folder("initramfs")


def source_digest(folder: Path, pattern: str = "*") -> str:
    """Return the SHA-256 of the files below ``folder`` that match: names and contents."""
    digest = hashlib.sha256()
    for path in _files(folder, pattern):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def compiled(name: str, files: list[Path], compiler: Compiler, cache: Cache) -> bytes:
    """Return the static program ``name``, made of the C ``files``, which are in one folder.

    Raises OperatorError.
    """
    return compiler.program(name, files, source_digest(files[0].parent), cache)


def agent(folder: Path, compiler: Compiler, cache: Cache) -> bytes:
    """Return the swap agent, made of the sources in ``folder``/agent. Raises OperatorError."""
    return compiled("agent", sorted((folder / "agent").glob("*.c")), compiler, cache)


def records(folder: Path, busybox: bytes, agent: bytes, kernel: Kernel) -> Iterator[Record]:
    """Yield everything in the initramfs except modules.

    ``folder`` is :func:`sources`; ``busybox`` and ``agent`` are programs.
    """
    yield from tree(folder, NOT_PACKED)
    yield cpio.character_device("dev/console", 5, 1)  # init's first output goes there
    for name in ("proc", "sys", "run", "sbin", "lib/firmware"):
        yield cpio.directory(name)
    yield cpio.file(BUSYBOX, busybox, executable=True)
    for applet in applets(busybox):
        yield cpio.symlink(f"bin/{applet}", "busybox")
    yield cpio.file("sbin/agent", agent, executable=True)
    base = _modules_folder(kernel)
    # For all modules, present or not: slices are unpacked over each other.
    yield cpio.file(f"{base}/modules.dep", modules.dep_table(kernel.modules).encode())
    yield cpio.file(f"{base}/modules.alias", modules.alias_table(kernel.modules).encode())
    # From this file modprobe knows that a built-in module is no mistake.
    yield cpio.file(f"{base}/{BUILTIN}", (kernel.folder / BUILTIN).read_bytes())


def build_record(key: str) -> Record:
    """Return the file that shows whether a PC's archives are from one build."""
    return cpio.file(BUILD_FILE, key.encode() + b"\n")


def sums(name: str, key: str, records: Iterable[Record]) -> Record:
    """Return the checksums of the archive ``name``, for ``sha256sum -c`` (initramfs/check.sh).

    They cover all its files except busybox, which computes the sums, and also the build's key,
    which distinguishes archives of two builds.
    """
    files = {
        record.name: record.content
        for record in (build_record(key), *records)
        if cpio.is_file(record) and record.name != BUSYBOX
    }
    lines = [f"{hashlib.sha256(files[each]).hexdigest()}  {each}\n" for each in sorted(files)]
    return cpio.file(f"sums/{name}", "".join(lines).encode())


def module_records(
    kernel: Kernel, firmware: Firmware, chosen: Iterable[Module]
) -> Iterator[Record]:
    """Yield the files of ``chosen`` modules of ``kernel``, and the firmware that they request."""
    wanted: set[str] = set()
    for module in chosen:
        content = (kernel.folder / module.path).read_bytes()
        yield cpio.file(f"{_modules_folder(kernel)}/{module.path}", content)
        wanted.update(module.firmware)
    for name in sorted(wanted & firmware.files.keys()):
        yield cpio.file(f"lib/firmware/{name}", firmware.files[name])


def _modules_folder(kernel: Kernel) -> str:
    return f"lib/modules/{kernel.version}"


def load_records(folder: Path, compiler: Compiler, cache: Cache) -> Iterator[Record]:
    """Yield the lab's own programs for a PC, an archive that is unpacked over the initramfs."""
    lab = folder / "lab"
    memload = compiled("memload", [lab / "memload.c"], compiler, cache)
    yield cpio.file("userland/bin/memload", memload, executable=True)
    for name in ("40-agent", "50-load"):
        content = (lab / name).read_bytes()
        yield cpio.file(f"userland/etc/netboot.d/{name}", content, executable=True)


def tree(folder: Path, left_out: tuple[str, ...]) -> Iterator[Record]:
    """Yield the files below ``folder``, except those in its subfolders called ``left_out``."""
    for path in _files(folder):
        relative = path.relative_to(folder)
        if relative.parts[0] in left_out:
            continue
        content = path.read_bytes()
        # The file's own mode is ignored: it depends on how the sources got here.
        yield cpio.file(str(relative), content, executable=content.startswith(b"#!"))


def compressed(archive: bytes) -> bytes:
    """Return ``archive`` compressed by zstd. Raises OperatorError."""
    return convert(COMPRESS, archive, package="zstd")


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def applets(busybox: bytes) -> list[str]:
    """Return the names of a busybox's applets from its own table.

    The busybox may be for another processor, so it cannot be run. The table
    (include/applet_tables.h) begins with these two, is sorted and ends with an empty name. Any byte
    may be in front of it (Debian 13). Raises OperatorError.
    """
    _, first, rest = busybox.partition(b"[\0[[\0")
    names = rest.partition(b"\0\0")[0].decode("ascii", "replace").split("\0")
    if not first or "sh" not in names:
        raise OperatorError("this busybox is unusable: it has no table of its applets, or no sh")
    return ["[", "[[", *(name for name in names if name != "busybox")]
