"""Hashes of passwords: those of "hello", of which OpenSSL has made the first one."""

import pytest

from netboot.host.passwords import MAX_PASSWORD_BYTES, is_password

HASHES = (
    "$6$saltsalt$YTeBOLnmm3CoeJTzBuijUEtOEWCqrw/nQ8/AeMmON4LGp3k0ZiMjC1OdqzWFUAfDQBvYkOch9BWtQTBcZ1E/p0",
    "$y$j9T$yxb1aWl2o0rlAlPA9pWLP1$FhS2oBo7ZftVFqfOeU072zxQMMyZhIQqYLhuX2.jby2",
    "$2b$05$abcdefghijklmnopqrstuuWHxnxkyNt6AHCwFMQaY6auyqJA8E98a",
)


@pytest.mark.parametrize("hashed", HASHES)
def test_a_hash_has_one_password(hashed: str) -> None:
    assert is_password("hello", hashed)
    for other in ("hello ", "Hello", "hell", hashed):
        assert not is_password(other, hashed)


@pytest.mark.parametrize("text", ["", "a\0b", "x" * (MAX_PASSWORD_BYTES + 1), "*", "*0"])
@pytest.mark.parametrize("hashed", ["", "*", "*0", "hello", "$y$j9T$broken"])
def test_what_is_no_hash_has_no_password(text: str, hashed: str) -> None:
    assert not is_password(text, hashed)
