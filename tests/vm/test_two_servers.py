"""A PC boots on, and others keep their swap, when the first of two boot servers is killed."""

from pathlib import Path

import pytest

from tests.vm.conftest import report_of


@pytest.mark.nightly
def test_the_first_boot_server_is_killed_while_a_pc_boots(images: Path, tmp_path: Path) -> None:
    status, seats = report_of("tests.vm.two_servers", images, tmp_path)
    assert status == 0, seats
    assert [(seat["failure"], int(seat["wrong"])) for seat in seats] == [("", 0)] * 4
    assert [len(seat["addresses"]) for seat in seats] == [1] * 4
