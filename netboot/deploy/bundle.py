"""A release as one archive: wheels, profile and images. It is made in a checkout.

Equal contents have equal names, so that a server that has the release is not changed.
"""

import fcntl
import hashlib
import io
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import netboot
from netboot.boot.arch import IPXE_LKRN
from netboot.deploy import layout
from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.host.programs import run
from netboot.images.cache import Cache
from netboot.images.packages import Apt, file_of, unpack
from netboot.images.progress import Progress

CHECKOUT = Path(netboot.__file__).parent.parent
WORK = CHECKOUT / "build/fab"  # wheels and archives, kept for the next run
SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "docs",
    "netboot",
    "initramfs",
    "profiles",
    "rootfs",
    "tools/strip-secrets",
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")
DISTRIBUTION = "netboot-classroom"
WHEELS = "netboot_classroom-*.whl"
# Platform tags of C extensions that run on any distribution with Python 3.11.
PLATFORMS = ("manylinux_2_17", "manylinux2014", "manylinux_2_28", "manylinux_2_5", "manylinux1")
ZIP_EPOCH = "315532800"  # 1980, where zip's calendar begins: the wheel has no time of ours
NAME_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Target:
    """The Python of the remote machine: ``3.11`` and ``x86_64``."""

    python: str
    machine: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Parse ``3.11 x86_64``. Raises OperatorError."""
        match = re.fullmatch(r"3\.(\d+) (\w+)", text.strip())
        if match is None or int(match[1]) < 11:
            raise OperatorError(f"expected Python 3.11 or later there, found {text.strip()!r}")
        return cls(*text.split())


@dataclass(frozen=True, slots=True)
class Bundle:
    """A release: its name, and its files by their names in the archive."""

    release: str
    members: dict[str, Path]

    def pack(self, folder: Path) -> Path:
        """Write the archive, a tar file, to ``folder``; return its path."""
        archive = folder / f"{self.release}.tar"
        with tarfile.open(archive, "w") as tar:
            for name, path in sorted(self.members.items()):
                info = tarfile.TarInfo(name)
                content = path.read_bytes()
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))
        return archive


def make(profile: Path, images: Path, target: Target, folder: Path) -> Bundle:
    """Make the files of a release; ``folder`` keeps downloaded wheels. Raises OperatorError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # another thread or run may make the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        wheels = dependencies(target, folder)
        own = wheel(folder)
    members = {f"wheels/{path.name}": path for path in (own, *sorted(wheels.glob("*.whl")))}
    members[layout.PROFILE_FILE] = profile
    files = sorted(path for path in images.rglob("*") if path.is_file())
    members |= {f"images/{path.relative_to(images)}": path for path in files}
    return Bundle(name_of(members), members)


def name_of(members: Mapping[str, Path]) -> str:
    """Return the name of a release of these files."""
    digest = hashlib.sha256()
    for name, path in sorted(members.items()):
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:NAME_DIGITS]


def ipxe_for_grub(cache: Path, progress: Progress) -> Path:
    """Return Debian's ipxe.lkrn, an iPXE that GRUB can start. Raises OperatorError."""
    store = Cache(cache)
    with store.alone(progress):
        package = Apt(cache / "apt").need(["ipxe"])["ipxe"]

        def make(target: Path) -> None:
            with store.scratch() as scratch:
                unpack(Apt(cache / "apt").download(package, scratch, progress), scratch)
                shutil.copyfile(file_of("ipxe", scratch, *IPXE_LKRN), target / "ipxe.lkrn")

        return store.folder("lkrn", package.version, make) / "ipxe.lkrn"


def wheel(folder: Path) -> Path:
    """Build the wheel of this checkout in ``folder``. Equal sources give equal bytes."""
    with tempfile.TemporaryDirectory(prefix="netboot-wheel-") as scratch:
        # A copy: setuptools builds in the tree, and takes the remains of earlier builds.
        for name in SOURCES:
            if (CHECKOUT / name).is_dir():
                shutil.copytree(CHECKOUT / name, f"{scratch}/{name}", ignore=LEFT_OUT)
            else:
                Path(scratch, name).parent.mkdir(exist_ok=True)
                shutil.copyfile(CHECKOUT / name, f"{scratch}/{name}")
        for path in Path(scratch).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # not the umask of the user who cloned
        aside = Path(scratch, "dist")
        _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(aside), scratch)
        made = next(aside.glob(WHEELS))
        for old in folder.glob(WHEELS):
            if old.name != made.name:
                old.unlink(missing_ok=True)
        # Another run may be reading the present wheel.
        replace_file(folder / made.name, made.read_bytes())
        return folder / made.name


def dependencies(target: Target, folder: Path) -> Path:
    """Return the folder of the locked wheels for ``target``, and pip, which it may lack."""
    lock = CHECKOUT / "requirements.lock"
    locked = hashlib.sha256(lock.read_bytes()).hexdigest()
    wheels = folder / f"wheels-{target.python}-{target.machine}-{locked[:NAME_DIGITS]}"
    if not wheels.is_dir():
        aside = wheels.with_name(f"{wheels.name}.unfinished")
        shutil.rmtree(aside, ignore_errors=True)
        platforms = [f"--platform={name}_{target.machine}" for name in PLATFORMS]
        _pip(
            *("download", "--only-binary=:all:", "--python-version", target.python),
            *(*platforms, "--require-hashes", "--requirement", str(lock), "--dest", str(aside)),
        )
        aside.rename(wheels)
    return wheels


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    env = {"SOURCE_DATE_EPOCH": ZIP_EPOCH}
    run(command, problem=f"pip {words[0]} failed", hint="make setup", env=env)
