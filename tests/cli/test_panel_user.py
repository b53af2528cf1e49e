"""``netboot panel user``: accounts are made, listed, changed and deleted; passwords stay unseen."""

import io
import json
from pathlib import Path

import pytest

from netboot.cli import panel_user
from netboot.errors import OperatorError
from netboot.panel.login import accounts
from netboot.panel.login.accounts import Accounts
from tests.panel.browser import FAST

GOOD = "twelve letters"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of a first start, and passwords that are hashed quickly."""
    monkeypatch.setattr(accounts.Accounts.__init__, "__kwdefaults__", {"hasher": FAST})
    Accounts(tmp_path).begin()
    return tmp_path


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input with a password."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{GOOD}\n"))


def test_an_account_is_made_with_the_password_of_standard_input(
    state: Path, keyboard: None, capsys: pytest.CaptureFixture[str]
) -> None:
    panel_user.add("anna", role="viewer", state=state)
    assert capsys.readouterr().out == "account 'anna' is made: viewer\n"
    account = Accounts(state).check("anna", GOOD)
    assert account is not None
    assert account.role == "viewer"


def test_a_generated_password_is_printed_once_and_is_right(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panel_user.passwd("operator", generate=True, state=state)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("password: ")
    assert Accounts(state).check("operator", first.removeprefix("password: ")) is not None
    assert second == "account 'operator' has another password; its sessions have ended"


def test_an_account_gets_another_role(
    state: Path, keyboard: None, capsys: pytest.CaptureFixture[str]
) -> None:
    panel_user.add("anna", role="viewer", state=state)
    panel_user.change_role("anna", "operator", state=state)
    assert "account 'anna' has the role operator" in capsys.readouterr().out
    assert Accounts(state).known("anna").role == "operator"
    with pytest.raises(OperatorError, match="ROLE: expected viewer or operator, found 'root'"):
        panel_user.change_role("anna", "root", state=state)


def test_accounts_are_listed_and_deleted(
    state: Path, keyboard: None, capsys: pytest.CaptureFixture[str]
) -> None:
    panel_user.add("anna", role="operator", state=state)
    capsys.readouterr()
    panel_user.list_accounts(state=state)
    assert capsys.readouterr().out == "anna      operator\noperator  operator\n"
    panel_user.delete("operator", state=state)
    capsys.readouterr()
    panel_user.list_accounts(state=state, as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"name": "anna", "role": "operator"}]


def test_two_different_passwords_change_nothing(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter((GOOD, "other letters"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    before = (state / accounts.FILE).read_bytes()
    with pytest.raises(OperatorError, match="the two entries differ"):
        panel_user.passwd("operator", state=state)
    assert (state / accounts.FILE).read_bytes() == before


def test_a_mistake_is_told_before_a_password_is_asked_for(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(OperatorError, match="--role: expected viewer or operator, found 'root'"):
        panel_user.add("anna", role="root", state=state)
    with pytest.raises(OperatorError, match="there is an account 'operator' already"):
        panel_user.add("operator", role="viewer", state=state)
    with pytest.raises(OperatorError, match="there is no account 'anna'"):
        panel_user.passwd("anna", state=state)
    with pytest.raises(OperatorError, match="--state: there is no folder"):
        panel_user.list_accounts(state=state / "none")


def test_no_password_is_told_that_is_not_the_accounts(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(accounts, "rewrite_file", full)
    with pytest.raises(OperatorError, match="No space left on device"):
        panel_user.passwd("operator", generate=True, state=state)
    assert capsys.readouterr().out == ""


def test_without_a_keyboard_it_says_what_else_there_is(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(OperatorError, match="there is no standard input"):
        panel_user.passwd("operator", state=state)

    def ended(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", ended)
    with pytest.raises(OperatorError, match="none was typed; nothing is changed"):
        panel_user.passwd("operator", state=state)


def test_without_a_folder_it_is_that_of_the_panel_of_this_machine(
    state: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installed = tmp_path_factory.mktemp("state")
    monkeypatch.setattr(panel_user, "PANEL_STATE", state)
    monkeypatch.setattr(panel_user, "INSTALLED_STATE", installed)
    panel_user.list_accounts(state=state)
    assert capsys.readouterr().out == "operator  operator\n"
    state.rename(installed / "panel")
    panel_user.list_accounts(state=state)
    assert capsys.readouterr().out == "operator  operator\n"
