"""nbd-attach: the swap agent as a program and a Debian package of its own (``make nbd-attach``).

The program is the agent's modules and those in ``nbd-attach``, which take the place of some. The same
sources give the same bytes: of the program, and of the package, whose files have the date of its
changelog.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from netboot import __version__
from netboot.errors import FailedError, OperatorError
from netboot.host.programs import run
from netboot.images import compiler

ROOT = Path(__file__).resolve().parents[1]
AGENT = ROOT / "initramfs/agent"
OWN = ROOT / "nbd-attach"
NAME = "nbd-attach"
# Of the agent, in the order of agent.h. Left out are the parts for which a boot server is needed.
SHARED = (
    *("text", "say", "number", "url", "report", "http", "stream", "handshake", "session"),
    *("device", "md", "mapper", "crypt", "verity", "swap", "area", "settle", "hold"),
)
CHANGELOG = OWN / "debian/changelog"


def sources() -> list[Path]:
    """Return the C files of the program."""
    return [*sorted(OWN.glob("*.c")), *(AGENT / f"{name}.c" for name in SHARED)]


def words() -> list[str]:
    """Return the compiler's words for the program's headers, name and version."""
    named = [f'-DNBD_ATTACH_VERSION="{__version__}"', f'-DPROGRAM="{NAME}"']
    return [f"-I{OWN}", f"-I{AGENT}", *named]


def program(folder: Path) -> Path:
    """Compile the program into ``folder`` and return its path. Raises OperatorError."""
    target = folder / NAME
    command = [*compiler.native().command, *compiler.FLAGS, *words(), "-o", str(target)]
    run([*command, *map(str, sources())])
    return target


def date() -> int:
    """Return the time of the newest entry of the changelog, in seconds since 1970."""
    found = re.search(r"^ -- .*>  (.*)$", CHANGELOG.read_text(), re.MULTILINE)
    assert found is not None, "a changelog has a date"
    return int(datetime.strptime(found[1], "%a, %d %b %Y %H:%M:%S %z").timestamp())


def package(built: Path, folder: Path) -> Path:
    """Make the Debian package of the program ``built`` in ``folder``. Raises OperatorError."""
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    share = tree / "usr/share"
    files = {
        "usr/sbin/nbd-attach": built.read_bytes(),
        "usr/lib/systemd/system/nbd-attach@.service": (OWN / "nbd-attach@.service").read_bytes(),
        "etc/nbd-attach.d/README": (OWN / "debian/README.conf").read_bytes(),
        "usr/share/man/man8/nbd-attach.8.gz": _packed(OWN / "nbd-attach.8"),
        "usr/share/doc/nbd-attach/README.md.gz": _packed(OWN / "README.md"),
        "usr/share/doc/nbd-attach/changelog.gz": _packed(CHANGELOG),
        "usr/share/doc/nbd-attach/copyright": (OWN / "debian/copyright").read_bytes(),
        "usr/share/lintian/overrides/nbd-attach": (OWN / "debian/overrides").read_bytes(),
        "DEBIAN/conffiles": b"/etc/nbd-attach.d/README\n",
    }
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name.startswith("usr/sbin/") else 0o644)
    installed = [name for name in files if not name.startswith(("DEBIAN/", "etc/"))]
    sums = (f"{hashlib.md5(files[name]).hexdigest()}  {name}\n" for name in installed)
    (tree / "DEBIAN/md5sums").write_text("".join(sums))
    architecture = run(["dpkg", "--print-architecture"], package="dpkg").stdout.strip()
    size = sum(map(len, files.values())) // 1024 + len(files)
    control = (OWN / "debian/control").read_text()
    fields = {"VERSION": __version__, "ARCHITECTURE": architecture, "SIZE": str(size)}
    for name, value in fields.items():
        control = control.replace(f"@{name}@", value)
    (tree / "DEBIAN/control").write_text(control)
    for path in (tree, *tree.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (date(), date()))
    assert share.is_dir()
    deb = folder / f"{NAME}_{__version__}_{architecture}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(deb)]
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(date()))
    try:
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise FailedError(f"no package: dpkg-deb failed: {error}") from error
    return deb


def _packed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), mtime=0)


def main() -> int:
    """Build both below ``build/nbd-attach`` and print their sizes and sums."""
    folder = ROOT / "build/nbd-attach"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        built = program(folder)
        made = (built, package(built, folder))
    except OperatorError as error:
        sys.stderr.write(f"nbd-attach: {error.text()}\n")
        return error.exit
    for path in made:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        sys.stdout.write(f"{path.relative_to(ROOT)}: {size} bytes, sha256 {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
