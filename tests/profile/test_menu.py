"""The section boot.menu: mistakes are told in one line each, with the nearest valid value."""

import pytest

from netboot.errors import OperatorError
from netboot.profile import file as profile_file
from netboot.profile.profile import Profile

HASH = "$y$j9T$yxb1aWl2o0rlAlPA9pWLP1$WsHwGj0tWcbeZkdAdYvLLPjXL0LyjwuRjKaEEFYH9l6"


def mistake(menu: str) -> str:
    with pytest.raises(OperatorError) as caught:
        profile_file.parse(f"boot: {{menu: {menu}}}", "room.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("menu", "told"),
    [
        ("{entries: [resque]}", "expected images, rescue, local or memtest, found 'resque'; did you mean 'rescue'?"),
        ("{entries: [local, local]}", "one of them is listed twice"),
        ("{others: {A: 'http://x/y.iso'}}", "did you mean 'iso http://x/y.iso'?"),
        ("{others: {A: 'http://x/y.ipxe'}}", "did you mean 'chain http://x/y.ipxe'?"),
        ("{others: {A: 'chain x/y.ipxe'}}", "did you mean 'chain http://x/y.ipxe'?"),
        ("{others: {A: 'kernel x/y http://x/z a=b'}}", "expected chain URL, iso URL"),
        ("{others: {A: 'linus x/y http://x/z a=b'}}", "did you mean 'linux http://x/y http://x/z a=b'?"),
        ("{others: {A: 'linus http://x/y a=b'}}", "did you mean 'linux http://x/y a=b'?"),
        ("{others: {A: 'iso http://x/$$'}}", "expected chain URL, iso URL, or linux URL URL WORDS"),
        ("{others: {A: 'chain http://me:secret@x/y'}}", "expected URLs without a password"),
        ("{others: {A: 'iso'}}", "expected chain URL, iso URL"),
        ("{others: {A: ''}}", "expected chain URL, iso URL"),
        ("{others: {'- x': 'iso http://x/y'}}", "expected a name of at most 50 characters"),
        ("{others: {Local: 'iso http://x/y'}}", "is too much like entry 'local'"),
        ("{others: {Boot: 'iso http://x/y'}}", "is too much like entry 'boot'"),
        ("{others: {A 1: 'iso http://x/y', a-1: 'iso http://x/y'}}", "is too much like 'A 1'"),
        ("{others: {Image kiosk: 'iso http://x/y'}}", "is too much like an image of 'images'"),
        ("{entries: local, key: M}", "expected a small letter such as m, found 'M'; did you mean 'm'?"),
        ("{entries: local, key: F8}", "expected a small letter such as m, found 'F8'"),
        ("{entries: local, wait: 2m}", "expected a duration from 0s to 1m"),
        ("{entries: local, timeout: 0}", "expected a duration from 1s to 1h"),
        (f"{{password: {HASH}}}", "without 'entries' or 'others' there is no menu"),
        ("{entry: local}", "did you mean 'entries'?"),
    ],
)  # fmt: skip
def test_a_mistake_has_one_line(menu: str, told: str) -> None:
    text = mistake(menu)
    assert told in text and text.count("\n") == 0
    assert "secret" not in text


def test_a_password_is_not_shown() -> None:
    text = mistake("{entries: local, password: geheim}")
    assert "expected the hash of a password" in text and "geheim" not in text


def test_a_profile_without_the_section_has_no_menu() -> None:
    assert not Profile().boot.menu.is_on
    assert not profile_file.parse("boot: {menu: {key: x}}", "room.yaml").boot.menu.is_on


def test_a_menu_is_read_and_its_hash_is_a_secret_of_the_profile() -> None:
    text = f"boot: {{menu: {{entries: 'images, local', others: {{A: iso http://x/y}}, password: {HASH}}}}}"
    profile = profile_file.parse(text, "room.yaml")
    assert profile.boot.menu.is_on and profile.boot.menu.entries == ("images", "local")
    assert profile.has_hashes and not Profile().has_hashes
    assert HASH not in repr(profile)
