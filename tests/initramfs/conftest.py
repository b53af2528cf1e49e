"""Fixtures of the tests of the initramfs."""

from pathlib import Path

import pytest

from tests.support.shell import SHELLS, Lib


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def lib(request: pytest.FixtureRequest, tmp_path: Path) -> Lib:
    """Return lib.sh in each shell."""
    return Lib(request.param, tmp_path)
