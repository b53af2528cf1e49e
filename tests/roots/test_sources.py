"""The mirrors of root images: other releases, the kernel that PCs boot, answers that are kept."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.images import releases
from netboot.images.packages import Apt, Package
from netboot.roots import sources
from netboot.roots.sources import STAMP, Source


class Fake(Apt):
    """An apt that counts what it is asked."""

    def __init__(self, lists: Path, error: str = "") -> None:
        self.lists, self.error, self.asked = lists, error, 0
        self._lists_are_ours = False

    def would_install(self, names: Sequence[str]) -> dict[str, str]:
        self.asked += 1
        if self.error:
            raise OperatorError(self.error)
        return dict.fromkeys(names, "1")

    def show(self, names: object) -> dict[str, Package]:
        self.asked += 1
        meta = Package("linux-image-amd64", "6.1", "linux-image-6.1.0-56-amd64 (= 6.1)")
        return {
            each.name: each for each in (meta, Package("linux-image-6.1.0-56-amd64", "6.1", ""))
        }

    def mirrors(self) -> list[dict[str, str]]:
        return [{"Filename": str(self.lists / "mirror_Packages"), "Release": "bookworm"}]


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/mirror_InRelease").write_text("1")
    return tmp_path / "lists"


def source(lists: Path, apt: Fake, complaint: str = "") -> Source:
    file = lists.parent / "sources.list"
    return Source(apt, "bookworm", "amd64", file, "", complaint, apt)


def test_an_answer_is_kept_until_the_lists_change(lists: Path) -> None:
    apt = Fake(lists)
    found = source(lists, apt)
    for _ in range(2):
        assert found.versions(["surf"]) == {"?essential": "1", "surf": "1"}
        assert found.kernel("linux-image-amd64") == "linux-image-6.1.0-56-amd64"
    assert apt.asked == 3  # kernel_package shows a second package
    found.versions(["vim"])
    (lists / "mirror_InRelease").write_text("22")
    found.versions(["surf"])
    assert apt.asked == 5


@pytest.mark.parametrize(
    ("own", "base", "kernels"),
    [
        ("bookworm", "bookworm", "bookworm"),
        ("bookworm", "trixie", "bookworm"),
        ("trixie", "bookworm", ""),
        ("trixie", "trixie", "trixie"),
        ("sid", "trixie", ""),
    ],
)
def test_a_base_has_the_kernel_that_pcs_boot_unless_it_is_older(
    own: str, base: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "platform.freedesktop_os_release", lambda: {"VERSION_CODENAME": own}, raising=True
    )
    assert sources._release_of_kernels(base) == kernels


def test_the_kernel_of_an_older_base_is_its_newest(lists: Path) -> None:
    found = Source(Fake(lists), "trixie", "amd64", lists.parent / "sources.list", "")
    assert found.kernel("linux-image-amd64") == "linux-image-amd64"


def test_a_mirror_that_is_away_is_told_with_what_it_caused(lists: Path) -> None:
    (lists.parent / STAMP).touch()
    found = source(lists, Fake(lists, "apt knows no surf"), "mirror: no route to host")
    with pytest.raises(OperatorError, match="apt knows no surf; mirror: no route to host"):
        found.versions(["surf"])
    assert not (lists.parent / STAMP).exists()


@pytest.mark.parametrize(
    ("release", "found"),
    [
        ("bookworm", "trixie"),
        ("bookworm-updates", "trixie-updates"),
        ("stable-security", "trixie-security"),
        ("oldstable", "trixie"),
        ("trixie-security", "trixie-security"),
        ("room", "room"),
    ],
)
def test_a_mirror_has_other_releases_under_their_names(release: str, found: str) -> None:
    assert releases.release_of({"Release": release}, "trixie") == found
