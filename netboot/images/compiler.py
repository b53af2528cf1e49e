"""C compilers for the programs of the initramfs, which are static: gcc with musl as their C library.

The processor of this host has musl-gcc; for others there are Debian's cross compilers, and musl out
of that architecture's own package.
"""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.images import packages
from netboot.images.cache import Cache
from netboot.images.packages import Apt
from netboot.images.progress import Progress
from netboot.profile.processors import Processor

MUSL = "musl-dev"
# Static, so that it runs in an initramfs without a C library. No build id, no symbols and no
# paths of this machine: the same sources give the same bytes everywhere. Code and constants share
# a segment, which saves two pages of padding; tables for unwinding are of use to debuggers only,
# and what nobody calls to nobody.
FLAGS = (
    *("-Os", "-static", "-s", "-std=gnu11", "-Wall", "-Wextra"),
    *("-fno-asynchronous-unwind-tables", "-ffunction-sections", "-Wl,--gc-sections"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,max-page-size=4096"),
)


@dataclass(frozen=True, slots=True)
class Compiler:
    """``command`` comes before the sources, ``libraries`` after them. ``version`` changes with what
    is made of them.
    """

    command: tuple[str, ...]
    libraries: tuple[str, ...]
    version: str

    def program(self, name: str, files: list[Path], digest: str, cache: Cache) -> bytes:
        """The static program ``name`` made of the C ``files``, which lie in one folder with that
        ``digest``. Raises OperatorError.
        """
        words = [*FLAGS, "-o", name, *(path.name for path in files)]
        key = hashlib.sha256(f"{self.version} {' '.join(words)} {digest}".encode()).hexdigest()

        def make(target: Path) -> None:
            words[words.index("-o") + 1] = str(target / name)
            run([*self.command, *words, *self.libraries], folder=files[0].parent)

        return (cache.folder("programs", key[:32], make) / name).read_bytes()


def native() -> Compiler:
    """For this host's own processor. Raises OperatorError."""
    return Compiler(("musl-gcc",), (), _version("musl-gcc", "musl-tools"))


def cross(processor: Processor, apt: Apt, cache: Cache, progress: Progress) -> Compiler:
    """For another ``processor``, whose packages ``apt`` knows. Raises OperatorError."""
    version = _version(processor.compiler, processor.compiler_package)
    musl = apt.need([MUSL])[MUSL]

    def make(folder: Path) -> None:
        with cache.scratch() as scratch:
            packages.unpack(apt.download(musl, scratch, progress), folder)

    usr = cache.folder("musl", f"{processor.name}_{musl.version}", make) / "usr"
    headers, library = usr / "include" / processor.musl, usr / "lib" / processor.musl
    # What musl-gcc's specs say, less what C++ and shared objects need. Not position independent:
    # that takes a register and many instructions from a 32-bit x86.
    return Compiler(
        (
            *(processor.compiler, "-fno-pie", "-no-pie", "-nostdinc", "-isystem", str(headers)),
            *("-nostdlib", str(library / "crt1.o"), str(library / "crti.o")),
        ),
        (
            *("-Wl,--start-group", str(library / "libc.a"), "-lgcc", "-Wl,--end-group"),
            str(library / "crtn.o"),
        ),
        f"{version}, {musl.name} {musl.version}",
    )


def run(
    command: list[str], package: str = "", *, folder: Path | None = None, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program of the Debian ``package``. Raises OperatorError if it fails or is not there."""
    try:
        done = subprocess.run(command, cwd=folder, input=data, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise OperatorError(
            f"there is no {command[0]} here", hint=f"sudo apt-get install {package}"
        ) from error
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip()
        raise OperatorError(f"{' '.join(command)} failed: {complaint}")
    return done


def _version(compiler: str, package: str) -> str:
    return run([compiler, "--version"], package).stdout.decode().splitlines()[0]
