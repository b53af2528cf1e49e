"""The screen of a seat: what rootfs/screen/usr/lib/netboot/screen.sh decides; run by dash and busybox."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from netboot.boot.words import WORDS
from tests import ROOT

SCREEN = ROOT / "rootfs/screen"
LIBRARY = SCREEN / "usr/lib/netboot/screen.sh"
TEXTS = SCREEN / "usr/share/netboot/texts"
LANGUAGES = ("en", "de", "fr", "es", "pt", "it")
SHELLS = [["sh"]] + ([["busybox", "sh"]] if shutil.which("busybox") else [])


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def seat(request: pytest.FixtureRequest, tmp_path: Path) -> "Seat":
    return Seat(request.param, tmp_path)


class Seat:
    """A runner of shell text after screen.sh, on a PC that has no program but those it is given."""

    def __init__(self, shell: list[str], folder: Path) -> None:
        self.shell = [shutil.which(shell[0]) or shell[0], *shell[1:]]
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()

    def run(self, text: str, conf: str = "") -> str:
        (self.folder / "seat.conf").write_text(conf)
        script = (
            f"set -u\ntexts={TEXTS}\n. {LIBRARY}\nload_settings {self.folder}/seat.conf\n{text}\n"
        )
        done = subprocess.run(
            [*self.shell, "-c", script],
            env={"PATH": str(self.programs), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.strip()

    def has(self, *programs: str) -> None:
        for name in programs:
            (self.programs / name).write_text("#!/bin/sh\n")
            (self.programs / name).chmod(0o755)

    def choice(self, **settings: str) -> str:
        conf = "".join(f"SEAT_{key.upper()}='{value}'\n" for key, value in settings.items())
        return self.run('choose_start; echo "$start $program"', conf)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://10.0.0.1/page?x=1", "http  10.0.0.1 80"),
        ("https://school.example", "https  school.example 443"),
        ("http://10.0.0.1:8080/a:b@c", "http  10.0.0.1 8080"),
        ("rdp://anna@10.0.0.5", "rdp anna 10.0.0.5 3389"),
        ("vnc://[fd00::5]:5901", "vnc  fd00::5 5901"),
        ("vnc://10.0.0.5", "vnc  10.0.0.5 5900"),
        ("ipp://10.0.0.9/ipp/print", "ipp  10.0.0.9 631"),
        ("file:///run/netboot/welcome.html", "file   "),
        ("", "   "),
    ],
)
def test_a_url_is_split_into_its_parts(seat: Seat, url: str, parts: str) -> None:
    found = seat.run(f"split_url '{url}'; echo \"$scheme $user $host $port\"")
    assert found == parts.strip()


@pytest.mark.parametrize(("host", "written"), [("10.0.0.5", "10.0.0.5"), ("fd00::5", "[fd00::5]")])
def test_an_address_with_colons_has_brackets(seat: Seat, host: str, written: str) -> None:
    assert seat.run(f"bracketed {host}") == written


@pytest.mark.parametrize(
    ("remote", "state", "retries", "user", "stalled"),
    [
        ("0100630A:170D", "01", 5, 1000, True),
        ("0100630A:170D", "01", 10, 1000, True),
        ("0100630A:170D", "01", 4, 1000, False),
        ("0100630A:170D", "06", 9, 1000, False),  # it has ended
        ("0100630A:170D", "01", 9, 0, False),  # not the session's
        ("0100630A:1F90", "01", 9, 1000, False),
    ],
)
def test_a_server_that_acknowledges_nothing_is_away(
    seat: Seat, remote: str, state: str, retries: int, user: int, stalled: bool
) -> None:
    table = seat.folder / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout\n"
        f"   1: 0200630A:D0A2 {remote} {state} 00000008:00000000 01:00000123 {retries:08X} {user:5} 0\n"
    )
    found = seat.run(f"connections='{table} {table}6'; stalled 5901 && echo yes")
    assert found == ("yes" if stalled else "")


@pytest.mark.parametrize(
    ("ended", "answered"),
    [(0, True), (143, True), (1, False)],  # of timeout, of nc without an answer
)
def test_a_server_that_only_waits_has_answered(seat: Seat, ended: int, answered: bool) -> None:
    (seat.folder / "busybox").write_text(f"#!/bin/sh\nexit {ended}\n")
    (seat.folder / "busybox").chmod(0o755)
    asked = f"busybox={seat.folder}/busybox; split_url vnc://10.0.0.5; answers && echo yes"
    assert seat.run(asked) == ("yes" if answered else "")


def test_an_image_with_icewm_is_a_desktop(seat: Seat) -> None:
    seat.has("icewm-session", "netsurf-gtk")
    assert seat.choice() == "desktop icewm-session"


def test_an_image_with_xfce_is_a_desktop(seat: Seat) -> None:
    seat.has("xfce4-session", "netsurf-gtk")
    assert seat.choice() == "desktop xfce4-session"


def test_an_image_with_a_browser_is_a_kiosk(seat: Seat) -> None:
    seat.has("netsurf-gtk", "matchbox-window-manager")
    assert seat.choice() == "kiosk netsurf-gtk"


def test_the_profile_may_start_a_kiosk_on_a_desktop(seat: Seat) -> None:
    seat.has("icewm-session", "netsurf-gtk")
    assert seat.choice(start="kiosk") == "kiosk netsurf-gtk"


@pytest.mark.parametrize(
    ("url", "program"),
    [("vnc://10.0.0.5", "xtigervncviewer"), ("rdp://10.0.0.5", "xfreerdp3")],
)
def test_the_scheme_of_the_url_chooses_the_viewer(seat: Seat, url: str, program: str) -> None:
    seat.has("xtigervncviewer", "xfreerdp3", "icewm-session")
    assert seat.choice(url=url) == f"thin {program}"


def test_a_program_that_the_image_lacks_is_missing(seat: Seat) -> None:
    seat.has("netsurf-gtk")
    assert seat.choice(start="desktop") == "missing"
    assert seat.choice(url="rdp://10.0.0.5") == "missing"


def test_a_screen_without_a_greeter_opens_no_session_where_a_password_is_asked_for(
    seat: Seat,
) -> None:
    seat.has("netsurf-gtk")
    assert seat.choice(login="local").split()[0] == "missing"
    seat.has("lightdm")
    assert seat.choice(login="local") == "kiosk netsurf-gtk"
    assert seat.choice(login="none").split()[0] == "none"


def test_lightdm_is_told_of_programs_and_a_session_that_are_there() -> None:
    folder = SCREEN / "usr/share/lightdm"
    settings = configparser.ConfigParser()
    settings.read(folder / "lightdm.conf.d/50-netboot.conf")
    seat = settings["Seat:*"]
    commands = [seat[key].split() for key in seat if "/usr/lib/netboot/" in seat[key]]
    assert len(commands) == 5
    for command in commands:
        program = next(word for word in command if word.startswith("/usr/lib/netboot/"))
        content = (SCREEN / program.lstrip("/")).read_bytes()
        assert content.startswith(b"#!"), "the engine makes a program of it"
    sessions = Path(settings["LightDM"]["sessions-directory"])
    assert sessions == Path("/", folder.relative_to(SCREEN), "sessions")
    assert (folder / f"sessions/{seat['user-session']}.desktop").exists()


def test_a_session_of_a_user_gets_what_one_of_a_guest_gets() -> None:
    def variables(name: str) -> set[str]:
        return set(re.findall(r"SEAT_[A-Z]+", (LIBRARY.parent / name).read_text()))

    needed = variables("session")
    assert needed <= variables("screen") and needed <= variables("login-session")


def test_a_command_is_started_as_it_is(seat: Seat) -> None:
    assert seat.choice(start="/usr/bin/xterm -e top") == "/usr/bin/xterm -e top"


@pytest.mark.parametrize(
    ("keyboard", "parts"), [("us", "us ."), ("de(nodeadkeys)", "de nodeadkeys.")]
)
def test_a_keyboard_has_a_layout_and_a_variant(seat: Seat, keyboard: str, parts: str) -> None:
    assert seat.run(f"split_keyboard '{keyboard}'; echo \"$layout $variant.\"") == parts


def test_the_keyboard_of_the_seat_is_one_for_all_that_are_plugged_in(seat: Seat) -> None:
    section = seat.run("keyboard_section 'de(nodeadkeys)'")
    assert section.splitlines()[0] == 'Section "InputClass"'
    assert 'Option "XkbLayout" "de"' in section
    assert 'Option "XkbVariant" "nodeadkeys"' in section
    assert "XkbVariant" not in seat.run("keyboard_section us")


@pytest.mark.parametrize(
    ("before", "life", "pause"), [(1, 0, 2), (16, 3, 30), (30, 0, 30), (30, 3600, 1)]
)
def test_pauses_grow_while_a_program_does_not_stay(
    seat: Seat, before: int, life: int, pause: int
) -> None:
    assert seat.run(f'next_pause {before} {life}; echo "$pause"') == str(pause)


@pytest.mark.parametrize(
    ("title", "page"),
    [
        ("Welcome", True),
        ("Welcome - NetSurf", True),
        ("Library catalogue — Mozilla Firefox", True),
        ("100:---- | Welcome", True),
        ("NetSurf", False),
        ("", False),
        ("[50%] @@:--- | http://10.0.0.1/", False),
        ("Untitled - Chromium", False),
        ("Mozilla Firefox", False),
    ],
)
def test_a_window_that_loads_shows_no_page(seat: Seat, title: str, page: bool) -> None:
    assert seat.run(f"is_page '{title}' && echo yes") == ("yes" if page else "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sentence_is_there_in_each_language(seat: Seat, language: str) -> None:
    lines = [line.split("|") for line in TEXTS.read_text().splitlines()]
    assert all(len(line) == 3 for line in lines)
    keys = {key for key, _, _ in lines}
    assert {key for key, spoken, _ in lines if spoken == language} == keys
    for key in keys:
        wanted = next(text for name, spoken, text in lines if (name, spoken) == (key, language))
        locale = f"SEAT_LOCALE='{language}_XX.UTF-8'\n"
        assert seat.run(f'text {key} ab; echo "$text"', locale) == wanted.replace("%s", "ab")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_strip_begins_with_the_words_that_the_page_says_too(language: str) -> None:
    lines = [line.split("|") for line in TEXTS.read_text().splitlines()]
    lost = next(text for key, spoken, text in lines if (key, spoken) == ("lost", language))
    assert lost.startswith(f"{WORDS['server'][language]} ")


def test_english_stands_in_for_a_language_that_is_not_there(seat: Seat) -> None:
    assert seat.run('text start; echo "$text"', "SEAT_LOCALE='nb_NO.UTF-8'\n").startswith("This PC")


def test_sentences_fit_on_a_screen_of_1024_pixels() -> None:
    """DejaVu Sans of 16 points is about 12 pixels wide."""
    assert max(len(line.split("|")[2]) for line in TEXTS.read_text().splitlines()) <= 84


def test_settings_that_are_missing_have_a_default(seat: Seat) -> None:
    shown = seat.run('echo "$SEAT_START $SEAT_KEYBOARD $SEAT_LOCALE $SEAT_LOGIN $SEAT_SCREEN"')
    assert shown == "auto us C.UTF-8 guest auto"


def test_a_seat_without_a_boot_server_reports_nothing(seat: Seat) -> None:
    assert seat.run("beacon screen:start x; echo done") == "done"


@pytest.mark.parametrize(
    ("start", "kind"), [("kiosk", "kiosk"), ("desktop", "desktop"), ("xterm -e x", "command")]
)
def test_the_agent_is_told_of_users_over_the_old_text_in_place(
    seat: Seat, tmp_path: Path, start: str, kind: str
) -> None:
    (file := tmp_path / "agent.screen").write_bytes(bytes(64))
    before = file.stat().st_ino
    assert seat.run(f"figures={file} start='{start}'; tell_users 12; tell_users 1") == ""
    assert file.read_bytes().rstrip(b"\0").decode().split() == ["users=1", f"kind={kind}"]
    assert (file.stat().st_ino, file.stat().st_size) == (before, 64), "its page stays where it is"


def test_an_agent_of_before_is_told_of_no_users(seat: Seat, tmp_path: Path) -> None:
    seat.run(f"figures={tmp_path / 'none'} start=kiosk; tell_users 1")
    assert not (tmp_path / "none").exists()


def test_the_welcome_page_has_the_sentence_that_tests_read() -> None:
    page = (SCREEN / "usr/share/netboot/welcome.html").read_text()
    assert "This page is shown by a diskless PC." in page
    assert "background: #ffffff; color: #000000" in page


def function(name: str) -> str:
    """Return a function of the script that runs a screen."""
    text = (SCREEN / "usr/lib/netboot/screen").read_text()
    begin = text.index(f"{name}() {{")
    return text[begin : text.index("\n}\n", begin) + 3]


@pytest.mark.parametrize(
    ("home", "done", "said", "ram"),
    [
        ("none", False, "", ""),
        ("seat", True, "", ""),
        ("nfs:nas:/homes", False, "server nas", "homebad\n"),
    ],
)
def test_a_session_waits_for_its_home_but_not_for_ever(
    seat: Seat, tmp_path: Path, home: str, done: bool, said: str, ram: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "home.sh").touch()
    (run / "home.waits").write_text("nas\n")
    if done:
        (run / "home.done").touch()
    text = f"run={run} HOME_SECONDS=1\nsay() {{ echo $*; }}\nsleep() {{ :; }}\n"
    assert seat.run(f"{text}{function('await_home')}await_home", f"SEAT_HOME='{home}'\n") == said
    written = run / "home.ram"
    assert (written.read_text() if written.exists() else "") == ram
    assert (run / "home.closed").exists() is (home != "none"), "no home may come later"


@pytest.mark.parametrize("mounted", [False, True])
def test_a_guest_gets_a_new_home_unless_it_lies_elsewhere(
    seat: Seat, tmp_path: Path, mounted: bool
) -> None:
    run, home = tmp_path / "run", tmp_path / "home"
    for folder in (run, home):
        folder.mkdir()
    (home / "old").touch()
    (run / "home.full").symlink_to("/persist/home/seat")
    text = f"run={run} home={home}\nmountpoint() {{ {'true' if mounted else 'false'}; }}\n"
    text += "PATH=/usr/bin:/bin\nchown() { :; }\ninstall() { :; }\n"
    body = function("renew_home").replace("/run/user", f"{run}/user").replace("/etc/skel", str(run))
    seat.run(f"{text}{body}renew_home")
    assert (home / "old").exists() is mounted
    assert (home / "FULL").is_symlink() is not mounted


@pytest.mark.parametrize(
    ("order", "shown"),
    [
        (
            "50\nmessage it's 5 o'clock; save $(all) * work\n",
            "message it's 5 o'clock; save $(all) * work",
        ),
        ("50\nmessage ^fg(red)a^^\n", "message ^^fg(red)a^^^^"),
        ("50\nidentify\n", "identify"),
        ("43\nidentify\n", "identify"),
        ("42\nidentify\n", ""),
        ("50\n", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_what_the_server_orders_is_shown_for_a_while(
    seat: Seat, order: str | None, shown: str
) -> None:
    (seat.folder / "uptime").write_text("42.17 99.00\n")
    if order is not None:
        (seat.folder / "order").write_text(order)
    text = f"clock={seat.folder}/uptime\nordered {seat.folder}/order\nprintf '%s' \"$order\""
    assert seat.run(text) == shown


def test_a_message_keeps_its_words(seat: Seat) -> None:
    text = "text message 'a %s * b'; printf '%s' \"$text\""
    assert seat.run(text) == "Message: a %s * b"
    assert (
        seat.run("text identify pc-7; echo $text", "SEAT_LOCALE=fr_FR.UTF-8\n") == "Ceci est pc-7."
    )
