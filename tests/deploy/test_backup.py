"""A backup of a server and the way back, also from a hostile file."""

import gzip
import hashlib
import io
import json
import shutil
import socket
import tarfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace as changed
from pathlib import Path

import pytest

from netboot.deploy import backup
from netboot.deploy.backup import FOLDER, LIST_FILE, PROFILE_FILE, Backup
from netboot.errors import OperatorError
from netboot.feed.protocol import SOCKET_FILE
from netboot.pages.exports import LeasedExports
from netboot.pages.lease import Attached, LeaseTable
from netboot.pages.nbd.name import WireName
from netboot.pages.stores import memory
from netboot.pages.stores.disk import DiskStore
from netboot.pages.stores.folder import Folder
from netboot.serve.room_pages import pages_name

SEAT = "52:54:00:00:00:01"
SECRET = bytes(range(32))
PROFILE = b"swap: {size: 1GiB}\n"
LEASES = b'{"version": 1, "leases": []}'
GOOD = Backup(
    {PROFILE_FILE: PROFILE, FOLDER + "secret": SECRET, FOLDER + "swap.json": LEASES}, "0.2.0", 1e9
)


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The folder of a server: its profile, and its state in a folder of its own."""
    folder = tmp_path / "server"
    (folder / "state").mkdir(parents=True)
    (folder / "room.yaml").write_bytes(PROFILE)
    secret = folder / "state/secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    (folder / "state/swap.json").write_bytes(LEASES + b" " * 1000)
    (folder / "state/started").touch()
    return folder


def restore(folder: Path, found: Backup = GOOD, *, replace: bool = False) -> list[Path]:
    return backup.restore(found, folder / "state", folder / "etc/profile.yaml", replace=replace)


def test_another_machine_gets_the_same_state(server: Path, tmp_path: Path) -> None:
    taken = backup.take(server / "room.yaml", server / "state")
    found = backup.parse(taken.serialize())
    assert found == taken and found.files == GOOD.files
    new = tmp_path / "new"
    written = restore(new, found)
    places = {new / name for name in ("etc/profile.yaml", "state/secret", "state/swap.json")}
    assert set(written) == places
    assert (new / "state/secret").read_bytes() == SECRET
    assert (new / "state/swap.json").read_bytes() == LEASES
    assert (new / "state/secret").stat().st_mode & 0o777 == 0o600
    assert restore(new, found) == [], "what is there is not written again"


def test_seats_keep_swap_that_a_disk_still_has(tmp_path: Path) -> None:
    """The server's own disk is new, and that of the pages has moved."""
    state, room = tmp_path / "state", tmp_path / "room.yaml"
    disk = tmp_path / "disk"
    disk.mkdir()
    room.write_text(f"swap: {{size: 1GiB, store: 'disk:{disk}'}}\n")
    state.mkdir()
    (state / "secret").write_bytes(SECRET)
    (state / "secret").chmod(0o600)
    with closing(DiskStore(disk, pages_name(state))) as store:
        table = LeaseTable(1 << 20)
        exports = LeasedExports(store, table, state=state)
        table.grant(SEAT, "seat-1", "t1", 8192, time.time())
        exports.attach(WireName.parse("seat-1@t1.7"))
        exports.close()
    taken = backup.take(room, state)
    shutil.rmtree(state)
    backup.restore(taken, state, room)
    with closing(DiskStore(disk, pages_name(state))) as store:
        after = LeaseTable(1 << 20)
        LeasedExports(store, after, state=state)
        assert isinstance(after.attach(WireName.parse("seat-1@t1.7"), time.time()), Attached)


def test_other_state_is_replaced_only_if_that_is_asked_for(server: Path) -> None:
    old = server / "state/leases.json"
    old.write_text("{}")
    (server / "state/.leases.json.spare").write_text("{}")
    (server / "state/secret").write_bytes(SECRET[::-1])
    with pytest.raises(
        OperatorError, match="there is other content already: .*secret.*leases.json"
    ):
        restore(server)
    assert (server / "state/secret").read_bytes() == SECRET[::-1]
    assert not (server / "etc/profile.yaml").exists()
    restore(server, replace=True)
    assert (server / "state/secret").read_bytes() == SECRET
    assert not old.exists() and not (server / "state/.leases.json.spare").exists()
    assert (server / "state/started").exists()


def test_a_running_server_is_named_and_keeps_its_state(server: Path) -> None:
    with socket.socket(socket.AF_UNIX) as feed:
        feed.bind(str(server / "state" / SOCKET_FILE))
        feed.listen(1)
        with pytest.raises(OperatorError, match=r"a running server has this state: process [0-9]+"):
            restore(server, changed(GOOD, files=GOOD.files | {FOLDER + "secret": SECRET[::-1]}))
    assert (server / "state/secret").read_bytes() == SECRET
    assert restore(server) == [server / "etc/profile.yaml"], (
        "its socket is left, and nobody listens"
    )


def test_a_server_that_holds_pages_counts_as_running(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    monkeypatch.setattr(memory, "TMPFS", pages)
    held = Folder(pages, pages_name(server / "state"))
    with pytest.raises(OperatorError, match="a running server has this state: a process"):
        restore(server)
    held.close()
    restore(server)


def test_a_profile_with_mistakes_is_not_written(server: Path) -> None:
    wrong = changed(GOOD, files=GOOD.files | {PROFILE_FILE: b"swap: {sizee: 1GiB}\n"})
    with pytest.raises(OperatorError, match="the backup's profile.yaml:1: key 'swap.sizee'"):
        restore(server, wrong)
    assert not (server / "etc").exists()


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(out.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def listed(version: object = 1, **sums: str) -> bytes:
    rows = [
        {
            "name": name,
            "size": len(data),
            "sha256": sums.get(name) or hashlib.sha256(data).hexdigest(),
        }
        for name, data in GOOD.files.items()
    ]
    row = {"version": version, "release": "0.2.0", "made": 1.0, "files": rows}
    return json.dumps(row).encode()


def like(first: bytes, *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    own = [(member(name), data) for name, data in GOOD.files.items()]
    return packed((member(LIST_FILE), first), *own, *more)


def huge() -> bytes:
    return gzip.compress(bytes(backup.MOST_BYTES + (2 << 20)), compresslevel=1)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (lambda: b"hello", "not gzipped"),
    "no tar": (lambda: gzip.compress(b"x" * 5000), "no tar|does not begin"),
    "empty": (lambda: gzip.compress(b""), "no tar"),
    "bomb": (huge, "too large: more than"),
    "cut off": (lambda: GOOD.serialize()[:-20], "its end is missing"),
    "tail": (lambda: GOOD.serialize() + b"x", "something is behind it"),
    "no list": (lambda: packed((member(PROFILE_FILE), PROFILE)), "does not begin with"),
    "bad list": (lambda: like(b"[]"), "cannot be read"),
    "deep list": (lambda: like(b"[" * 100_000), "cannot be read"),
    "version": (lambda: like(listed(2)), "of another form: version 2, expected 1"),
    "sum": (
        lambda: like(listed(**{PROFILE_FILE: "0" * 64})),
        "profile.yaml is not what its list says",
    ),
    "absolute": (
        lambda: like(listed(), (member("/etc/shadow"), b"")),
        "refused: '/etc/shadow' is no file of",
    ),
    "above": (
        lambda: like(listed(), (member("state/../../x"), b"")),
        "refused: 'state/../../x' is no file of",
    ),
    "link": (
        lambda: like(listed(), (member("state/clock", tarfile.SYMTYPE, "/etc/shadow"), b"")),
        "refused: 'state/clock' is no plain file",
    ),
    "hard link": (
        lambda: like(listed(), (member("state/clock", tarfile.LNKTYPE, "/etc/shadow"), b"")),
        "refused: 'state/clock' is no plain file",
    ),
    "device": (
        lambda: like(listed(), (member("state/clock", tarfile.CHRTYPE), b"")),
        "no plain file",
    ),
    "pipe": (
        lambda: like(listed(), (member("state/clock", tarfile.FIFOTYPE), b"")),
        "no plain file",
    ),
    "folder": (
        lambda: like(listed(), (member("state/clock", tarfile.DIRTYPE), b"")),
        "no plain file",
    ),
    "sparse": (
        lambda: like(listed(), (member("state/clock", tarfile.GNUTYPE_SPARSE), b"")),
        "refused|no tar",
    ),
    "twice": (
        lambda: like(listed(), (member(PROFILE_FILE), PROFILE)),
        "profile.yaml is in it twice",
    ),
    "not listed": (
        lambda: like(listed(), (member("state/clock"), b"x")),
        "other files than its list",
    ),
    "newlines": (lambda: like(listed(), (member("a\nb"), b"")), r"refused: 'a\\nb' is no file of"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    made, complaint = HOSTILE[kind]
    path = tmp_path / "backup.tar.gz"
    path.write_bytes(made())
    with pytest.raises(OperatorError, match=complaint) as caught:
        backup.read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_any_damaged_byte_is_refused_or_harmless() -> None:
    good = GOOD.serialize()
    for at in range(len(good)):
        wrong = bytearray(good)
        wrong[at] ^= 0x55
        try:
            found = backup.parse(bytes(wrong))
        except ValueError:
            continue
        assert found.files == GOOD.files, at
