"""A session is a secret, and pupils read the screens of PCs that boot."""

import re
from pathlib import Path

import pytest

from tests.support.picture import texts_on
from tests.vm.conftest import report_of
from tests.vm.secret import PICTURE

pytestmark = [pytest.mark.nightly, pytest.mark.screens]


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_ipxe_shows_no_session(firmware: str, images: Path, tmp_path: Path) -> None:
    _, report = report_of("tests.vm.secret", images, tmp_path, firmware)
    assert report["failure"] == "", report
    seen = " ".join(texts_on(tmp_path / PICTURE))
    assert re.search("boot/o[uvw]n/a[mn]", seen), "where the session was; tesseract reads oun, too"
