"""The file of accounts, sessions, and the delays after wrong passwords."""

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.errors import OperatorError
from netboot.panel.login import lockout, sessions
from netboot.panel.login.accounts import FILE, HASHER, VERSION, Accounts
from netboot.panel.login.lockout import Attempt, Lockout
from netboot.panel.login.sessions import Sessions
from tests.panel.browser import FAST

GOOD = "twelve letters"


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    """Accounts of a first start."""
    made = Accounts(tmp_path, hasher=FAST)
    made.begin()
    return made


def test_the_first_start_makes_an_operator_and_tells_its_password_once(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path, hasher=FAST)
    password = accounts.begin()
    assert password is not None
    assert len(password) >= 16
    assert accounts.begin() is None
    assert Accounts(tmp_path, hasher=FAST).begin() is None
    account = accounts.check("operator", password)
    assert account is not None
    assert account.role == "operator"


def test_the_file_is_private_and_has_no_password(tmp_path: Path) -> None:
    password = Accounts(tmp_path, hasher=FAST).begin()
    path = tmp_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert str(password) not in text
    assert json.loads(text)["version"] == VERSION
    assert "$argon2id$" in text
    Accounts(tmp_path, hasher=FAST).add("anna", "viewer", GOOD)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_product_hashes_with_argon2id_of_32_mib() -> None:
    assert HASHER.hash(GOOD).startswith("$argon2id$v=19$m=32768,t=3,p=1$")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_that_root_made_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    accounts = Accounts(tmp_path, hasher=FAST)
    accounts.begin()
    accounts.add("anna", "viewer", GOOD)
    assert (accounts.path.stat().st_uid, accounts.path.stat().st_gid) == (1234, 1234)


def test_an_account_that_the_command_changes_is_another_one_in_the_panel(
    accounts: Accounts, tmp_path: Path
) -> None:
    command = Accounts(tmp_path, hasher=FAST)
    command.add("anna", "viewer", GOOD)
    before = accounts.find("anna")
    assert before is not None
    command.set_password("anna", GOOD + "2")
    after = accounts.find("anna")
    assert after is not None
    assert after.stamp != before.stamp
    assert accounts.check("anna", GOOD) is None
    command.set_role("anna", "operator")
    assert [(each.name, each.role) for each in accounts.all()] == [
        ("anna", "operator"),
        ("operator", "operator"),
    ]
    command.delete("anna")
    assert accounts.find("anna") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda each: each.add("Anna", "viewer", GOOD), "name of an account: expected a small"),
        (lambda each: each.add("a\nb", "viewer", GOOD), "name of an account: expected a small"),
        (lambda each: each.add("operator", "viewer", GOOD), "there is an account 'operator'"),
        (lambda each: each.add("anna", "viewer", "short"), "password: expected 8 to 256"),
        (lambda each: each.add("anna", "viewer", "\ud800" * 9), "password: expected text in UTF-8"),
        (lambda each: each.set_password("anna", GOOD), "there is no account 'anna'"),
        (lambda each: each.delete("anna"), "there is no account 'anna'"),
        (lambda each: each.delete("operator"), "the panel needs an operator"),
        (lambda each: each.set_role("operator", "viewer"), "the panel needs an operator"),
    ],
)
def test_a_wrong_change_says_why_and_changes_nothing(
    accounts: Accounts, change: Callable[[Accounts], None], said: str
) -> None:
    before = accounts.path.read_bytes()
    with pytest.raises(OperatorError) as caught:
        change(accounts)
    assert str(caught.value).startswith(said)
    assert accounts.path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (b'{"version": 0}', "damaged: version 0, expected 1"),
        (b'{"version": 2}', "made by a newer release: version 2, expected 1"),
        (b'{"version": 1, "key": "", "accounts": [{"name": "a"}]}', "damaged"),
        (
            b'{"version":1,"key":"","accounts":[{"name":"a","role":"root","hash":"","stamp":""}]}',
            "role 'root' of 'a'",
        ),
    ],
)
def test_a_damaged_file_opens_no_door(accounts: Accounts, content: bytes, said: str) -> None:
    accounts.path.write_bytes(content)
    for ask in (lambda: accounts.begin(), lambda: accounts.check("operator", GOOD)):
        with pytest.raises(OperatorError, match=said):
            ask()
    assert accounts.path.read_bytes() == content


def test_commands_at_the_same_time_lose_no_account(tmp_path: Path) -> None:
    Accounts(tmp_path, hasher=FAST).begin()

    def add(number: int) -> None:
        Accounts(tmp_path, hasher=FAST).add(f"user{number}", "viewer", GOOD)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Accounts(tmp_path, hasher=FAST).all()) == 9


# Sessions


def test_a_session_ends_after_eight_idle_hours() -> None:
    table = Sessions()
    token = table.open("anna", "s", 0.0)
    assert len(token) == 32
    assert table.find(token, 8 * 3600.0) is not None
    assert table.find(token, 15 * 3600.0, touch=False) is not None
    assert table.find(token, 16 * 3600.0 + 1) is None
    assert table.find(token, 0.0) is None


def test_the_table_of_sessions_has_hashes_and_limits() -> None:
    table = Sessions()
    tokens = [table.open("anna", "s", float(n)) for n in range(25)]
    assert table.find(tokens[4], 25.0) is None
    assert table.find(tokens[5], 25.0) is not None
    assert not any(token in repr(table._sessions) for token in tokens)
    for number in range(1100):
        table.open(f"user{number}", "s", 30.0)
    assert len(table._sessions) == 1000


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / sessions.FILE


def test_sessions_outlive_the_panel_in_a_private_file_with_hashes(kept: Path) -> None:
    wall = 1e9
    table = Sessions(kept, lambda: wall)
    first, second = table.open("anna", "s", 50.0), table.open("bert", "t", 3650.0)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert first not in kept.read_text() and second not in kept.read_text()
    wall += 600  # the panel was killed; the machine's other clock began again
    again = Sessions(kept, lambda: wall)
    again.load(5.0)
    assert again.find(first, 5.0 + 6.5 * 3600, touch=False) == sessions.Holder("anna", "s")
    assert again.find(first, 5.0 + 7 * 3600, touch=False) is None
    assert again.find(second, 5.0 + 7 * 3600, touch=False) == sessions.Holder("bert", "t")


def test_a_session_that_has_ended_does_not_come_back(
    kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = Sessions(kept)
    token, other = table.open("anna", "s", 0.0), table.open("anna", "s", 0.0)
    table.close(token, 1.0)
    again = Sessions(kept)
    again.load(0.0)
    assert again.find(token, 1.0) is None and again.find(other, 1.0) is not None

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sessions, "replace_file", full)
    again.close(other, 2.0)
    assert "sessions end with the panel: No space left on device" in caplog.text
    last = Sessions(kept)
    last.load(0.0)
    assert last.find(other, 2.0) is None


def test_the_last_use_of_a_session_is_kept_now_and_then(kept: Path) -> None:
    wall = 1e9
    table = Sessions(kept, lambda: wall)
    token = table.open("anna", "s", 0.0)
    before = kept.read_text()
    assert table.find(token, 200.0) and kept.read_text() == before
    assert table.find(token, 300.0) and kept.read_text() == before  # used at the same time of day
    wall += 5 * 3600
    assert table.find(token, 5 * 3600.0) and kept.read_text() != before


@pytest.mark.parametrize(
    "content",
    (
        *(
            b"",
            b"{",
            b"[]",
            b"\xff",
            b"null",
            b"[" * 9999,
            b'{"sessions": []}',
            b'{"version": 2, "sessions": []}',
            b'{"version": 1, "sessions": 5}',
            b'{"version": 1, "sessions": [5]}',
        ),
        b'{"version": 1, "sessions": [{"hash": "zz", "name": "a", "stamp": "b", "used": 9e9}]}',
        b'{"version": 1, "sessions": [{"hash": "00", "name": ["a"], "stamp": "b", "used": 9e9}]}',
        b'{"version": 1, "sessions": [{"hash": "00", "name": "a", "stamp": "b", "used": NaN}]}',
        b'{"version": 1, "sessions": [{"hash": "00", "name": "a", "stamp": "b", "used": "x"}]}',
    ),
)
def test_a_damaged_file_has_no_sessions(kept: Path, content: bytes) -> None:
    kept.write_bytes(content)
    table = Sessions(kept)
    table.load(0.0)
    assert not table._sessions
    assert table.find(table.open("anna", "s", 0.0), 1.0) is not None


def test_a_csrf_token_is_of_its_session() -> None:
    assert sessions.is_csrf_token("a", sessions.csrf_token("a"))
    assert not sessions.is_csrf_token("b", sessions.csrf_token("a"))
    assert not sessions.is_csrf_token("a", "\ud800")


# Delays


def _fail(table: Lockout, attempt: Attempt, now: float) -> float:
    """Try at ``now``, or as soon as the table allows it; return the time."""
    now += table.begin(attempt, now)
    if table.begin(attempt, now):
        raise AssertionError("it must be allowed after the delay")
    return now


def test_the_delay_of_an_address_grows_to_15_minutes() -> None:
    table, now, delays = Lockout(), 0.0, []
    for number in range(16):
        attempt = Attempt(f"name{number}", "", "192.0.2.66")
        assert table.begin(attempt, now) == 0
        wait = table.begin(attempt, now)
        delays.append(wait)
        now += wait
    assert delays[:4] == [0, 1, 2, 4]
    assert max(delays) == 900.0
    assert sum(delays) > 1800


def _guesses(table: Lockout, begin: float, address: Callable[[int], str]) -> int:
    """Guess for an hour, as fast as the table allows it; return how often it did."""
    now, asked, allowed = begin, 0, 0
    while now < begin + 3600.0:
        asked += 1
        wait = table.begin(Attempt("operator", "stamp", address(asked)), now)
        allowed += not wait
        now += min(wait, 1.0)
    return allowed


def test_a_guesser_tries_few_passwords() -> None:
    table = Lockout()
    assert _guesses(table, 0.0, lambda _: "192.0.2.66") == 15
    assert _guesses(table, 3600.0, lambda _: "192.0.2.66") == 4
    assert _guesses(Lockout(), 0.0, lambda n: f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") == 182


def test_a_stranger_cannot_keep_the_operator_out() -> None:
    table, now = Lockout(), 0.0
    guess = Attempt("operator", "stamp", "192.0.2.66")
    for _ in range(300):
        wait = table.begin(guess, now)
        now += wait / 2 if wait else 0.0
    # From an address that has not failed: at once, also while the account has its delay.
    assert table.begin(Attempt("operator", "stamp", "192.0.2.5"), now) == 0
    # A browser that was logged in before, even from the stranger's own address (a proxy).
    assert table.begin(Attempt("operator", "stamp", "192.0.2.66", "device"), now) == 0
    # On the machine itself.
    assert table.begin(Attempt("operator", "stamp", "127.0.0.1"), now) == 0
    # With a new password.
    assert table.begin(Attempt("operator", "stamp 2", "192.0.2.6"), now) == 0


def test_many_strangers_delay_a_new_browser_for_a_minute_at_most() -> None:
    table = Lockout()
    waits = [
        table.begin(Attempt("operator", "stamp", f"10.0.{n >> 8}.{n & 255}"), 0.0)
        for n in range(2000)
    ]
    assert sum(1 for wait in waits if wait == 0) <= lockout.FREE + lockout.FRESH
    assert max(waits) <= lockout.ACCOUNT_DELAY
    assert table.begin(Attempt("operator", "stamp", "192.0.2.5"), lockout.ACCOUNT_DELAY) == 0
    assert table.begin(Attempt("operator", "stamp", "192.0.2.5", "device"), 0.0) == 0


def test_attempts_at_the_same_time_count_before_their_password_is_checked() -> None:
    table = Lockout()
    attempt = Attempt("operator", "stamp", "192.0.2.66")
    assert [table.begin(attempt, 0.0) == 0 for _ in range(5)] == [True] * 3 + [False] * 2


def test_an_own_account_does_not_clear_the_failures_of_a_guesser() -> None:
    table, now, guesses = Lockout(), 0.0, 0
    own, guess = Attempt("viktor", "v", "192.0.2.66"), Attempt("operator", "o", "192.0.2.66")
    while now < 3600.0:
        wait = table.begin(guess, now)
        if wait:
            now += wait
            continue
        guesses += 1
        if table.begin(own, now) == 0:
            table.succeed(own, now)
    assert guesses < 20


def test_a_right_password_after_mistakes_is_no_failure() -> None:
    table = Lockout()
    attempt = Attempt("operator", "stamp", "192.0.2.5")
    table.begin(attempt, 0.0)
    table.begin(attempt, 1.0)
    assert table.begin(attempt, 2.0) == 0
    table.succeed(attempt, 2.0)
    assert table.failures(attempt, 2.0) == 2
    assert table.begin(attempt, 2.0) == 0


def test_failures_are_forgotten_after_an_hour() -> None:
    table = Lockout()
    attempt = Attempt("operator", "stamp", "192.0.2.5")
    for _ in range(3):
        table.begin(attempt, 0.0)
    assert table.failures(attempt, 3601.0) == 0


def test_a_flood_of_names_and_addresses_forgets_no_failure_of_an_account() -> None:
    table = Lockout()
    for number in range(4):
        table.begin(Attempt("operator", "stamp", f"192.0.2.{number}"), 0.0)
    for number in range(6000):
        table.begin(Attempt(f"nobody{number}", "", f"2001:db8:{number:x}::1"), 0.0)
    assert max(len(each) for each in (table._senders, table._unknown)) == lockout.MOST
    table.begin(Attempt("operator", "stamp", "192.0.2.5"), 0.0)
    assert table.begin(Attempt("operator", "stamp", "192.0.2.5"), 0.0) > 0


@given(st.text(), st.text(), st.text(), st.text())
def test_a_mark_is_of_its_account(name: str, stamp: str, other: str, cookie: str) -> None:
    key = b"k" * 32
    seal = lockout.mark(key, name, stamp)
    assert bool(lockout.device(key, name, stamp, seal)) == bool(stamp)
    assert lockout.device(key, name, stamp + "x", seal) == ""
    assert lockout.device(b"", name, stamp, seal) == ""
    assert lockout.device(key, other, stamp, cookie) == ""


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_a_sender_is_an_address_or_a_network_of_ipv6(address: str, sender: str) -> None:
    assert lockout.network(address) == sender
