"""Tickets, and the keys of orders."""

import pytest

from netboot.boot.ticket import ORDER_SECONDS, issue, order_key, order_refusal, seat_of

SECRET, MAC, NOW = b"s" * 32, "52:54:00:12:34:56", 1_795_000_000
KEY = order_key(SECRET, "reboot", MAC, NOW)


def test_a_ticket_names_its_seat_and_no_other_text_does() -> None:
    assert seat_of(SECRET, issue(SECRET, MAC)) == MAC
    for text in ("", "x", "\udcff" * 44, issue(b"t" * 32, MAC)):
        assert seat_of(SECRET, text) is None


def test_a_key_is_good_for_one_order_to_one_seat_and_for_a_minute() -> None:
    for now in (NOW - ORDER_SECONDS, NOW + 0.5, NOW + ORDER_SECONDS):
        assert order_refusal(SECRET, KEY, "reboot", MAC, now) == ""
    assert "61 s old" in order_refusal(SECRET, KEY, "reboot", MAC, NOW + 61)
    assert "-61 s old" in order_refusal(SECRET, KEY, "reboot", MAC, NOW - 61)
    for order, mac in (("poweroff", MAC), ("reboot", "52:54:00:12:34:57")):
        assert "wrong key" in order_refusal(SECRET, KEY, order, mac, NOW)
    assert "wrong key" in order_refusal(b"t" * 32, KEY, "reboot", MAC, NOW)
    later = KEY.replace(str(NOW), str(NOW + 100))
    assert "wrong key" in order_refusal(SECRET, later, "reboot", MAC, NOW + 100)


@pytest.mark.parametrize("key", ["", "-", "1-", "x-" + "0" * 32, "9" * 5000 + "-", "²-", "\udcff"])
def test_any_other_text_is_a_wrong_key(key: str) -> None:
    assert "wrong key" in order_refusal(SECRET, key, "reboot", MAC, NOW)
    assert "wrong key" in order_refusal(SECRET, f"{NOW}-{key}", "reboot", MAC, NOW)


def test_the_key_of_an_older_release_is_told_as_such() -> None:
    assert "update the netboot" in order_refusal(SECRET, "0" * 32, "reboot", MAC, NOW)
