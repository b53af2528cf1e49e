"""C compilers for the static programs of the initramfs: gcc, with musl as the C library.

The processor of this host has musl-gcc. For other processors there are Debian's cross compilers,
with musl from the package of that architecture.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from netboot.host.programs import run
from netboot.images import packages
from netboot.images.cache import Cache
from netboot.images.packages import Apt
from netboot.images.progress import Progress
from netboot.profile.processors import Processor

MUSL = "musl-dev"
# Static, so that a program runs in an initramfs without a C library. No build id, no symbols and no
# paths of this machine: the same sources give the same bytes everywhere. Code and constants share
# a segment, which saves two pages of padding. Unwind tables, which only debuggers use, and unused
# functions are left out. All modules are optimized as one, which saves 4 KB for arm64. Nothing would
# protect "relro" data in a static program with musl, so no page is filled up for it. The linker fills
# none up before the data either if it takes pages for small. Not position independent, which saves
# 1 KB here, and on a 32-bit x86 a register and many instructions: a static program has a fixed address
# anyway.
FLAGS = (
    *("-Oz", "-flto", "-static", "-s", "-std=gnu11", "-Wall", "-Wextra"),
    *("-fno-pie", "-no-pie"),
    *("-fno-asynchronous-unwind-tables", "-ffunction-sections", "-Wl,--gc-sections"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,max-page-size=4096"),
    *("-Wl,-z,norelro", "-Wl,-z,common-page-size=32"),
)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler.

    ``command`` comes before the sources, ``libraries`` after them. ``version`` changes if its
    output may change.
    """

    command: tuple[str, ...]
    libraries: tuple[str, ...]
    version: str

    def program(self, name: str, files: list[Path], digest: str, cache: Cache) -> bytes:
        """Return the static program ``name``, made of the C ``files``.

        The files are in one folder, whose ``digest`` is the key for the cache. Raises
        OperatorError.
        """
        words = [*FLAGS, "-o", name, *(path.name for path in files)]
        key = hashlib.sha256(f"{self.version} {' '.join(words)} {digest}".encode()).hexdigest()

        def make(target: Path) -> None:
            words[words.index("-o") + 1] = str(target / name)
            run([*self.command, *words, *self.libraries], cwd=files[0].parent)

        return (cache.folder("programs", key[:32], make) / name).read_bytes()


def native() -> Compiler:
    """Return the compiler for this host's own processor. Raises OperatorError."""
    return Compiler(("musl-gcc",), (), _version("musl-gcc", "musl-tools"))


def cross(processor: Processor, apt: Apt, cache: Cache, progress: Progress) -> Compiler:
    """Return the compiler for another ``processor``, whose packages ``apt`` knows.

    Raises OperatorError.
    """
    version = _version(processor.compiler, processor.compiler_package)
    musl = apt.need([MUSL])[MUSL]

    def make(folder: Path) -> None:
        with cache.scratch() as scratch:
            packages.unpack(apt.download(musl, scratch, progress), folder)

    usr = cache.folder("musl", f"{processor.name}_{musl.version}", make) / "usr"
    headers, library = usr / "include" / processor.musl, usr / "lib" / processor.musl
    # As musl-gcc's specs, without the parts for C++ and shared objects.
    return Compiler(
        (
            *(processor.compiler, "-nostdinc", "-isystem", str(headers)),
            *("-nostdlib", str(library / "crt1.o"), str(library / "crti.o")),
        ),
        (
            *("-Wl,--start-group", str(library / "libc.a"), "-lgcc", "-Wl,--end-group"),
            str(library / "crtn.o"),
        ),
        f"{version}, {musl.name} {musl.version}",
    )


def _version(compiler: str, package: str) -> str:
    return run([compiler, "--version"], package=package).stdout.splitlines()[0]
