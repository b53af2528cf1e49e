"""Formats of root images: detection by superblock, and the same bytes from the same folder."""

import os
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots import format
from netboot.roots.format import SOURCE_DATE_EPOCH, Counter


class Told:
    """A progress display that notes what it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.shares: list[tuple[int, int]] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def advance(self, done: int, total: int) -> None:
        self.shares.append((done, total))


def tree(folder: Path, names: list[str], time: int) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name * 2000)
        os.utime(path, (time, time + 0.5))
    (folder / "link").symlink_to(names[0])
    return folder


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"hsqs" + bytes(5000), "squashfs"),
        (bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(5000), "erofs"),
        (bytes(1080) + b"\x53\xef" + bytes(5000), "ext4"),
        (bytes(5000), ""),
        (b"", ""),
    ],
)
def test_a_format_is_known_by_its_superblock(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    assert format.detect(path) == found


def test_only_newer_times_are_changed(tmp_path: Path) -> None:
    old = tree(tmp_path / "old", ["a"], 1_000_000_000)
    new = tree(tmp_path / "new", ["a"], SOURCE_DATE_EPOCH + 5)
    assert format.clamp_times(old) == format.clamp_times(new) == 2
    assert (old / "a").stat().st_mtime_ns == 1_000_000_000 * 10**9
    for path in (new, new / "a", new / "link", old):
        assert path.lstat().st_mtime_ns == SOURCE_DATE_EPOCH * 10**9


def test_progress_is_read_from_each_packer() -> None:
    told = Told()
    counter = Counter(told, 4)
    counter.hear(b"\rProcessing usr ...\rProcess")
    counter.hear(b"ing usr/bin ...")
    counter.hear(b"[====  ] 5/10 50%")
    assert told.shares == [(1, 4), (2, 4), (50, 100)]


@pytest.mark.root
@pytest.mark.system
@pytest.mark.parametrize("name", format.SERVED)
def test_the_same_files_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    names = [f"usr/share/{each}/{number}" for each in "cab" for number in range(9)]
    images = []
    for index, order in enumerate((names, names[::-1])):
        folder = tree(tmp_path / f"tree{index}", order, SOURCE_DATE_EPOCH + index)
        (folder / "link").unlink()
        (folder / "link").symlink_to("usr")
        images.append(tmp_path / f"{index}.img")
        format.pack(folder, images[index], name, Told())
        assert format.detect(images[index]) == name
    assert images[0].read_bytes() == images[1].read_bytes()


@pytest.mark.root
@pytest.mark.system
def test_a_packer_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="the image cannot be packed: ") as caught:
        format.pack(tree(tmp_path / "t", ["a"], 1), tmp_path / "none" / "x.img", "squashfs", Told())
    assert "\n" not in str(caught.value)
