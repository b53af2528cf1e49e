"""The end of a command: one line for what the system refuses, a traceback for a bug of ours."""

import os
import subprocess
import sys

import pytest

from tests import ROOT

LAB = str(ROOT / "profiles/lab.yaml")
CODE = "import sys, errno, os; from netboot.cli.ending import finish; sys.exit(finish(lambda: {}))"


def ended(work: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", CODE.format(work)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


def in_shell(words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", words.replace("netboot", f"{sys.executable} -P -m netboot", 1)]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "LAB": LAB, **variables},
    )


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("open('/nowhere/x')", "/nowhere/x: No such file or directory\n"),
        ("os.rename('/nowhere/x', '/y')", "/nowhere/x and /y: No such file or directory\n"),
        ("os.listdir('/etc/passwd')", "/etc/passwd: Not a directory\n"),
        (
            "(_ for _ in ()).throw(OSError(errno.EMFILE, 'Too many open files', 'x'))",
            "x: Too many open files\n  hint: allow more open files: ulimit -n 4096\n",
        ),
        (
            "(_ for _ in ()).throw(__import__('shutil').Error([('/a/b', '/c/b', '[Errno 28] x')]))",
            "/a/b and /c/b: No space left on device\n  hint: free some space there (df -h, df -i)\n",
        ),
        ("(_ for _ in ()).throw(TimeoutError())", "the system refused: TimeoutError\n"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_status_1(work: str, said: str) -> None:
    done = ended(work)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_a_bug_shows_its_traceback_and_what_to_do() -> None:
    done = ended("1 // 0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr
    assert done.stderr.endswith("please report it with the lines above\n")


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    command = "PYTHONIOENCODING=latin-1 netboot check --profile $'caf\\xe9-\u201cx\u201d.yaml'"
    done = in_shell(command)
    assert done.returncode == 2
    assert done.stderr.startswith("caf\\xe9-\\u201cx\\u201d.yaml: there is no such profile")


@pytest.mark.system
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("netboot check -p $LAB >/dev/full", 1, "standard output cannot be written: No space left"),
        ("netboot --help >/dev/full", 1, "standard output cannot be written: No space left"),
        ("netboot check -p $LAB >/dev/full 2>&1", 1, ""),
        ("netboot check -p $LAB >&- <&- 2>&-", 0, ""),
        ("netboot schema | head -c 1; exit ${PIPESTATUS[0]}", 1, ""),
        ("netboot check -p /dev/zero", 2, "/dev/zero: too long"),
        ("netboot check -p $LAB/x", 2, "{LAB}/x: cannot be read: Not a directory"),
        ("netboot service run", 2, "no server is installed on this machine"),
        ("http_proxy=nonsense://here netboot status --server 127.0.0.1:9", 3, "no netboot server"),
        ("LC_ALL=C TERM=dumb netboot order stop 52:54:00:12:34:56", 2, "order: expected reboot, "),
    ],
)
def test_no_traceback_for_what_is_outside_of_our_code(words: str, status: int, said: str) -> None:
    done = in_shell(words)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(said.replace("{LAB}", LAB)) and "Traceback" not in done.stderr
    assert said or not done.stderr


@pytest.mark.system
def test_the_arguments_in_a_help_are_in_our_words() -> None:
    text = in_shell("netboot order --help").stdout
    assert "order [OPTIONS] ORDER MAC...\n" in text
    assert "{" not in text and "<" not in text
    assert "[default: 256; 64 to 1048576]" in in_shell("netboot lab --help").stdout


def test_what_was_printed_before_an_error_is_not_lost() -> None:
    done = ended("(print('before'), open('/nowhere'))")
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr == "/nowhere: No such file or directory\n"


@pytest.mark.system
def test_a_foreign_address_is_told_without_python_s_words() -> None:
    done = in_shell("netboot pages --export a=1MiB --listen 192.0.2.77:10809")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "cannot serve pages on 192.0.2.77 port 10809: Cannot assign requested address\n  hint: "
    )


def test_an_interrupt_before_the_command_has_begun_prints_nothing() -> None:
    code = """
import sys
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "netboot.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from netboot.__main__ import main
main()
"""
    command = [sys.executable, "-P", "-c", code]
    found = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")
