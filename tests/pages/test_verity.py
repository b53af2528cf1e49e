"""Hash trees of root images, compared with veritysetup's, and images served with them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netboot.boot.plan import image_export, verified_export
from netboot.errors import OperatorError
from netboot.pages import verity
from netboot.pages.exports import Attachment
from netboot.pages.nbd.name import WireName
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores import image
from netboot.pages.stores.image import BLOCK_BYTES, ImageFile
from netboot.pages.stores.null import NullStore
from netboot.pages.stores.store import load

SIZES = (1, 4096, 4097, 8192, 128 * 4096, 128 * 4096 + 1, 128 * 128 * 4096 + 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.squashfs"
    path.write_bytes(os.urandom(300 * 4096 + 700))
    return path


@pytest.fixture
def opened(root: Path) -> Iterator[ImageFile]:
    with closing(image.open_image(root)) as pages:
        yield pages


def verified(pages: ImageFile, folder: Path) -> verity.Verified:
    return verity.verify_images({"root": pages}, folder)["root"]


def content(pages: ImageFile) -> bytes:
    buffer = bytearray(pages.size_bytes)
    pages.read_into(0, memoryview(buffer))
    return bytes(buffer)


def veritysetup(path: Path, blocks: int, root_hash: str) -> int:
    options = ["--no-superblock", "--salt=-", f"--data-blocks={blocks}"]
    options += [f"--hash-offset={blocks * BLOCK_BYTES}"]
    command = ["veritysetup", "verify", *options, str(path), str(path), root_hash]
    environment = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.mark.system
@pytest.mark.parametrize("size", SIZES)
def test_veritysetup_agrees_and_finds_one_changed_bit(tmp_path: Path, size: int) -> None:
    path, whole = tmp_path / "root", tmp_path / "whole"
    path.write_bytes(os.urandom(size))
    with closing(image.open_image(path)) as pages:
        made = verified(pages, tmp_path / "trees")
        with closing(made.pages) as served:
            exported = bytearray(content(served))
    whole.write_bytes(exported)
    assert veritysetup(whole, made.tree.blocks, made.tree.root_hash) == 0
    exported[size - 1] ^= 1
    whole.write_bytes(exported)
    assert veritysetup(whole, made.tree.blocks, made.tree.root_hash) != 0


def test_the_image_is_not_changed_and_comes_first(
    opened: ImageFile, root: Path, tmp_path: Path
) -> None:
    before = root.read_bytes()
    made = verified(opened, tmp_path / "trees")
    with closing(made.pages) as pages:
        exported = content(pages)
        assert pages.size_bytes == 301 * BLOCK_BYTES + verity.tree_bytes(301)
        assert list(pages.extents(4096, 8192)) == [(8192, False)]
    assert root.read_bytes() == before == exported[: len(before)]
    assert exported[len(before) : 301 * BLOCK_BYTES].strip(b"\0") == b""
    assert exported[301 * BLOCK_BYTES :] == verity.make_tree(opened)
    assert str(made.tree) == f"301:{made.tree.root_hash}"


def test_a_tree_is_kept_for_the_next_start_and_made_again_for_another_image(
    opened: ImageFile, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "trees"
    first = verified(opened, folder)
    first.pages.close()
    (kept,) = folder.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    with monkeypatch.context() as patched:
        patched.setattr(verity, "make_tree", lambda pages: pytest.fail("made again"))
        again = verified(opened, folder)
    again.pages.close()
    assert again.tree == first.tree
    changed = bytearray(root.read_bytes())
    changed[5000] ^= 1
    times = root.stat()
    root.write_bytes(changed)
    os.utime(root, ns=(times.st_atime_ns, times.st_mtime_ns))  # as somebody who hides the change
    with closing(image.open_image(root)) as pages:
        other = verified(pages, folder)
    other.pages.close()
    assert other.tree != first.tree
    assert kept not in folder.iterdir(), "a tree that no image uses any more"


def test_what_was_changed_after_the_start_does_not_change_the_tree(
    opened: ImageFile, root: Path, tmp_path: Path
) -> None:
    with closing(verified(opened, tmp_path / "trees").pages) as pages:
        before = content(pages)
        with root.open("r+b") as file:
            file.seek(5000)
            file.write(b"another program")
        after = content(pages)
    assert after != before
    assert after[301 * BLOCK_BYTES :] == before[301 * BLOCK_BYTES :]


def test_a_worker_adopts_image_and_tree(opened: ImageFile, tmp_path: Path) -> None:
    with closing(verified(opened, tmp_path / "trees").pages) as pages:
        descriptors = [os.dup(each) for each in pages.descriptors()]
        adopted = load(image.KIND).adopt(descriptors, pages.size_bytes)
        assert isinstance(adopted, ImageFile)
        with closing(adopted):
            assert content(adopted) == content(pages)
            buffer = bytearray(3 * BLOCK_BYTES)
            adopted.read_into(300 * BLOCK_BYTES, memoryview(buffer))  # over the border
            assert buffer == content(pages)[300 * BLOCK_BYTES :][: len(buffer)]


def test_who_reads_an_image_that_was_replaced_keeps_it_and_its_tree(
    opened: ImageFile, root: Path, tmp_path: Path
) -> None:
    name = verified_export(str(root))
    assert name.startswith(image_export(str(root)))
    old = StaticExports(NullStore(), {}, {name: verified(opened, tmp_path / "trees").pages})
    attached = old.attach(WireName.parse(name))
    assert isinstance(attached, Attachment)
    fresh = root.with_suffix(".new")
    fresh.write_bytes(os.urandom(9000))
    fresh.replace(root)
    with closing(image.open_image(root)) as pages:
        new = StaticExports(NullStore(), {}, {name: verified(pages, tmp_path / "trees").pages})
    resumed = new.resume(attached.lease, attached.pages.descriptors())
    assert resumed is not None and resumed.export == attached.export
    buffers = [bytearray(attached.export.size_bytes) for _ in range(2)]
    for found, buffer in zip((attached, resumed), buffers, strict=True):
        found.pages.read_into(0, memoryview(buffer))
    assert buffers[0] == buffers[1]
    new.let_go(attached.lease)


def test_no_room_for_a_tree_is_one_line(opened: ImageFile, tmp_path: Path) -> None:
    (tmp_path / "trees").touch()
    with pytest.raises(OperatorError, match="hash tree of a root image cannot be kept"):
        verified(opened, tmp_path / "trees")


@pytest.mark.parametrize("at", [0, 40, 4095, 4096, 2 * 4096 + 5, 3 * 4096 + 4000])
def test_a_tree_with_a_changed_byte_is_made_again(
    opened: ImageFile, tmp_path: Path, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The image has 301 blocks, so its tree has a block at the top and three below."""
    folder = tmp_path / "trees"
    first = verified(opened, folder)
    before = content(first.pages)
    first.pages.close()
    (kept,) = folder.iterdir()
    damaged = bytearray(kept.read_bytes())
    damaged[at] ^= 1
    kept.write_bytes(damaged)
    again = verified(opened, folder)
    with closing(again.pages):
        assert again.tree == first.tree and content(again.pages) == before
    (line,) = caplog.messages
    assert line == f"{kept}: damaged; the hash tree of a root image is made again"
    assert list(folder.iterdir()) == [kept]
