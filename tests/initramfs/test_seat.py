"""initramfs/seat.sh and the clock: what a PC does with the files and the time that the server sends."""

import hashlib
import http.server
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.boot import seat_files
from netboot.boot.host_key import host_key
from netboot.boot.seat_files import Facts
from netboot.profile.file import parse
from tests.support.shell import BEFORE, INITRAMFS, SHELLS, Lib

HASH = "$y$j9T$yxb1aWl2o0rlAlPA9pWLP1$WsHwGj0tWcbeZkdAdYvLLPjXL0LyjwuRjKaEEFYH9l6"
ADDRESS = IPv4Address("10.0.0.1")
MAC = "52:54:00:12:34:56"
# No test changes the machine's clock, or needs to be root.
CLOCK = """
date() {
    case "$*" in
    "-u -s "*) echo "$3" >"$run/clock" ;;
    "-u +"*) command date -u -d "2009-03-01 12:00:00" "$2" ;;
    *) command date "$@" ;;
    esac
}
"""
SEAT = f'. {INITRAMFS / "seat.sh"}\nchown() {{ echo "$*" >>"$run/owners"; }}\n'
CPIO = 'cpio() { busybox cpio "$@"; }\n'
ANSWERED = 'timeout() { shift 2; printf "%b" "$ANSWER" >&2; }\n'


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def lib(request: pytest.FixtureRequest, tmp_path: Path) -> Lib:
    return Lib(request.param, tmp_path)


def answered(header: str) -> str:
    """Return shell text after which each request gets an answer with this header."""
    return f"ANSWER='  HTTP/1.1 200 OK\\n  {header}\\n  Content-Length: 0\\n  \\n'\n{ANSWERED}"


@pytest.mark.parametrize(
    ("header", "clock"),
    [
        ("Date: Sun, 29 Nov 2026 03:20:30 GMT", "2026-11-29 03:20:30"),
        ("date: Thu, 01 Jan 2026 00:00:00 GMT", "2026-01-01 00:00:00"),
        ("Date: Sun, 01 Mar 2009 12:01:00 GMT", None),  # a minute
        ("Date: Sun, 01 Mar 2009 12:01:01 GMT", "2009-03-01 12:01:01"),
        ("Date: Sun, 01 Mar 2009 11:58:00 GMT", "2009-03-01 11:58:00"),
        ("Date: Sun, 01 Mar 2009 11:59:30 GMT", None),
        ("Date: Thu, 01 Jan 1970 00:00:00 GMT", None),  # a server without a clock
        ("Date: Sunday, 06-Nov-94 08:49:37 GMT", None),
        ("Date: $(reboot)", None),
        ("Server: another", None),
    ],
)
def test_the_servers_time_corrects_a_clock(lib: Lib, header: str, clock: str | None) -> None:
    said = lib.run(f"{CLOCK}{answered(header)}{BEFORE}online=yes; beacon init:network up")
    path = lib.folder / "clock"
    assert (path.read_text().strip() if path.exists() else None) == clock
    assert ("clock: set to" in said) is (clock is not None)
    assert not list((lib.folder / "beacons").iterdir()), "each beacon is sent, and once"


def test_the_clock_is_told_once_and_then_left_alone(lib: Lib) -> None:
    text = f"{CLOCK}{answered('Date: Sun, 29 Nov 2026 03:20:30 GMT')}{BEFORE}online=later\n"
    text += 'beacon swap on; send_beacon "$queue"/*; cat "$queue"/*; rm "$run/clock"\n'
    said = lib.run(f"{text}online=yes; beacon init:root starts; [ -e $run/clock ] && echo again")
    assert said.splitlines() == [
        (
            "netboot: [   7.05] clock: set to 2026-11-29 03:20:30 UTC, the server's time; "
            "it was 2009-03-01 12:00"
        ),
        "set to 2026-11-29 03:20:30 UTC; it was 2009-03-01 12:00",
        "wrong_seconds=560013630",
    ]


def test_a_userland_leaves_the_clock_alone(lib: Lib) -> None:
    text = f"{CLOCK}{answered('Date: Sun, 29 Nov 2026 03:20:30 GMT')}{BEFORE}users=yes online=yes\n"
    assert lib.run(f"{text}request() {{ :; }}\nbeacon pupil here") == ""
    assert not (lib.folder / "clock").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("netboot.dns=10.0.0.2", "nameserver 10.0.0.2\n"),
        (
            "netboot.dns=10.0.0.2 netboot.domain=school.example",
            "search school.example\nnameserver 10.0.0.2\n",
        ),
        ("netboot.dns= netboot.domain=school.example", None),  # iPXE was told none
        ("netboot.dns=${dns} netboot.domain=x", None),
        ("netboot.dns=10.0.0.2 netboot.domain=a%20b", "nameserver 10.0.0.2\n"),
        ("", None),
    ],
)
def test_name_servers_of_the_loader(lib: Lib, words: str, text: str | None) -> None:
    read = (
        'argument netboot.dns; name_servers "$value"; argument netboot.domain; domain_name "$value"'
    )
    (lib.folder / "root/etc").mkdir(parents=True)
    (lib.folder / "root/etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    lib.run(f"{SEAT}{read}; write_resolver $run/root", words)
    path = lib.folder / "root/etc/resolv.conf"
    assert (None if path.is_symlink() else path.read_text()) == text


@pytest.mark.parametrize(
    ("lease", "kept"),
    [
        ("dns='10.0.0.2 10.0.0.3' domain=school.example", "10.0.0.2 10.0.0.3|school.example"),
        ("dns='fe80::1 10.0.0.3' domain='a;reboot'", "10.0.0.3|"),
        ('domain="x\'y"', "|"),
        ("", "|"),
    ],
)
def test_name_servers_of_a_lease(lib: Lib, lease: str, kept: str) -> None:
    script = (INITRAMFS / "udhcpc.sh").read_text().replace(". /lib.sh", "")
    text = f"ip_() {{ :; }}\nip() {{ :; }}\nset -- bound\ninterface=eth0 ip=10.0.0.9 {lease}\n"
    lib.run(f"{text}{script}")
    shown = '. $run/dhcp; echo "$client/$bits $dns|$domain"'
    assert lib.run(shown) == f"10.0.0.9/24 {kept}\n"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (
            "wget: server returned error: HTTP/1.1 403 Forbidden",
            "server returned error: HTTP/1.1 403 Forbidden",
        ),
        ("", "no answer"),
    ],
)
def test_a_refusal_is_told(lib: Lib, reply: str, why: str) -> None:
    text = f'{SEAT}timeout() {{ echo "{reply}" >&2; return 1; }}\n{BEFORE}'
    said = lib.run(f'{text}fetch_seat || echo "$why"')
    assert said == f"the server gives no files of this PC: {why}\n"


class Image:
    """The root of an image for place_seat, with accounts of Debian."""

    def __init__(self, lib: Lib) -> None:
        self.lib, self.root = lib, lib.folder / "root"
        for name in ("etc/skel", "etc/ssh", "bin", "root"):
            (self.root / name).mkdir(parents=True)
        (self.root / "etc/skel/.profile").touch()
        (self.root / "root").chmod(0o700)
        (self.root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
        self.write(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nseat:x:1000:1000::/home/seat:/bin/bash\n",
        )
        self.write("etc/group", "root:x:0:\nseat:x:1000:\n")
        self.write("etc/shadow", "root:*:19000:0:99999:7:::\nseat:!:19000:0:99999:7:::\n")
        (self.root / "etc/shadow").chmod(0o640)

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def read(self, name: str) -> list[str]:
        return (self.root / name).read_text().splitlines()

    def place(self, accounts: str) -> str:
        profile = parse(f"seat: {{timezone: Europe/Berlin, accounts: {{{accounts}}}}}", "f")
        facts = Facts(ADDRESS, ADDRESS, host_key(b"s" * 32, MAC))
        archive = seat_files.archive(profile.seat_of(MAC), profile.dhcp, facts)
        (self.lib.folder / "seat.img").write_bytes(archive)
        text = f"seat_archive=$run/seat.img\n{SEAT}{CPIO}place_seat $run/root || echo $why"
        return self.lib.run(text)


needs_busybox = pytest.mark.skipif(not shutil.which("busybox"), reason="its cpio is the one of PCs")


@needs_busybox
def test_a_root_gets_the_files_of_its_seat(lib: Lib) -> None:
    image = Image(lib)
    assert image.place("") == ""
    assert os.readlink(image.root / "etc/localtime") == "/usr/share/zoneinfo/Europe/Berlin"
    key = image.root / "etc/ssh/ssh_host_ed25519_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((image.root / "root").stat().st_mode) == 0o700
    settings = image.root / "etc/netboot/seat.conf"
    shown = subprocess.run(
        ["sh", "-c", f". {settings}; echo $SEAT_KEYBOARD $SEAT_TIMEZONE"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "us Europe/Berlin\n"
    assert image.read("etc/shadow")[0] == "root:*:19000:0:99999:7:::"
    assert not (lib.folder / "seat.img").exists()


@needs_busybox
def test_accounts_are_made_or_get_their_password(lib: Lib) -> None:
    image = Image(lib)
    assert image.place(f"anna: {HASH}, root: {HASH}, bert: {HASH}") == ""
    passwd, group = image.read("etc/passwd"), image.read("etc/group")
    assert passwd[:2] == [
        "root:x:0:0:root:/root:/bin/bash",
        "seat:x:1000:1000::/home/seat:/bin/bash",
    ]
    anna = int(passwd[2].split(":")[2])
    assert passwd[2] == f"anna:x:{anna}:{anna}::/home/anna:/bin/sh" and 2000 <= anna < 60000
    assert group[2] == f"anna:x:{anna}:" and group[3].startswith("bert:x:")
    assert image.read("etc/shadow") == [
        f"root:{HASH}:19000:0:99999:7:::",
        "seat:!:19000:0:99999:7:::",
        f"anna:{HASH}::0:99999:7:::",
        f"bert:{HASH}::0:99999:7:::",
    ]
    assert stat.S_IMODE((image.root / "etc/shadow").stat().st_mode) == 0o640
    assert not (image.root / "etc/netboot/accounts").exists()
    assert not (lib.folder / "shadow").exists()
    assert (image.root / "home/anna/.profile").exists()
    assert stat.S_IMODE((image.root / "home/anna").stat().st_mode) == 0o700
    owners = (lib.folder / "owners").read_text().splitlines()
    assert owners[0] == f"-R {anna}:{anna} {image.root}/home/anna"


@needs_busybox
def test_an_account_has_the_same_id_whatever_else_there_is(lib: Lib, tmp_path: Path) -> None:
    ids = []
    for number, accounts in enumerate((f"anna: {HASH}", f"bert: {HASH}, anna: {HASH}")):
        (folder := tmp_path / str(number)).mkdir()
        image = Image(Lib(lib.shell, folder))
        image.place(accounts)
        ids += [line.split(":")[2] for line in image.read("etc/passwd") if line.startswith("anna:")]
    assert len(ids) == 2 and ids[0] == ids[1]


@needs_busybox
def test_accounts_are_made_where_no_orphan_disturbs(lib: Lib) -> None:
    image = Image(lib)
    image.place(f"anna: {HASH}")
    own = "who=init; add_accounts() { who=child; }; "
    assert (
        lib.run(
            f"{SEAT}{CPIO}cpio() {{ :; }}; {own}: >$run/seat.img; seat_archive=$run/seat.img; "
            "place_seat $run/root; echo $who"
        )
        == "init\n"
    )


@needs_busybox
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda image: None, "short read"),
        (lambda image: shutil.rmtree(image.root), "root"),
    ],
)
def test_an_archive_that_cannot_be_unpacked_is_told(
    lib: Lib, spoil: Callable[[Image], None], why: str
) -> None:
    image = Image(lib)
    spoil(image)
    (lib.folder / "seat.img").write_bytes(b"070701")
    text = f"seat_archive=$run/seat.img\n{SEAT}{CPIO}place_seat $run/root || echo $why"
    said = lib.run(text)
    assert said.startswith("unpacking the files of this PC:") and why in said


def test_files_that_the_server_has_not_signed_are_refused_and_removed(lib: Lib) -> None:
    archive = lib.folder / "seat.img"
    for content, told in ((b"signed", "kept"), (b"changed", "boot again")):
        archive.write_bytes(content)
        said = lib.run(
            f"{BEFORE}seat_archive=$run/seat.img files={hashlib.sha256(b'signed').hexdigest()}\n{SEAT}"
            'check_seat && echo kept || echo "$refused"'
        )
        assert said.strip().endswith(told) and archive.exists() == (told == "kept")


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/seat/abc" else 403)
        self.end_headers()
        self.wfile.write(b"an archive" if self.path == "/seat/abc" else b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@needs_busybox
def test_the_archive_comes_with_the_session_of_the_boot(tmp_path: Path) -> None:
    lib = Lib(["busybox", "sh"], tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = f"unset -f timeout\n{CLOCK}{SEAT}server=http://127.0.0.1:{server.server_port}\n"
        text += "seat_archive=$run/seat.img\n"
        said = lib.run(f"{text}ticket=abc; fetch_seat && cat $run/seat.img")
        refused = lib.run(f'{text}ticket=other; fetch_seat || echo "$why"')
        server.shutdown()
    assert said.endswith("an archive") and "clock: set to 20" in said
    assert refused.endswith("server returned error: HTTP/1.0 403 Forbidden\n")
