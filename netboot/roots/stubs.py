"""Empty libraries for PCs with little RAM, in place of large ones that are loaded and never used.

A loader reads the tables of each library that a program was linked with, and writes into them. In a
browser that draws in software LLVM, Mesa's compiler, costs 25 MB of the image and 9 MB of RAM, voices
that nobody listens to cost 10 MB, and all of it is read again and again. A PC with 256 MiB read 303 MB
of its image until its page was shown, and 132 MB with stubs (docs/measurements/screens.md).

A *stub* has a library's name and those of its symbols that the image's own programs ask for. Each
is a function that returns a pointer to zeros. ``/usr/lib/netboot/session`` puts the folder LIGHT in
front of the loader's path on PCs that draw in software and have little RAM.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from netboot.host.programs import run
from netboot.profile import processors

LIGHT = "usr/lib/netboot/light"
LIBRARIES = "usr/lib/*-linux-gnu*"


@dataclass(frozen=True, slots=True)
class Heavy:
    """Libraries to put stubs beside, and what loads them: names with stars, below LIBRARIES."""

    libraries: str
    users: tuple[str, ...]


HEAVY = (
    Heavy("libLLVM*.so.*", ("dri/swrast_dri.so", "libgallium-*.so")),
    Heavy("libflite*.so.*", ("libwebkit2gtk-*.so.*",)),
)
# Without a C library, so that a compiler for another processor needs no more packages.
FLAGS = ("-Os", "-shared", "-nostdlib", "-fPIC", "-s", "-Wl,--build-id=none")
HEAD = """static char zeros[4096];
static void *nothing(void) { return zeros; }
"""


def programs(architecture: str) -> dict[str, str]:
    """Return the programs that ``make_stubs`` runs, with the Debian package of each."""
    processor = processors.BY_NAME[architecture]
    return {processor.compiler: processor.compiler_package, "readelf": "binutils"}


def make_stubs(root: Path, architecture: str) -> tuple[str, ...]:
    """Write the stubs of a system's heavy libraries below LIGHT; return their names.

    Raises OperatorError if the compiler is missing or fails.
    """
    made = []
    for heavy in HEAVY:
        asked = {
            symbol for path in _files(root, heavy.users) for symbol in _symbols(path, defined=False)
        }
        for library in _files(root, (heavy.libraries,)) if asked else ():
            found = _symbols(library, defined=True)
            wanted = {symbol: found[symbol] for symbol in sorted(asked & found.keys())}
            name = _soname(library)
            (root / LIGHT).mkdir(parents=True, exist_ok=True)
            _compile(root / LIGHT / name, wanted, architecture)
            made.append(name)
    return tuple(made)


def source(symbols: Mapping[str, str]) -> str:
    """Return the C source of a stub with these symbols."""
    lines = (f'void *{symbol}(void) __attribute__((alias("nothing")));\n' for symbol in symbols)
    return HEAD + "".join(lines)


def versions(symbols: Mapping[str, str]) -> str:
    """Return the linker's script that gives symbols their versions; empty if none has one.

    ``symbols``: the version of each by name, or nothing.
    """
    found = sorted({version for version in symbols.values() if version})
    names = {
        each: "; ".join(name for name, own in symbols.items() if own == each) for each in found
    }
    return "".join(f"{version} {{ global: {names[version]}; }};\n" for version in found)


def _compile(target: Path, symbols: Mapping[str, str], architecture: str) -> None:
    compiler = processors.BY_NAME[architecture].compiler
    with tempfile.TemporaryDirectory() as scratch:
        # Fixed names: the same symbols give the same bytes.
        Path(scratch, "stub.c").write_text(source(symbols))
        words = [compiler, *FLAGS, f"-Wl,-soname,{target.name}", "stub.c", "-o", "stub.so"]
        if script := versions(symbols):
            Path(scratch, "versions").write_text(script)
            words.append("-Wl,--version-script=versions")
        run(words, cwd=Path(scratch), problem=f"a stub of {target.name} cannot be made")
        target.write_bytes(Path(scratch, "stub.so").read_bytes())
    target.chmod(0o644)


def _files(root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """Yield files of the system, each once: libraries have more links than one."""
    seen = set()
    for pattern in patterns:
        for path in sorted(root.glob(f"{LIBRARIES}/{pattern}")):
            file = os.stat(path).st_ino if path.is_file() and not path.is_symlink() else None
            if file is not None and file not in seen:
                seen.add(file)
                yield path


def _symbols(path: Path, *, defined: bool) -> dict[str, str]:
    """Return the version of each dynamic symbol that a library has, or else asks for.

    Raises OperatorError.
    """
    found = {}
    for line in run(["readelf", "--dyn-syms", "--wide", str(path)]).stdout.splitlines():
        words = line.split()  # Num: Value Size Type Bind Vis Ndx Name@VERSION
        if len(words) >= 8 and words[0][:-1].isdigit() and (words[6] != "UND") == defined:
            name, _, version = words[7].partition("@")
            found[name] = version.lstrip("@")
    return found


def _soname(path: Path) -> str:
    """Return the name by which programs ask for a library. Raises OperatorError."""
    told = re.search(r"\(SONAME\).*\[(.+)\]", run(["readelf", "-d", "--wide", str(path)]).stdout)
    return told[1] if told else path.name
