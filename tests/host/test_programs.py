"""Programs that are run to their end: what their failures look like to the operator."""

import subprocess
import sys
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.host import programs
from netboot.host.programs import cause, check_installed, convert, run


def _failing(script: str, *, problem: str = "", hint: str = "") -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        run(["sh", "-c", script], problem=problem, hint=hint)
    return caught.value


def test_a_program_s_status_and_output_come_back() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_failure_is_one_line_with_the_command_the_cause_and_the_remedy() -> None:
    error = _failing("echo; echo ' no such thing ' >&2; exit 1", hint="make one")
    expected = "sh -c 'echo; echo '\"'\"' no such thing '\"'\"' >&2; exit 1' failed: no such thing"
    assert (str(error), error.hint) == (expected, "make one")
    assert (
        str(_failing("exit 4", problem="it cannot be done")) == "it cannot be done: exit status 4"
    )
    assert str(_failing("kill -9 $$", problem="it")) == "it: killed by SIGKILL"


def test_a_long_command_is_cut() -> None:
    with pytest.raises(OperatorError) as caught:
        run(["/bin/false", *["--option"] * 100])
    assert len(str(caught.value)) < 120
    assert str(caught.value).startswith("false --option")
    assert str(caught.value).endswith(" ... failed: exit status 1")


def test_a_program_that_is_not_installed_is_named_with_its_package() -> None:
    for call in (
        lambda: run(["nobody-has-this", "-x"], package="nobody", check=False),
        lambda: convert(["nobody-has-this"], b"", package="nobody"),
        lambda: check_installed({"sh": "dash", "nobody-has-this": "nobody"}),
    ):
        with pytest.raises(OperatorError, match="^nobody-has-this is not installed$") as caught:
            call()
        assert caught.value.hint == "sudo apt install nobody"
    with pytest.raises(OperatorError) as caught:
        run(["nobody-has-this"], hint="use Debian")
    assert caught.value.hint == "use Debian"
    check_installed({"sh": "dash"})


def test_the_system_s_programs_are_found_with_a_user_s_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program := tmp_path / "nobody-has-this").write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/games")  # after su(1)
    assert not programs.is_installed(program.name)
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", f"/sbin:{tmp_path}")
    check_installed({program.name: "nobody"})
    assert run([program.name]).stdout == "found\n"


def test_a_missing_folder_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        run(["true"], cwd=tmp_path / "gone")


def test_a_file_that_is_no_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("data")
    with pytest.raises(OperatorError, match="data cannot be started: Permission denied$"):
        run([str(tmp_path / "data")])


def test_a_program_has_our_environment_in_english_and_no_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("OURS", "kept")
    script = 'echo "$LC_ALL $OURS $MORE"; pwd; cat'
    done = run(["sh", "-c", script], env={"MORE": "added"}, cwd=tmp_path)
    assert done.stdout == f"C.UTF-8 kept added\n{tmp_path}\n"


def test_bytes_go_through_a_program_as_they_are() -> None:
    data = bytes(range(256)) * 1000
    assert convert(["cat"], data) == data
    with pytest.raises(OperatorError, match="^sh -c .* failed: full$"):
        convert(["sh", "-c", "echo full >&2; exit 1"], data)


def test_output_that_is_no_text_is_no_bug() -> None:
    assert run(["printf", r"a\377b"]).stdout == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ("RTNETLINK answers: File exists\n", "RTNETLINK answers: File exists"),
        (
            'Error: argument "x" is wrong: Invalid prefix.\n',
            'argument "x" is wrong: Invalid prefix.',
        ),
        (
            (
                "W: No sandbox user '_apt'\n"
                "E: Failed to fetch http://127.0.0.1:9/InRelease  Could not connect\n"
                "E: Some index files failed to download.\n"
            ),
            (
                "Failed to fetch http://127.0.0.1:9/InRelease  Could not connect; "
                "Some index files failed to download."
            ),
        ),
        (
            "dpkg-deb: error: 'x.deb' is not a Debian format archive\n",
            "dpkg-deb: error: 'x.deb' is not a Debian format archive",
        ),
        (
            (
                "agent.c: In function 'main':\nagent.c:1:14: error: 'x' undeclared\n"
                "    1 | int main() { x; }\n      |              ^\n"
                "agent.c:1:14: note: each undeclared identifier is reported once\n"
            ),
            "agent.c:1:14: error: 'x' undeclared",
        ),
        (
            (
                "/usr/bin/ld: /tmp/cc.o: in function `main':\n"
                "agent.c:(.text+0x5): undefined reference to `missing'\n"
                "collect2: error: ld returned 1 exit status\n"
            ),
            (
                "agent.c:(.text+0x5): undefined reference to `missing'; "
                "collect2: error: ld returned 1 exit status"
            ),
        ),
        (
            (
                "  error: subprocess-exited-with-error\n  × Building wheel did not run\n"
                "      ModuleNotFoundError: No module named 'setuptools'\n"
                "  note: This error originates from a subprocess\n"
                "  ERROR: Failed building wheel for netboot-classroom\n"
            ),
            (
                "subprocess-exited-with-error; ModuleNotFoundError: No module named 'setuptools'; "
                "Failed building wheel for netboot-classroom"
            ),
        ),
        (
            "error: Failed to create network\nerror: operation failed: it is there already\n",
            "Failed to create network; operation failed: it is there already",
        ),
        (
            "xorriso : NOTE : Loading\nxorriso : FAILURE : Cannot open file\n",
            "xorriso : FAILURE : Cannot open file",
        ),
        ("error: a\nerror: b\nerror: a\nerror: c\nerror: d\n", "a; b; c"),
    ],
)
def test_the_cause_is_on_one_line(errors: str, expected: str) -> None:
    assert cause(1, errors) == expected


def test_what_the_programs_of_this_machine_say_is_understood(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_text("nothing")
    with pytest.raises(OperatorError, match="^dpkg-deb -x .* failed: dpkg-deb: error: "):
        run(["dpkg-deb", "-x", "x.deb", "."], cwd=tmp_path)
    with pytest.raises(OperatorError, match="failed: .*No module named nowhere$"):
        run([sys.executable, "-m", "nowhere"])


def test_output_counts_where_there_are_no_messages() -> None:
    error = _failing("echo 'Init: cannot seek'; exit 1", problem="mformat failed")
    assert str(error) == "mformat failed: Init: cannot seek"


def test_only_one_module_runs_programs_to_their_end() -> None:
    """Others start what keeps running, with Popen; this one has the error messages."""
    root = Path(__file__).parents[2] / "netboot"
    found = subprocess.run(
        ["grep", "-rlE", r"subprocess\.(run|check_output|check_call|call)\(", str(root)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    # host/programs.py does it with Popen, because it has to set the program's priority.
    assert [path for path in found if path.endswith(".py")] == []
