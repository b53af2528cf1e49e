"""Two secrets at once: what the previous one made is good, and it makes nothing any more."""

from netboot.boot import ticket
from netboot.boot.keyring import Keyring
from netboot.boot.ticket import Key

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32
MAC, NOW = "52:54:00:12:34:56", 1.7e9
BEFORE = ticket.begin(OLD, MAC, b"nonce!", NOW)


def rotated() -> Keyring:
    keys = Keyring(OLD)
    keys.renew(NEW, OLD)
    return keys


def test_a_session_and_a_ticket_of_the_previous_secret_are_good() -> None:
    keys = rotated()
    assert keys.read(BEFORE, NOW) == Key(MAC, BEFORE)
    assert keys.read(ticket.issue(OLD, MAC), NOW) == Key(MAC)
    assert keys.read(ticket.begin(OTHER, MAC, b"nonce!", NOW), NOW) is None
    assert keys.read(BEFORE, NOW + ticket.SESSION_SECONDS) == Key(MAC), "it expires as ever"


def test_a_new_boot_is_of_the_current_secret() -> None:
    session = rotated().begin(MAC, b"nonce!", NOW)
    assert ticket.read(NEW, session, NOW) == Key(MAC, session)
    assert ticket.read(OLD, session, NOW) is None


def test_the_token_is_that_of_the_secret_that_made_the_session() -> None:
    keys = rotated()
    assert keys.swap_token(BEFORE) == ticket.swap_token(OLD, BEFORE)
    session = keys.begin(MAC, b"nonce!", NOW)
    assert keys.swap_token(session) == ticket.swap_token(NEW, session)


def test_orders_and_panels_may_use_either_secret() -> None:
    keys = rotated()
    for secret in (OLD, NEW):
        key = ticket.order_key(secret, "reboot", MAC, int(NOW))
        assert keys.order_refusal(key, "reboot", MAC, NOW) == ""
        assert keys.is_panel_key(ticket.panel_key(secret))
    key = ticket.order_key(OTHER, "reboot", MAC, int(NOW))
    assert "wrong key" in keys.order_refusal(key, "reboot", MAC, NOW)
    assert not keys.is_panel_key(ticket.panel_key(OTHER))


def test_a_forgotten_secret_opens_nothing() -> None:
    keys = rotated()
    keys.renew(NEW)
    assert keys.read(BEFORE, NOW) is None
    assert not keys.is_panel_key(ticket.panel_key(OLD))
    assert keys.order_refusal(ticket.order_key(OLD, "read", "", int(NOW)), "read", "", NOW)


def test_it_shows_no_secret() -> None:
    assert repr(rotated()) == "Keyring()"
