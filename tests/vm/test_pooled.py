"""PCs swap on in a Ceph pool when one of its two page servers is killed."""

from pathlib import Path

import pytest

from tests.support.ceph import is_installed
from tests.vm.conftest import report_of
from tests.vm.pooled import PAGE_SERVERS


@pytest.mark.nightly
@pytest.mark.skipif(not is_installed(), reason="Ceph is not installed: tools/setup ceph")
def test_another_page_server_takes_over_while_pcs_swap(images: Path, tmp_path: Path) -> None:
    status, seats = report_of("tests.vm.pooled", images, tmp_path)
    assert status == 0, seats
    assert [(seat["failure"], int(seat["wrong"]), seat["lost"]) for seat in seats] == [
        ("", 0, False)
    ] * 2
    moved = [seat["back"] for seat in seats]
    assert all(f"by {PAGE_SERVERS[0]}" in text for text in moved), seats
