"""The same records in any order give the same bytes, and reading them returns the records."""

import stat
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.boot import cpio
from netboot.boot.cpio import Record
from tests.support import newc

PIECES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
NAMES = (
    st.lists(PIECES.filter(lambda piece: piece not in (".", "..")), min_size=1, max_size=3)
    .filter(lambda pieces: pieces[0] != "TRAILER!!!")
    .map("/".join)
)
FILES = st.dictionaries(NAMES, st.binary(max_size=20), max_size=8).filter(
    lambda files: (
        not any(str(parent) in files for name in files for parent in PurePosixPath(name).parents)
    )
)


@given(FILES, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_any_order_gives_the_same_bytes_and_reads_back(  # type: ignore[no-untyped-def]
    files: dict[str, bytes], random
) -> None:
    records = [cpio.file(name, content) for name, content in files.items()]
    archive = cpio.archive(records)
    random.shuffle(records)
    assert cpio.archive(records) == archive

    found = newc.members(archive)
    assert {m.name: m.content for m in found if stat.S_ISREG(m.mode)} == files
    assert [m.inode for m in found] == list(range(1, len(found) + 1))
    names = [m.name for m in found]
    for member in found:
        assert (member.owner, member.modified) == ((0, 0), 0)
        parent = member.name.rpartition("/")[0]
        assert not parent or names.index(parent) < names.index(member.name)


def test_kinds_of_members() -> None:
    archive = cpio.archive(
        [
            cpio.character_device("dev/console", 5, 1),
            cpio.symlink("bin/sh", "busybox"),
            cpio.file("bin/busybox", b"program", executable=True),
            cpio.directory("proc"),
        ]
    )
    found = {member.name: member for member in newc.members(archive)}
    assert list(found) == ["bin", "bin/busybox", "bin/sh", "dev", "dev/console", "proc"]
    assert stat.filemode(found["bin/busybox"].mode) == "-rwxr-xr-x"
    assert stat.filemode(found["bin/sh"].mode) == "lrwxrwxrwx"
    assert found["bin/sh"].content == b"busybox"
    assert stat.filemode(found["dev/console"].mode) == "crw-------"
    assert found["dev/console"].device == (5, 1)
    assert stat.filemode(found["proc"].mode) == "drwxr-xr-x"
    assert found["proc"].links == 2


@pytest.mark.parametrize(
    "name", ["", "/etc", "a//b", "a/", "../a", "a/./b", "a\0b", "TRAILER!!!", "TRAILER!!!/a"]
)
def test_names_that_no_archive_may_have(name: str) -> None:
    with pytest.raises(ValueError, match="name|path"):
        cpio.archive([cpio.file(name, b"")])


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="two different records"):
        cpio.archive([cpio.file("a", b"1"), cpio.file("a", b"2")])
    with pytest.raises(ValueError, match="not a directory"):
        cpio.archive([cpio.file("a", b"1"), cpio.file("a/b", b"2")])
    assert cpio.archive([cpio.file("a", b"1")] * 2) == cpio.archive([Record("a", 0o100644, b"1")])
