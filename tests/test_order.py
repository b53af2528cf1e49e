"""Which tests run beside each other (tests/conftest.py)."""

import pytest

from tests import ROOT
from tests.conftest import DISK_PCS, FEW_PCS, KINDS, WITH_BARS, kind_of, rank_of


def test_the_files_of_few_pcs_are_there() -> None:
    assert [file for file in (*FEW_PCS, DISK_PCS, WITH_BARS) if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize(
    ("nodeid", "kind"),
    [
        ("tests/vm/test_torture.py::test_a", "tests/vm/"),
        ("tests/deploy/test_disk.py::test_a", "tests/vm/"),
        ("tests/vm/test_menu.py::test_a", "tests/vm/test_menu.py"),
        ("tests/deploy/test_fab.py::test_a", ""),
        ("tests/panel/page/test_seat.py::test_a", "tests/panel/page/"),
        ("tests/panel/test_room.py::test_a", ""),
    ],
)
def test_virtual_pcs_and_a_browser_are_kinds_of_their_own(nodeid: str, kind: str) -> None:
    assert kind_of(nodeid) == kind
    assert kind in KINDS


def test_the_file_with_bars_of_seconds_comes_first() -> None:
    others = (
        "tests/deploy/test_disk.py::test_a",
        "tests/vm/test_agent.py::test_a",
        "tests/vm/test_menu.py::test_a",
    )
    assert min((*others, f"{WITH_BARS}::test_a"), key=rank_of).startswith(WITH_BARS)
