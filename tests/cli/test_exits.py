"""The exit statuses: each verb ends with one of ``errors.Exit``, and tells errors as JSON if asked."""

import json
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netboot.cli import ending, user
from netboot.cli.main import app
from netboot.errors import Exit, FailedError, NobodyError, OperatorError
from tests import ROOT
from tools.reference import cli

MAC = "52:54:00:12:34:56"
VERBS = {
    name.removeprefix("netboot "): verb
    for name, verb, _ in cli.verbs(cli.command())
    if name != "netboot"
}
# What asks a server, with the words that it needs. {server}: an address where nobody listens.
ASKING = (
    "status --server {server} --state {state}",
    f"watch {MAC} --server {{server}} --state {{state}}",
    f"order reboot {MAC} --server {{server}} --state {{state}}",
    f"order reboot {MAC} --server {{server}} --state {{none}}",
    f"order identify {MAC} --state {{dead}}",
    f"order entry {MAC} --text local --state {{none}}",
    "persist list --server {server} --state {state}",
    f"persist delete {MAC} --yes --server {{server}} --state {{state}}",
    f"persist delete {MAC} --yes --server {{server}} --state {{none}}",
    "pages drain {server} --key {key}",
    "pages undrain {server} --key {key}",
)
DONE = ("version", "schema", f"check -p {ROOT}/profiles/lab.yaml")


@pytest.fixture(autouse=True)
def own_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process the priority that it has."""
    monkeypatch.setattr(user, "go_first", lambda: None)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def ended(
    words: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Return status, output and errors of a command line."""
    # ``finish`` replaces both streams by ones that write to the descriptors.
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", None)
    status = ending.finish(lambda: app(words), as_json=ending.wants_json(words, {}))
    monkeypatch.undo()
    told = capfd.readouterr()
    return status, told.out, told.err


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_tells_a_wrong_option_with_status_2_as_json_too(
    verb: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, output, errors = ended([*verb.split(), "--nonsense"], capfd, monkeypatch)
    assert (status, output) == (Exit.USAGE, "")
    assert errors.startswith("unknown option --nonsense")
    status, output, errors = ended([*verb.split(), "--nonsense", "--json"], capfd, monkeypatch)
    assert (status, output) == (Exit.USAGE, "")
    told = json.loads(errors)
    assert told["exit_code"] == Exit.USAGE
    assert told["problem"].startswith("unknown option --nonsense")
    assert set(told) == {"message", "problem", "cause", "remedy", "exit_code"}


@pytest.mark.parametrize("words", ASKING)
def test_each_verb_that_asks_a_server_ends_with_3_if_nobody_answers(
    words: str,
    nobody: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, dead, key = tmp_path / "state", tmp_path / "dead", tmp_path / "panel.key"
    for folder in (state, dead):
        folder.mkdir()
        (folder / "secret").write_bytes(bytes(range(32)))
        (folder / "secret").chmod(0o600)
    with socket.socket(socket.AF_UNIX) as gone:  # of a server that was killed
        gone.bind(str(dead / "feed.sock"))
    key.write_text("ab" * 32)
    key.chmod(0o600)
    names = {"server": nobody, "state": state, "dead": dead, "key": key, "none": tmp_path / "none"}
    line = shlex.split(words.format(**names))
    status, output, errors = ended(line, capfd, monkeypatch)
    assert (status, output) == (Exit.NOBODY, ""), errors
    assert "Traceback" not in errors
    status, output, errors = ended([*line, "--json"], capfd, monkeypatch)
    told = json.loads(errors)
    assert (status, output, told["exit_code"]) == (Exit.NOBODY, "", Exit.NOBODY)
    assert "netboot serve" in told["remedy"]
    if line[0] == "status":
        assert told["problem"] == f"no netboot server answers at {nobody}"
        assert told["cause"] == "Connection refused"


@pytest.mark.parametrize("words", DONE)
def test_what_is_done_ends_with_0(
    words: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended(words.split(), capfd, monkeypatch)[0] == Exit.DONE


@pytest.mark.parametrize(
    ("line", "hint", "told"),
    [
        (
            "a.yaml:1: key 'swap.x': unknown; did you mean 'y'?",
            "",
            ("a.yaml:1: key 'swap.x'", "unknown", "did you mean 'y'?"),
        ),
        (
            "--listen: expected A:P, found 'a: b'",
            "",
            ("--listen", "expected A:P, found 'a: b'", ""),
        ),
        ("it is off", "ip link", ("it is off", "", "ip link")),
        ("a: b; c", "d", ("a", "b; c", "d")),
        ("first: why\nsecond: why", "", ("first", "why", "")),
    ],
)
def test_the_parts_of_an_error(line: str, hint: str, told: tuple[str, str, str]) -> None:
    found = OperatorError(line, hint=hint).as_json()
    assert (found["problem"], found["cause"], found["remedy"]) == told
    assert found["message"] == line and found["exit_code"] == 2


def test_errors_have_the_status_of_their_kind() -> None:
    assert OperatorError("x").exit == 2
    assert FailedError("x").exit == 1 and FailedError("x").as_json()["exit_code"] == 1
    assert NobodyError("x").exit == 3
    assert ending.as_mistake(OSError(28, "No space left on device")).exit == 1


@pytest.mark.parametrize(
    ("words", "variables", "wanted"),
    [
        (["status", "--json"], {}, True),
        (["status"], {}, False),
        (["order", "message", "--", "--json"], {}, False),
        (["status"], {"NETBOOT_JSON": "1"}, True),
        (["status"], {"NETBOOT_JSON": "no"}, False),
        (["persist", "list"], {"NETBOOT_PERSIST_LIST_JSON": "yes"}, True),
        (["persist", "list"], {"NETBOOT_STATUS_JSON": "yes"}, False),
    ],
)
def test_when_errors_are_json(words: list[str], variables: dict[str, str], wanted: bool) -> None:
    assert ending.wants_json(words, variables) is wanted


def test_a_fault_of_ours_is_json_behind_its_traceback(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", None)
    assert ending.finish(lambda: 1 // 0, as_json=True) == Exit.FAILED
    monkeypatch.undo()
    traceback, _, last = capfd.readouterr().err.strip().rpartition("\n")
    assert traceback.startswith("Traceback")
    assert json.loads(last)["cause"].startswith("ZeroDivisionError") and "report" in last


def test_the_pages_name_each_status() -> None:
    page = (ROOT / "docs/reference/exit-codes.md").read_text().partition("## fab")[0]
    manual = (ROOT / "docs/netboot.1").read_text().partition(".SH EXIT STATUS")[2]
    for status in Exit:
        assert f"| {status:d} | " in page
        assert f".IP {status:d} 4\n" in manual
