"""The initramfs: busybox, our scripts and swap agent, kernel modules and firmware in one archive."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from netboot.errors import OperatorError
from netboot.images import cpio, modules, resources
from netboot.images.cache import Cache
from netboot.images.compiler import Compiler, run
from netboot.images.cpio import Record
from netboot.images.kernel import BUILTIN, Firmware, Kernel
from netboot.images.modules import Module

NOT_PACKED = ("agent", "lab")  # C sources; and what only the lab's PCs get
BUSYBOX = "bin/busybox"
BUILD_FILE = "etc/netboot.build"  # holds the build's key; in base and in the whole initramfs
# Single-threaded, so that the bytes do not depend on the number of cores. 19 is the highest level
# whose window (8 MiB) the kernel's decompressor takes without a word.
COMPRESS = ("zstd", "-19", "-T1", "--quiet", "--no-progress", "--stdout")


def sources() -> Path:
    """The folder ``initramfs``. Raises OperatorError."""
    return resources.folder("initramfs")


def source_digest(folder: Path, pattern: str = "*") -> str:
    """SHA-256 of the files below ``folder`` that match ``pattern``, names and contents."""
    digest = hashlib.sha256()
    for path in _files(folder, pattern):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def compiled(name: str, files: list[Path], compiler: Compiler, cache: Cache) -> bytes:
    """The static program ``name`` made of the C ``files``, which lie in one folder.

    Raises OperatorError.
    """
    return compiler.program(name, files, source_digest(files[0].parent), cache)


def agent(folder: Path, compiler: Compiler, cache: Cache) -> bytes:
    """The swap agent, from the sources in ``folder``/agent. Raises OperatorError."""
    return compiled("agent", sorted((folder / "agent").glob("*.c")), compiler, cache)


def records(folder: Path, busybox: bytes, agent: bytes, kernel: Kernel) -> Iterator[Record]:
    """Everything in the initramfs but modules. ``folder`` is :func:`sources`, ``busybox`` and
    ``agent`` are programs.
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
    # Of all modules, whichever are there: slices are unpacked over each other.
    yield cpio.file(f"{base}/modules.dep", modules.dep_table(kernel.modules).encode())
    yield cpio.file(f"{base}/modules.alias", modules.alias_table(kernel.modules).encode())
    # With it, modprobe knows that a built-in module is no mistake.
    yield cpio.file(f"{base}/{BUILTIN}", (kernel.folder / BUILTIN).read_bytes())


def build_record(key: str) -> Record:
    """The file by which a PC's archives know that they are of one build."""
    return cpio.file(BUILD_FILE, key.encode() + b"\n")


def sums(name: str, key: str, records: Iterable[Record]) -> Record:
    """The list of the archive ``name``, as ``sha256sum -c`` reads it (initramfs/check.sh): its files
    but busybox, which does the sums, and the build's key, which tells archives of two builds apart.
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
    """The files of ``chosen`` modules of ``kernel``, and the firmware they ask for."""
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
    """The lab's own programs for a PC, as an archive that is unpacked over the initramfs."""
    lab = folder / "lab"
    memload = compiled("memload", [lab / "memload.c"], compiler, cache)
    yield cpio.file("userland/bin/memload", memload, executable=True)
    for name in ("40-agent", "50-load"):
        content = (lab / name).read_bytes()
        yield cpio.file(f"userland/etc/netboot.d/{name}", content, executable=True)


def tree(folder: Path, left_out: tuple[str, ...]) -> Iterator[Record]:
    """The files below ``folder``, less those in folders named ``left_out`` at its top."""
    for path in _files(folder):
        relative = path.relative_to(folder)
        if relative.parts[0] in left_out:
            continue
        content = path.read_bytes()
        # Not the file's own mode, which depends on how the sources got here.
        yield cpio.file(str(relative), content, executable=content.startswith(b"#!"))


def compressed(archive: bytes) -> bytes:
    """``archive``, compressed by zstd. Raises OperatorError."""
    return run(list(COMPRESS), "zstd", data=archive).stdout


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def applets(busybox: bytes) -> list[str]:
    """The names of a busybox's applets, as in its own table: it may be for another processor.

    Raises OperatorError. The table (include/applet_tables.h) begins with these two, is sorted and
    ends with an empty name.
    """
    _, first, rest = busybox.partition(b"\0[\0[[\0")
    names = rest.partition(b"\0\0")[0].decode("ascii", "replace").split("\0")
    if not first or "sh" not in names:
        raise OperatorError("this busybox has no table of its applets, or no sh")
    return ["[", "[[", *(name for name in names if name != "busybox")]
