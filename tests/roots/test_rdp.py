"""The RDP client of a seat: rootfs/screen/usr/lib/netboot/rdp with a FreeRDP that only notes its words."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

FOLDER = ROOT / "rootfs/screen"
SCRIPT = FOLDER / "usr/lib/netboot/rdp"
NOTED = """#!/bin/sh
echo "$*" >>{folder}/words
[ ! -e {folder}/nla ] || case "$*" in *nla*) exit 133 ;; esac
case "$*" in */from-stdin*) cat >{folder}/typed; echo 0 ;; *) echo {status} ;; esac >{folder}/status
case "$*" in */f*) ;; *) printf '\\tThumbprint:  4b:a7:00\\n' ;; esac
read -r status <{folder}/status; exit "$status"
"""


class Seat:
    """A seat's program of RDP, and the files where the script finds its world."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        text = SCRIPT.read_text().replace("/usr/lib/netboot/", f"{SCRIPT.parent}/")
        (folder / "rdp").write_text(text)

    def run(self, *words: str, status: int, program: str = "xfreerdp", conf: str = "") -> int:
        path = self.folder / program
        path.write_text(NOTED.format(folder=self.folder, status=status))
        path.chmod(0o755)
        (self.folder / "conf").write_text(f"SEAT_URL='rdp://10.0.0.5'\n{conf}")
        environment = os.environ | {
            "settings": str(self.folder / "conf"),
            "texts": str(FOLDER / "usr/share/netboot/texts"),
            "SEAT_PROGRAM": str(path),
            "XDG_RUNTIME_DIR": str(self.folder),
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "TERM": "dumb",
        }
        command = ["sh", str(self.folder / "rdp"), *words]
        if not words:
            return subprocess.run(command, env=environment, check=False).returncode
        ours, theirs = pty.openpty()  # the window of text
        os.write(ours, b"anna\nsecret\n")
        done = subprocess.run(
            command, env=environment, check=False, stdin=theirs, stdout=theirs, timeout=60
        )
        self.shown = os.read(ours, 65536).decode()
        return done.returncode

    @property
    def words(self) -> list[str]:
        return (self.folder / "words").read_text().splitlines()


@pytest.fixture
def seat(tmp_path: Path) -> Seat:
    return Seat(tmp_path)


@pytest.mark.parametrize(
    ("program", "words"), [("xfreerdp", " -sec-nla /u:"), ("xfreerdp3", " /sec:nla:off /u: /p:")]
)
def test_the_server_shows_its_own_login(seat: Seat, program: str, words: str) -> None:
    assert seat.run(status=0, program=program) == 0
    (line,) = seat.words
    assert line.startswith("/v:10.0.0.5 /port:3389 /f ") and line.endswith(words)
    assert "/cert:deny " in line, "no certificate is trusted because it is the first"


def test_the_certificate_of_the_profile_is_trusted(seat: Seat) -> None:
    seat.run(status=0, conf="SEAT_FINGERPRINT='4b:a7'\n")
    assert "/cert:deny,fingerprint:sha256:4b:a7 " in seat.words[0]


def test_the_fingerprint_of_a_certificate_that_is_not_trusted_is_told(seat: Seat) -> None:
    assert seat.run(status=143) == 143
    assert (seat.folder / "fingerprint").read_text() == "4b:a7:00\n"


def test_a_password_is_on_no_command_line(seat: Seat) -> None:
    seat.run("ask", status=0, conf="SEAT_LOCALE='de_DE.UTF-8'\n")
    assert "Anmeldung an 10.0.0.5" in seat.shown and "Passwort:" in seat.shown
    assert (seat.folder / "typed").read_text() == "secret\n"
    (line,) = seat.words
    assert "/u:anna /d: /from-stdin" in line
    assert "secret" not in line


@pytest.mark.parametrize(("trusted", "status"), [(True, 7), (False, 143)])
def test_a_server_that_wants_a_password_first_gets_a_window_for_it(
    seat: Seat, trusted: bool, status: int
) -> None:
    """If its certificate is trusted; nobody types a password for another one."""
    window = seat.folder / "window"
    (seat.folder / "nla").touch()
    (seat.folder / "xterm").write_text(
        f'#!/bin/sh\necho "$*" >{window}\necho 7 >{seat.folder}/status\n'
    )
    (seat.folder / "xterm").chmod(0o755)
    assert seat.run(status=159 if trusted else 143) == status
    assert window.exists() == trusted
    if trusted:
        assert window.read_text().rstrip().endswith(f"-e sh {seat.folder}/rdp ask")
    else:
        assert (seat.folder / "fingerprint").read_text() == "4b:a7:00\n"
