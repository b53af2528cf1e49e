"""What cannot work is refused before anything begins, in one line."""

import json
import os
from pathlib import Path

import pytest

from netboot.cli import profiles, user
from netboot.cli.main import app
from netboot.errors import OperatorError
from netboot.lab import machine, network
from netboot.roots.library import Library
from tests import ROOT
from tests.roots.making import make_version

LAB = str(ROOT / "profiles/lab.yaml")


@pytest.fixture(autouse=True)
def own_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process the priority that it has: the programs of later tests would inherit it."""
    monkeypatch.setattr(user, "go_first", lambda: None)


def refused(*words: str) -> OperatorError:
    with pytest.raises(OperatorError) as error:
        app(list(words))
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("lab --dhcp x", "--dhcp: expected proxy, full or none, found 'x'"),
        ("lab --memory 1", "--memory: expected 64 or more"),
        ("lab --memory x", "--memory: expected a whole number"),
        ("lab --load x", "--load: expected a number"),
        ("pages --workers 99", "--workers: expected at most 64"),
        ("check room.yaml", "unexpected word 'room.yaml'; did you mean --profile room.yaml?"),
        ("check a b", "unexpected words 'a b'"),
        ("serv", "unknown verb 'serv'; did you mean 'serve', 'service'?"),
        ("--foo", "unknown option --foo"),
        ("check --profil x", "unknown option --profil; did you mean --profile?"),
        ("order reboot", "missing MAC"),
        ("plan", "missing --mac"),
        ("pages", "nothing to serve; give an --export or an --image"),
        ("check --profile", "--profile: expected a value"),
        ("check --json=1", "--json: takes no value"),
        ("lab libvirt frob", "unknown verb 'frob'"),
    ],
)
def test_a_mistake_in_an_option_is_told_in_our_words(words: str, complaint: str) -> None:
    error = refused(*words.split())
    assert str(error) == complaint and error.hint.endswith(" --help")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("serve --images /nowhere --state {tmp}", "--images: there is no folder /nowhere"),
        ("serve --images {tmp} --state {tmp}", "--images: {tmp} has no images: there is no man"),
        ("serve --initrd /nowhere --state {tmp}", "--initrd: there is no file /nowhere"),
        ("serve --state /nowhere/x", "--state: there is no folder /nowhere"),
        ("serve --state {tmp}/file", "--state: {tmp}/file is a file, expected a folder"),
        (
            "serve --state {tmp} --set swap.store=disk:/nowhere",
            "{LAB}: key 'swap.store': there is no folder /nowhere",
        ),
        ("check --set boot.kernel=/nowhere", "{LAB}: key 'boot.kernel': there is no file /nowhere"),
        ("watch 52:54:00:12:34:56 --until foo", "--until: expected a stage such as swap or"),
        ("watch 52:54:00:12:34:56 --until userlnd", "--until: expected a stage such as swap or"),
        ("watch ff:ff:ff:ff:ff:ff", "MAC: expected a MAC address such as 52:54:00:12:34:56, not a"),
        ("plan --mac 01:00:5e:00:00:01", "--mac: expected a MAC address such as 52:54:00:12:34:"),
        ("status --server 10.0.0.1", "--server: expected HOST:PORT such as 127.0.0.1:8080, found "),
        ("status --server a..b:80", "--server: expected HOST:PORT such as 127.0.0.1:8080, found "),
        (f"status --server {'x' * 64}.de:80", "--server: expected HOST:PORT such as 127.0.0.1:80"),
        ("status --server 10.0.0.1:0", "--server: expected HOST:PORT such as 127.0.0.1:8080, foun"),
        ("build --output {tmp}/file", "--output: {tmp}/file is a file, expected a folder"),
        ("media --output {tmp}", "--output: {tmp} is a folder, expected the name of a file"),
        ("lab --logs {tmp}/file", "--logs: {tmp}/file is a file, expected a folder"),
        ("lab --screenshot {tmp}", "--screenshot: {tmp} is a folder, expected the name of a file"),
        ("lab --screenshot /nowhere/a.png", "--screenshot: there is no folder /nowhere"),
        ("lab --screenshot a.jpg", "--screenshot: expected a file .png or .ppm, found 'a.jpg'"),
        ("lab --screenshot a.png --load 2", "--screenshot: no picture with --load, which ends wi"),
        ("lab --image nonesuch", "there is no root image 'nonesuch' in /var/lib/netboot/roots"),
        ("lab --image nonesuch --roots {tmp}", "there is no root image 'nonesuch' in {tmp}"),
        ("lab --image kiosk@2026", "--image: expected a name, found 'kiosk@2026': PCs get the cur"),
        ("lab --images {tmp}", "--images: {tmp} has no images: there is no manifest.json in it"),
        ("doctor --images {tmp}", "--images: {tmp} has no images: there is no manifest.json"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    words: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    names = {"tmp": str(tmp_path), "LAB": LAB}
    verb, *rest = words.format(**names).split()
    if verb in ("serve", "check", "plan", "build", "lab", "doctor"):
        rest += ["--profile", LAB]
    assert str(refused(verb, *rest)).startswith(complaint.format(**names))
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("build", "--output", ""),
        ("build", "-o", ""),
        ("build", "--output="),
        ("serve", "--state", ""),
        ("serve", "--initrd", "", "--json"),
        ("lab", "--logs", ""),
        ("lab", "--screenshot", ""),
        ("check", "--profile="),
    ],
)
def test_an_empty_path_is_not_the_current_folder(words: tuple[str, ...]) -> None:
    assert str(refused(*words)) == f"{words[1].rstrip('=')}: expected a path"


def test_check_and_lab_refuse_a_root_image_without_drivers_for_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "check_root", lambda: None)
    monkeypatch.setattr(machine, "check_programs", lambda firmware: None)
    monkeypatch.setattr(profiles, "last_build", lambda: tmp_path)
    made = make_version(Library(tmp_path / "roots"))
    (tmp_path / "kernel").touch()
    manifest = {
        "version": 1,
        "files": [{"name": "kernel", "size": 0, "sha256": "0" * 64, "parts": []}],
        "processors": {"amd64": {"kernel": "6.1.0-57-amd64"}},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    logs = tmp_path / "logs"
    room = ["--profile", LAB, "--roots", str(tmp_path / "roots")]
    said = (
        f"root image {made.label}: it has modules for 6.1.0-56-amd64 only, and the PCs' kernel is "
        "6.1.0-57-amd64 (netboot build); sudo netboot image update kiosk"
    )
    words = ["--image", "kiosk", "--images", str(tmp_path), "--logs", str(logs)]
    assert str(refused("lab", *room, *words)) == said
    assert (
        str(refused("check", *room, "--set", "root.kind=image", "--set", "root.image=kiosk"))
        == said
    )
    assert not logs.exists()


def test_a_further_server_looks_at_the_files_that_it_is_given(tmp_path: Path) -> None:
    words = ("serve", "--profile", LAB, "--swap-only", "--state", str(tmp_path))
    assert str(refused(*words, "--images", "/nowhere")) == "--images: there is no folder /nowhere"
    assert str(refused(*words, "--initrd", "/nowhere")) == "--initrd: there is no file /nowhere"


def test_another_user_cannot_be_taken_by_an_ordinary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    user.become("nobody", tmp_path)  # that is this one
    for name in ("root", "daemon"):
        with pytest.raises(OperatorError, match=f"--user: only root can run this as {name}"):
            user.become(name, tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        "lab --load -1",
        "lab --load 0",
        "lab --timeout -1",
        "lab --timeout nan",
        "lab --memory 99999999",
        "watch 52:54:00:12:34:56 --timeout 0",
        "watch 52:54:00:12:34:56 --since -5",
        "doctor --wait -1",
        "doctor --wait inf",
    ],
)
def test_numbers_have_bounds(words: str) -> None:
    assert str(refused(*words.split())).startswith(f"{words.split()[-2]}: expected ")
