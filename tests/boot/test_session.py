"""Sessions: made by the secret alone, and read again by any server that has it."""

from netboot.boot import ticket
from netboot.boot.ticket import Key

SECRET, OTHER = b"s" * 32, b"t" * 32
MAC = "52:54:00:12:34:56"
NOW = 1.7e9
SESSION = ticket.begin(SECRET, MAC, b"nonce!", NOW)


def test_a_session_names_its_seat_until_it_expires() -> None:
    end = NOW + ticket.SESSION_SECONDS
    assert ticket.read(SECRET, SESSION, end - 1) == Key(MAC, SESSION)
    assert ticket.read(SECRET, SESSION, end) == Key(MAC)
    assert ticket.read(SECRET, ticket.issue(SECRET, MAC), NOW) == Key(MAC)


def test_it_has_hex_digits_only_and_each_boot_has_its_own() -> None:
    assert len(SESSION) == 64 and not set(SESSION) - set("0123456789abcdef")
    assert SESSION != ticket.begin(SECRET, MAC, b"other!", NOW)
    assert len(ticket.begin(SECRET, MAC, b"nonce!", 2**33)) == 64, "a clock that is wrong"


def test_nobody_else_can_make_or_change_one() -> None:
    assert ticket.read(OTHER, SESSION, NOW) is None
    for place, digit in enumerate(SESSION):
        changed = SESSION[:place] + ("0" if digit != "0" else "1") + SESSION[place + 1 :]
        assert ticket.read(SECRET, changed, NOW) is None
    for text in ("", "x", SESSION + "0", SESSION[:-1], "é" * 64, "\udce9" * 64, "é" * 44):
        assert ticket.read(SECRET, text, NOW) is None


def test_the_token_follows_from_the_session_and_the_secret() -> None:
    token = ticket.swap_token(SECRET, SESSION)
    assert len(token) == 32 and token == ticket.swap_token(SECRET, SESSION)
    assert token not in SESSION
    others = {
        ticket.swap_token(OTHER, SESSION),
        ticket.swap_token(SECRET, ticket.begin(SECRET, MAC, b"other!", NOW)),
        ticket.issue(SECRET, MAC)[12:],
        ticket.order_key(SECRET, "reboot", MAC, int(NOW)),
    }
    assert token not in others and len(others) == 4


def test_a_path_names_its_seat_or_nobody() -> None:
    for who in (MAC, SESSION, ticket.issue(SECRET, MAC), ""):
        assert ticket.split(f"{who}/arm64/linux.efi") == (who, "arm64/linux.efi")
    for path in ("bios.ipxe", "arm64/linux.efi", f"{MAC}", f"{SESSION}0/x", f"{MAC.upper()}0/x"):
        assert ticket.split(path) == ("", path)


def test_the_key_of_a_panel_is_no_other_key() -> None:
    key = ticket.panel_key(SECRET)
    assert ticket.is_panel_key(SECRET, key) and key != ticket.panel_key(OTHER)
    for text in ("", "panel", key[:-1], f"{key}0", ticket.panel_key(OTHER), SESSION, "é\udce9"):
        assert not ticket.is_panel_key(SECRET, text)
    assert ticket.read(SECRET, key, NOW) is None
