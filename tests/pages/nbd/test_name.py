"""The parts of the name that a client asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.pages.nbd.name import WireName


@pytest.mark.parametrize(
    ("text", "export", "token", "set_number"),
    [
        ("swap", "swap", "", 0),
        ("swap.img", "swap.img", "", 0),
        ("swap@secret", "swap", "secret", 0),
        ("swap@secret.", "swap", "secret", 0),
        ("swap@secret.fF", "swap", "secret", 255),
        ("swap@secret.ffffffffffffffff", "swap", "secret", (1 << 64) - 1),
        ("swap@secret.10000000000000000", "swap", "secret", None),
        ("swap@secret.0x1", "swap", "secret", None),
        ("swap@secret.1.2", "swap", "secret", None),
        ("", "", "", 0),
    ],
)
def test_each_part(text: str, export: str, token: str, set_number: int | None) -> None:
    assert WireName.parse(text) == WireName(text, export, token, set_number)


@given(st.text())
def test_any_text_has_an_export(text: str) -> None:
    name = WireName.parse(text)
    assert name.text == text and text.startswith(name.export) and "@" not in name.export
