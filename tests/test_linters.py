"""ruff, mypy, shellcheck and codespell over the whole tree. Their output is the failure."""

import re
import subprocess
import sys

import pytest

from tests import ROOT

pytestmark = pytest.mark.system

SHELL = re.compile(rb"\A(#!.*\b(ba|da)?sh\b|# shellcheck shell=)")


def _complaints(*command: str) -> str:
    """Return the output of ``command`` if it fails, otherwise an empty text."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{' '.join(command)}:\n{done.stdout}{done.stderr}"


def _expect_silence(*command: str) -> None:
    complaints = _complaints(*command)
    if complaints:
        pytest.fail(complaints, pytrace=False)


def _shell_files() -> list[str]:
    # safe.directory: root may run this in the clone of another user.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return sorted(
        str(path.relative_to(ROOT))
        for path in paths
        if path.is_file() and (path.suffix == ".sh" or SHELL.match(path.read_bytes()[:200]))
    )


def test_ruff_check() -> None:
    _expect_silence(sys.executable, "-m", "ruff", "check", "--output-format=concise", ".")


def test_ruff_format() -> None:
    _expect_silence(sys.executable, "-m", "ruff", "format", "--check", ".")


@pytest.mark.timeout(600)  # the first run has no cache; the next take a few seconds
def test_mypy() -> None:
    _expect_silence(sys.executable, "-m", "mypy")


def test_shellcheck() -> None:
    files = _shell_files()
    screen = "rootfs/screen/usr/lib/netboot/screen"
    assert {".ci/run", "tools/setup", "initramfs/init", "initramfs/lib.sh", screen} <= set(files)
    _expect_silence("shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *files)


def test_codespell() -> None:
    _expect_silence(sys.executable, "-m", "codespell_lib")
