"""The tasks as Invoke sees them: their options, their help, and an operator's mistakes."""

import subprocess
from copy import deepcopy
from pathlib import Path

import pytest

import fabfile
from tests import ROOT
from tests.deploy.rig import FAB

SERVER = {"H", "key", "known-hosts", "dry-run"}
PCS = {*SERVER, "csv", "profile"}
OPTIONS = {
    "deploy": {*SERVER, "profile", "images"},
    "rollback": SERVER,
    "status": {"H", "key", "known-hosts"},
    "uninstall": {*SERVER, "purge"},
    "classroom.adopt": {*PCS, "images"},
    "classroom.netboot": {*PCS, "server", "always", "wave", "failures", "timeout"},
    "classroom.restore": PCS,
    "classroom.wake": {"H", "csv", "profile", "dry-run", "broadcast", "wave"},
    "classroom.reboot": {*PCS, "via", "wave"},
    "classroom.poweroff": {*PCS, "via"},
}
# Of a copy: to_contexts() takes the help texts out of the tasks.
PARSERS = {each.name: each for each in deepcopy(fabfile.namespace).to_contexts()}


def _fab(*words: str) -> tuple[int, str]:
    done = subprocess.run([*FAB, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_each_task_has_its_options_with_help() -> None:
    assert PARSERS.keys() == OPTIONS.keys()
    for name, options in OPTIONS.items():
        assert set(PARSERS[name].args) == options, name
        assert all(each.help for each in PARSERS[name].args.values()), name
        assert not PARSERS[name].positional_args


def test_the_defaults_are_those_that_the_help_names() -> None:
    for each in PARSERS.values():
        for option, text in (
            ("profile", "lab.yaml"),
            ("known-hosts", "~/.ssh/known_hosts"),
        ):
            if option in each.args:
                assert each.args[option].value == text and f"({text})" in each.args[option].help


@pytest.mark.system
def test_the_help_of_a_task_shows_shared_options_and_its_own() -> None:
    status, text = _fab("--help", "classroom.reboot")
    assert status == 0
    for line in (
        "Reboot the PCs, with or without disk, wave by wave.",
        "--csv=STRING           machines: a CSV file with the columns seat,mac,address",
        "--dry-run              only print the commands that would change something",
        "--wave=STRING          number of PCs at a time (8)",
        "-H STRING              machines: [USER@]HOST[:PORT], with commas",
    ):
        assert f"  {line}\n" in text, text


@pytest.mark.system
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["rollback"], "no machine given; use -H root@SERVER\n"),
        (["-H", "root@here", "status"], "put -H behind the task's name: fab deploy -H SERVER\n"),
        (
            ["classroom.wake", "-H", "pc1", "--wave", "0"],
            "--wave: expected a number of 1 or more, found '0'\n",
        ),
        (
            ["classroom.poweroff", "-H", "pc1", "--via", "a,b"],
            "--via: expected one machine, as root@SERVER\n",
        ),
        (
            [
                "classroom.adopt",
                "-H",
                "pc1",
                "--profile",
                "profiles/lab.yaml",
                "--images",
                "/nowhere",
            ],
            (
                "--images: there is no folder /nowhere\n"
                "  hint: build them: netboot build --profile profiles/lab.yaml --output /nowhere\n"
            ),
        ),
        (
            ["status", "-H", "a", "--known-hosts", "/nowhere"],
            "--known-hosts: there is no file /nowhere\n",
        ),
        (
            ["classroom.wake", "-H", "pc1", "--broadcast", "here"],
            "--broadcast: expected an IPv4 address such as 10.0.0.1, found 'here'\n",
        ),
        (["status", "-H", "a,b,a"], "-H: 'a' is given twice\n"),
        (["status", "-H", "a", "--key", "/nowhere"], "--key: there is no file /nowhere\n"),
    ],
)
def test_an_operator_s_mistake_is_one_line(words: list[str], complaint: str) -> None:
    assert _fab(*words) == (2, complaint)


@pytest.mark.system
def test_a_list_that_the_profile_cannot_take_is_told_before_a_connection(tmp_path: Path) -> None:
    room, seats = tmp_path / "room.yaml", tmp_path / "room.csv"
    inline = "02:fc:00:00:00:09: {hostname: row1-09, address: 10.0.0.9}"
    room.write_text(f"clients:\n  {inline}\n")
    before = room.read_bytes()
    seats.write_text(
        "seat,mac,address\nrow1-01,02:fc:00:00:00:01,10.0.0.9\nrow1-02,02:fc:00:00:00:02,10.0.0.2\n"
        "row1-09,02:fc:00:00:00:03,\n"
    )
    status, text = _fab("classroom.adopt", "--csv", str(seats), "--profile", str(room))
    assert status == 2, text
    first, second, hint = text.splitlines()
    assert first.startswith("row1-01: key 'clients.02:fc:00:00:00:0")
    assert "10.0.0.9 is already the address of 02:fc:00:00:00:0" in first
    assert second.startswith("row1-09: ") and "row1-09 is already the name of" in second
    assert hint == f"  hint: change the list, or {room}"
    assert room.read_bytes() == before
    room.write_text(f"clients: {{{inline}}}\n")
    status, text = _fab("classroom.adopt", "--csv", str(seats), "--profile", str(room))
    assert status == 2 and text.startswith("line 1, key 'clients': seats cannot be added"), text
