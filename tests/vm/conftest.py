"""Virtual PCs for the tests: ``netboot lab`` as its user runs it, one boot set, root images."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netboot.images.cache import Cache, default_cache
from netboot.images.manifest import MANIFEST_FILE, read
from netboot.roots.checks import kernels_of
from netboot.roots.library import CURRENT, Library, Version
from tests import ROOT
from tests.images.test_cache import Steps

LAB_SECONDS = 1000  # 400 were too few for four PCs on two cores that others keep busy
BUILD_SECONDS = 900  # of a root image on a busy machine
KIOSK, ROOM, DESKTOP, THIN = "kiosk", "room", "desktop", "thin"
DATA = Path(__file__).parent / "data"
KIOSK_FILE, DESKTOP_FILE, THIN_FILE = (DATA / f"{name}.yaml" for name in (KIOSK, DESKTOP, THIN))
KEPT = 3  # versions of a root image: for as many branches


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vm)
            builds = isinstance(item, pytest.Function) and bool(
                {KIOSK, THIN, DESKTOP} & set(item.fixturenames)
            )
            item.add_marker(pytest.mark.timeout(LAB_SECONDS + 20 + builds * BUILD_SECONDS))


@dataclass(frozen=True)
class Outcome:
    """The result of a lab run: its exit status and the output of ``--json``."""

    status: int
    report: dict[str, Any]
    folder: Path

    @property
    def seats(self) -> list[dict[str, Any]]:
        seats: list[dict[str, Any]] = self.report["seats"]
        return seats

    def stages(self, seat: int = 0) -> list[str]:
        return [entry["stage"] for entry in self.seats[seat]["stages"]]

    def console(self, seat: int = 1) -> str:
        return (self.folder / f"pc{seat}.console").read_text(errors="replace")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    profile = ROOT / "profiles/lab.yaml"
    command = [sys.executable, "-m", "netboot", "build", "-p", str(profile), "-o", str(folder)]
    command += ["--set", "boot.architectures=amd64,i386,arm64"]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


@pytest.fixture(scope="session")
def root_image() -> Path:
    """Return a minimal Debian with systemd; it is made once for each version of its recipe."""
    recipe = ROOT / "tools/make-root"
    steps = recipe.read_bytes() + (ROOT / "tools/strip-secrets").read_bytes()
    key = hashlib.sha256(steps).hexdigest()[:32]

    def make(folder: Path) -> None:
        subprocess.run([recipe, folder / "root.squashfs"], check=True)

    cache = Cache(default_cache() / "tests")  # a lock of its own: builds need not wait for it
    with cache.alone(Steps()):
        return cache.folder("roots", key, make) / "root.squashfs"


def made_once(name: str, *words: object) -> Version:
    """Run a verb of ``netboot image`` in the library of the tests; return the image's version.

    The verb finds out by itself whether that version is there.
    """
    library = Library(default_cache() / "tests/library")
    command = [sys.executable, "-m", "netboot", "image", *map(str, words)]
    with Cache(default_cache() / "tests").alone(Steps()):
        subprocess.run([*command, "--roots", library.folder], check=True, cwd=ROOT)
        current = library.find(name)
        for old in library.versions(name)[KEPT:]:
            if old != current:
                library.remove(old)
    return current


@pytest.fixture(scope="session")
def kiosk() -> Version:
    """Return a kiosk with the smallest browser; it is built once for each version of what is in it."""
    return made_once(KIOSK, "build", KIOSK_FILE)


@pytest.fixture(scope="session")
def desktop() -> Version:
    """Return a small desktop in German; it is built once for each version of what is in it."""
    return made_once(DESKTOP, "build", DESKTOP_FILE)


@pytest.fixture(scope="session")
def thin() -> Version:
    """Return a thin client; it is built once for each version of what is in it."""
    return made_once(THIN, "build", THIN_FILE)


@pytest.fixture(scope="session")
def room(images: Path, root_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Return the minimal Debian as another image, which ``netboot image import`` made of an archive.

    It has no driver, but a folder for them: that of the kernel which the PCs boot.
    """
    kernel = kernels_of(read(images / MANIFEST_FILE).processors)["amd64"]
    source = f"{root_image.parent.name}-{kernel}.tar"  # its first part is the digest of its recipe
    for version in Library(default_cache() / "tests/library").versions(ROOM):
        if Path(version.manifest.source).name == source:
            return version
    folder = tmp_path_factory.mktemp("room")
    tree, archive = folder / "tree", folder / source
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tree, root_image], check=True)
    (tree / "usr/lib/modules" / kernel / "kernel").mkdir(parents=True)
    subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
    return made_once(ROOM, "import", ROOM, archive)


def library_with(folder: Path, *versions: Version) -> Path:
    """Make a library in ``folder`` for one test, which may change it, with links to ``versions``."""
    for version in versions:
        mine = folder / version.manifest.name
        mine.mkdir(parents=True)
        manifest = version.image.with_suffix(".json")
        shutil.copy(manifest, mine)
        for file in (version.image, version.tree):
            (mine / file.name).symlink_to(file)
        (mine / CURRENT).symlink_to(manifest.name)
    return folder


def report_of(*command: object, seconds: float = LAB_SECONDS) -> tuple[int, Any]:
    """Run a Python program, named as for ``-m``; return its exit status and JSON output.

    Raises subprocess.TimeoutExpired after ``seconds``.
    """
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.stdout, "no report"
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def lab(images: Path, tmp_path: Path) -> Callable[..., Outcome]:
    def run(*options: str, profile: Path = ROOT / "profiles/lab.yaml") -> Outcome:
        command = ["netboot", "lab", "--json", "--profile", str(profile)]
        command += ["--images", str(images), "--logs", str(tmp_path / "lab")]
        command += ["--timeout", f"{LAB_SECONDS - 60}", *options]
        return Outcome(*report_of(*command), tmp_path / "lab")

    return run
