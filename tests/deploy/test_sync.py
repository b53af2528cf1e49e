"""``netboot sync`` to a real sshd: what arrives, what is sent again, and what an interruption costs."""

import hashlib
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netboot.cli import sync as verb
from netboot.deploy.peer import Peer
from netboot.deploy.sync import ARRIVING, KEPT_BUILDS, Report, Source, seat_files, sync
from netboot.errors import OperatorError
from netboot.profile.file import parse
from netboot.roots.library import Library
from netboot.serve.secret import SECRET_FILE, load_secret, load_secrets, rotate
from tests import ROOT
from tests.deploy.conftest import _Silent
from tests.deploy.rig import Lan, Pc
from tests.roots.making import make_version

pytestmark = pytest.mark.timeout(120)

MIB = 1 << 20


class Pair:
    """This server, with files in ``folder``, and another one that has none of them yet."""

    def __init__(self, lan: Lan, other: Pc, images: Path, folder: Path) -> None:
        self.other, self.folder = other, folder
        self.library = Library(folder / "roots")
        (folder / "etc/images").mkdir(parents=True)
        (folder / "etc/images/kiosk.yaml").write_text("extends: kiosk\n")
        (folder / "room.yaml").write_text("swap: {capacity: 64MiB}\n")
        (folder / "state").mkdir()
        self.source = Source(
            folder / "room.yaml",
            images,
            self.library.folder,
            folder / "state",
            folder / "builds",
            folder / "etc",
        )
        self.lan = lan
        self.ssh = self.connecting()

    def connecting(self, *, key: str = "", known: str = "", port: str = "22") -> list[str]:
        """Return a command that connects to a server of the LAN."""
        known = f"UserKnownHostsFile={known or self.lan.known_hosts}"
        words = ["-F", "none", "-i", key or str(self.lan.key), "-p", port, "-o", known]
        return self.lan.command("ssh", *words)

    @property
    def host(self) -> str:
        return f"root@{self.other.address}"

    @property
    def there(self) -> Library:
        return Library(self.path("roots"))

    def path(self, name: str) -> Path:
        """Return the path from here of a file of the other server."""
        return self.other.path(str(self.folder / name))

    def sync(self, *, secret: bool = False, ssh: list[str] | None = None) -> Report:
        return sync(self.source, Peer(self.host, ssh or self.ssh), _Silent(), secret=secret)

    def cut_after(self, bytes_: int) -> list[str]:
        """Return a command that connects; rsync's connection ends after ``bytes_``."""
        script = self.folder / "cut"
        script.write_text(
            f'#!/bin/sh\ncase "$*" in *"rsync --server"*) stdbuf -o0 head -c {bytes_} | '
            f'{shlex.join(self.ssh)} "$@" ;; *) exec {shlex.join(self.ssh)} "$@" ;; esac\n'
        )
        script.chmod(0o755)
        return [str(script)]


@pytest.fixture(scope="module")
def other(lan: Lan) -> Pc:
    return lan.add(7)


@pytest.fixture
def pair(lan: Lan, other: Pc, images: Path, tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(lan, other, images, tmp_path)
    yield pair
    other.run(f"rm -rf {shlex.quote(str(tmp_path))}")


def make_large(pair: Pair, mebibytes: int = 8) -> None:
    """Add a version of an image whose content is not in any other file."""
    version = make_version(pair.library, "desktop", os.urandom(3 * 4096))
    content = os.urandom(mebibytes * MIB)
    # A large one is not made block by block: its tree is of no interest here.
    made = replace(
        version.manifest,
        digest=hashlib.sha256(content).hexdigest(),
        size=len(content),
        created=2**31,
    )
    image, tree = pair.folder / "image", pair.folder / "tree"
    image.write_bytes(content)
    tree.write_bytes(version.tree.read_bytes())
    pair.library.add(made, image, tree)
    pair.library.remove(version)


@pytest.mark.root
def test_another_server_gets_all_and_then_nothing_more(pair: Pair) -> None:
    old = make_version(pair.library, "kiosk", b"old")
    new = make_version(pair.library, "kiosk", b"new")
    load_secret(pair.folder / "state" / SECRET_FILE)
    report = pair.sync()
    assert report.versions == [new.label, old.label] and report.uses == [new.label]
    found = pair.there.current("kiosk")
    assert found is not None and found.manifest == new.manifest
    for here in (old, new):
        there = pair.there.with_digest("kiosk", here.manifest.short)
        assert there is not None
        assert there.image.read_bytes() == here.image.read_bytes()
        assert there.tree.read_bytes() == here.tree.read_bytes()
        assert stat.S_IMODE(there.image.stat().st_mode) == 0o644
    assert not pair.path(f"roots/{ARRIVING}").exists()
    build = pair.path("builds") / Path(report.boot_files).name
    assert pair.path("builds/current").readlink() == Path(build.name)
    for path in pair.source.images.rglob("*"):
        if path.is_file():
            assert (build / path.relative_to(pair.source.images)).read_bytes() == path.read_bytes()
    assert pair.path("etc/room.yaml").read_text() == pair.source.profile.read_text()
    assert pair.path("etc/images/kiosk.yaml").read_text() == "extends: kiosk\n"
    assert not pair.path("state").exists() and not report.secret, "nobody asked for the secret"
    again = pair.sync()
    assert again.is_empty and again.sent_bytes == 0


@pytest.mark.root
def test_an_interruption_costs_what_was_on_its_way_and_shows_no_half_image(pair: Pair) -> None:
    make_large(pair)
    (name,) = pair.library.names()
    with pytest.raises(OperatorError, match="does not answer over SSH") as error:
        pair.sync(ssh=pair.cut_after(5 * MIB))
    assert error.value.hint.endswith("run the same command again: it goes on from here")
    assert pair.there.names() == () and pair.there.current(name) is None
    (part,) = pair.path(f"roots/{ARRIVING}/{name}").glob("*.img")
    assert part.stat().st_size > 4 * MIB
    report = pair.sync()
    assert 2 * MIB < report.sent_bytes < 4.5 * MIB
    assert pair.there.current(name) is not None


@pytest.mark.root
def test_files_of_seats_are_copied_before_the_profile(pair: Pair) -> None:
    logo, script = pair.folder / "etc/files/logo.png", pair.folder / "etc/files/start"
    logo.parent.mkdir()
    logo.write_bytes(b"\x89PNG")
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    pair.source = replace(pair.source, files=(logo, script))
    assert pair.sync().files[-3:] == [str(logo), str(script), str(pair.folder / "etc/room.yaml")]
    for path, mode in ((logo, 0o644), (script, 0o755)):
        there = pair.path(f"etc/files/{path.name}")
        assert there.read_bytes() == path.read_bytes()
        assert stat.S_IMODE(there.stat().st_mode) == mode
    assert pair.sync().is_empty
    logo.write_bytes(b"\x89PNG2")
    assert pair.sync().files == [str(logo)]


@pytest.mark.root
def test_a_damaged_arrival_is_removed_and_sent_again(pair: Pair) -> None:
    version = make_version(pair.library)
    arriving = pair.path(f"roots/{ARRIVING}/kiosk")
    arriving.mkdir(parents=True)
    spoilt = arriving / version.image.name  # as a power cut may leave it: all but the content
    spoilt.write_bytes(bytes(version.manifest.size))
    when = version.image.stat()
    os.utime(spoilt, ns=(when.st_atime_ns, when.st_mtime_ns))
    with pytest.raises(OperatorError, match="has arrived damaged, and was removed"):
        pair.sync()
    assert pair.there.names() == ()
    assert pair.sync().versions == [version.label]


@pytest.mark.root
def test_a_new_build_takes_the_place_of_the_last_one_in_one_step(
    pair: Pair, tmp_path: Path
) -> None:
    manifest, names = json.loads((pair.source.images / "manifest.json").read_text()), []
    for number in range(KEPT_BUILDS + 2):
        built = tmp_path / f"built-{number}"
        shutil.copytree(pair.source.images, built)
        (built / "manifest.json").write_text(json.dumps({**manifest, "key": f"{number}"}))
        pair.source = replace(pair.source, images=built)
        report = pair.sync()
        assert number == 0 or report.sent_bytes < 2000, "the files are those of the build before"
        names.append(Path(report.boot_files).name)
        assert pair.path("builds/current").readlink() == Path(names[-1])
    kept = {each.name for each in pair.path("builds").iterdir() if not each.is_symlink()}
    assert kept == set(names[-KEPT_BUILDS:])


@pytest.mark.root
def test_the_secret_goes_only_if_it_is_asked_for(pair: Pair) -> None:
    here = pair.folder / "state" / SECRET_FILE
    secret = load_secret(here)
    assert pair.sync(secret=True).secret
    path = pair.path("state/secret")
    assert path.read_bytes() == secret and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not pair.sync(secret=True).secret, "it has it"
    load_secret(path)  # a start of the other server makes the spare copy
    rotate(here)
    assert pair.sync().is_empty and path.read_bytes() == secret
    assert pair.sync(secret=True).secret
    assert load_secrets(path).current == load_secret(here)
    assert load_secrets(path).previous == secret


@pytest.mark.root
def test_the_command_says_what_it_has_done(pair: Pair) -> None:
    make_version(pair.library)
    words = ["--profile", str(pair.source.profile), "--images", str(pair.source.images)]
    words += ["--roots", str(pair.source.roots), "--state", str(pair.source.state)]
    words += ["--ssh", shlex.join(pair.ssh)]
    command = [sys.executable, "-m", "netboot", "sync", pair.host, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kiosk@20261118-110640, 1 of 1" in done.stderr
    assert "kiosk@20261118-110640: for the next boots" in done.stdout
    assert "reads them at its next start, or on SIGHUP" in done.stdout
    command.append("--json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["sent_bytes"] == 0 and report["versions"] == [] and report["secret"] is False
    pair.other.run("rm -rf /var/lib/netboot/images /etc/netboot")


@pytest.mark.root
@pytest.mark.parametrize(
    ("key", "known", "port", "cause", "remedy"),
    [
        ("", "", "2", "Connection refused", "is it switched on"),
        ("", "/nowhere", "22", "Host key verification failed", "connect once by hand"),
        ("/nowhere", "", "22", "Permission denied", "ssh-copy-id root@"),
    ],
)
def test_a_server_that_cannot_be_reached_is_told_with_a_remedy(
    pair: Pair, key: str, known: str, port: str, cause: str, remedy: str
) -> None:
    ssh = pair.connecting(key=key, known=known, port=port)
    with pytest.raises(OperatorError, match=cause) as error:
        pair.sync(ssh=ssh)
    assert str(error.value).startswith(f"{pair.host} does not answer over SSH: ")
    assert error.value.hint.startswith(remedy)


@pytest.mark.system
@pytest.mark.parametrize(
    ("status", "said", "problem"),
    [
        (12, "sh: 1: rsync: not found", "b: rsync is not installed there"),
        (11, "rsync: [receiver] write failed: No space left on device (28)", "b: no room there"),
        (1, "mkdir: cannot create directory: Permission denied", "b: mkdir: cannot create"),
        (30, "rsync error: timeout in data send/receive (code 30)", "b does not answer over SSH"),
        (3, "", "b: exit status 3"),
    ],
)
def test_a_failure_there_is_told_in_our_words(
    tmp_path: Path, status: int, said: str, problem: str
) -> None:
    peer = Peer("b", ["sh", "-c", f"cat >/dev/null; echo '{said}' >&2; exit {status}", "ssh"])
    with pytest.raises(OperatorError) as error:
        peer.run("true")
    assert str(error.value).startswith(problem) and "\n" not in str(error.value)


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "", "a:/etc", "root@", "a;b"])
def test_a_host_is_a_name_and_nothing_else(host: str) -> None:
    with pytest.raises(OperatorError, match="HOST: expected"):
        Peer(host)


def test_paths_that_stay_here_are_named(tmp_path: Path) -> None:
    text = "root: {kind: nbd, image: /srv/room.img}\nboot: {kernel: /boot/vmlinuz}\n"
    assert verb._left_out(parse(text, "x")) == ["/boot/vmlinuz", "/srv/room.img"]
    assert verb._left_out(parse("swap: {capacity: 64MiB}\n", "x")) == []


def test_files_of_seats_outside_the_configuration_stay_here_and_are_named(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    for name, mode in (("logo", 0o644), ("key", 0o640), ("big", 0o644)):
        (etc / name).write_bytes(bytes((2 if name == "big" else 0) << 20))
        (etc / name).chmod(mode)
    files = {"a": "logo", "b": "key", "c": "big", "d": "gone", "e": "../hosts", "f": "logo"}
    rows = "".join(f"    /usr/share/{key}: {etc}/{name}\n" for key, name in files.items())
    room = parse(f"swap: {{capacity: 64MiB}}\nseat:\n  files:\n{rows}", "x")
    taken, left_out = seat_files(room.seat_files, etc)
    assert taken == (etc / "logo",)
    assert [line.partition(f"{etc}/")[2] for line in left_out] == [
        "key: others may not read it here; copy it by hand, or chmod o+r it",
        f"big: too large: all files of seat.files have at most {MIB} bytes; the PC gets no /usr/share/c",
        "gone: cannot be read: No such file or directory; the PC gets no /usr/share/d",
        f"../hosts, which seat.files names; files in {etc} are copied",
    ]
