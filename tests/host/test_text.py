"""Text of strangers on one harmless line."""

import pytest

from netboot.host.text import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, also Ümläute", "plain, also Ümläute"),
        ("\x1b]0;owned\x07x", "?]0;owned?x"),
        ("a\nb\tc\rd\x9be", "a?b?c?d?e"),
        ("\u202egnp.exe\u2066", "?gnp.exe?"),
        ("x" * 11, "xxxxxxx..."),
        ("x" * 10, "x" * 10),
    ],
)
def test_nothing_in_it_moves_a_cursor(text: str, shown: str) -> None:
    assert printable(text, 10 if "xxx" in text else 50) == shown


def test_lines_stay_lines() -> None:
    assert printable_lines("one\n\x1b[2Jtwo\n") == "one\n?[2Jtwo\n"
