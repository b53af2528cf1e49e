"""Root images for other PCs than those of today: built, and booted until their page is shown."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.picture import sentence_on
from tests.vm.conftest import BUILD_SECONDS, LAB_SECONDS, Outcome, library_with, made_once

OLD = Path(__file__).parent / "data/kiosk-i386.yaml"
SENTENCE = "This page is shown by a diskless PC."
MEMORY = 192


@pytest.mark.nightly
@pytest.mark.screens
@pytest.mark.timeout(BUILD_SECONDS + LAB_SECONDS)
def test_a_pentium_3_shows_a_page(lab: Callable[..., Outcome], tmp_path: Path) -> None:
    image = made_once(OLD.stem, "build", OLD)
    assert image.manifest.kernels[0].endswith("-686-pae")
    roots, picture = library_with(tmp_path / "roots", image), tmp_path / "page.png"
    words = ["--image", OLD.stem, "--roots", str(roots), "--screenshot", str(picture)]
    outcome = lab(*words, "--firmware", "bios-i386", "--memory", str(MEMORY), "--timeout", "900")
    assert outcome.status == 0, outcome.report
    assert "screen:shown" in outcome.stages()
    assert sentence_on(picture, SENTENCE)
