"""What fails now and then and is not understood yet: `make unsteady`, not a part of `make test`.

It passed when it was written and failed in the first run with everything merged (2026-11-25). What it
tests is not said to work (docs/reliability.md) until it is back in `make test`.
"""

from pathlib import Path

from tests.vm.test_torture import torture


# Failed: the PC stood still for two minutes while it wrote its load, before any fault.
def test_one_of_two_servers_breaks_and_then_the_other(images: Path, tmp_path: Path) -> None:
    report = torture(images, tmp_path, "--mirror", "--memory", "128")
    assert report["failures"] == [], report
    assert report["rounds"] >= 1
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert console.count("md: md0: recovery done.") == 2
