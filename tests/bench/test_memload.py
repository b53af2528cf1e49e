"""initramfs/lab/memload.c on this machine: its passes and their pages. No time is asserted."""

import subprocess
from pathlib import Path

import pytest

from bench.servers import compile_c
from tests import ROOT

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(ROOT / "initramfs/lab/memload.c", tmp_path_factory.mktemp("memload"))


def _run(program: Path, *words: str) -> tuple[int, list[str]]:
    """Return status and lines of a run, without the seconds."""
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    return done.returncode, [line.split(" seconds=")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("pages", ["1", "2", "3", "500"])
def test_all_pages_are_right_after_each_pass(program: Path, pages: str) -> None:
    size = str(int(pages) * 4096)
    status, lines = _run(program, size, "2", "1", "3", "1000")
    passes = [line for line in lines if line.startswith("touched")]
    assert (status, passes) == (0, ["touched pages=1000"] * 2)
    assert lines[-1] == f"pages={pages} wrong=0"


def test_without_touches_the_pass_is_left_out(program: Path) -> None:
    _, lines = _run(program, "40960", "1", "2", "1")
    assert [line.split()[0] for line in lines if "percent" not in line] == [
        *("written", "verified", "scattered"),
        "pages=10",
    ]


@pytest.mark.parametrize("words", [("1",), ("4096", "1", "2"), ("4096", "1", "1", "1", "1", "1")])
def test_a_wrong_use_is_refused(program: Path, words: tuple[str, ...]) -> None:
    assert _run(program, *words)[0] == 2
