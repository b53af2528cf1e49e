"""A session is a secret, and pupils read the screens of PCs that boot."""

from pathlib import Path

import pytest

from tests.support.picture import sentence_on
from tests.vm.conftest import report_of
from tests.vm.secret import PICTURE

pytestmark = pytest.mark.nightly


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_ipxe_shows_no_session(firmware: str, images: Path, tmp_path: Path) -> None:
    _, report = report_of("tests.vm.secret", images, tmp_path, firmware)
    assert report["failure"] == "", report
    assert sentence_on(tmp_path / PICTURE, "boot/own/amd"), "and before it no session"
