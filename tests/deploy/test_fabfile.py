"""The tasks as Invoke sees them: their options, their help, and an operator's mistakes."""

import subprocess
from copy import deepcopy

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
            "/nowhere: not a folder of images\n  hint: netboot build --output FOLDER\n",
        ),
    ],
)
def test_an_operator_s_mistake_is_one_line(words: list[str], complaint: str) -> None:
    assert _fab(*words) == (2, complaint)
