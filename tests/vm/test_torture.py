"""The short torture: a new seed each time, which is printed, and in the report of a failure."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import report_of

SEED = "NETBOOT_TORTURE_SEED"  # of an earlier run, to repeat that one


def torture(images: Path, folder: Path, *options: str) -> dict[str, Any]:
    seed = ("--seed", os.environ[SEED]) if SEED in os.environ else ()
    words = ("--images", images, "--logs", folder, *options, *seed)
    report: dict[str, Any]
    _, report = report_of("tests.vm.torture", *words)
    return report


def test_a_pc_survives_what_befalls_its_server_and_network(images: Path, tmp_path: Path) -> None:
    report = torture(images, tmp_path, "--memory", "80")
    assert report["failures"] == [], report
    assert report["rounds"] >= 2


def test_one_of_two_servers_breaks_and_then_the_other(images: Path, tmp_path: Path) -> None:
    report = torture(images, tmp_path, "--mirror", "--memory", "96")
    assert report["failures"] == [], report
    assert report["rounds"] >= 1
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert console.count("md: md0: recovery done.") == 2


@pytest.mark.nightly
def test_of_a_mirror_over_two_of_four_servers_one_is_drained_and_another_breaks(
    images: Path, tmp_path: Path
) -> None:
    report = torture(images, tmp_path, "--cells", "--memory", "96")
    assert report["failures"] == [], report
    assert report["rounds"] >= 1
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert console.count("md: md0: recovery done.") == 2


def test_lost_pages_are_never_zeros_init_lives_and_swap_is_renewed(
    images: Path, tmp_path: Path
) -> None:
    report = torture(images, tmp_path, "--loss", "--set", "swap.patience=12s")
    assert report["failures"] == [], report
    assert report["wrong"] == 0
    assert "MiB of swapped pages are lost" in report["told"]["failed:swap"]
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert "netboot: swap: this server no longer has the pages of seat-525400770001" in console
    assert "is wrong" not in console, "pages that were lost were served"
    assert "Kernel panic" not in console
