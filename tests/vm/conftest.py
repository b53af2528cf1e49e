"""Virtual PCs for the tests: ``netboot lab`` as its user runs it, and one boot set."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netboot.images.cache import Cache, default_cache
from tests import ROOT
from tests.images.test_cache import Steps

LAB_SECONDS = 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.timeout(LAB_SECONDS + 20))


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


def report_of(*command: object) -> tuple[int, Any]:
    """Run a Python program, named as for ``-m``; return its exit status and JSON output."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LAB_SECONDS,
        check=False,
    )
    assert done.stdout, "no report"
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def lab(images: Path, tmp_path: Path) -> Callable[..., Outcome]:
    def run(*options: str, profile: Path = ROOT / "profiles/lab.yaml") -> Outcome:
        command = ["netboot", "lab", "--json", "--profile", str(profile)]
        command += ["--images", str(images), "--logs", str(tmp_path / "lab"), *options]
        return Outcome(*report_of(*command), tmp_path / "lab")

    return run
