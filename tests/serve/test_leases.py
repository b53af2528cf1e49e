"""The answer to a seat that asks for swap: one line, and all its readers read the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.errors import AnswerError
from netboot.pages.nbd.export import Refused
from netboot.serve.leases import Answer, Ended, Granted, parse, serialize

CASES: list[tuple[Answer, str]] = [
    (Granted(536870912), "size=536870912"),
    (Granted(4096, "00ff"), "size=4096 token=00ff"),
    (Refused("no room: 2 GiB asked, 1 GiB left"), "refused=no room: 2 GiB asked, 1 GiB left"),
    (Ended(), "ended"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "line"), CASES)
def test_each_answer_is_a_line(answer: Answer, line: str) -> None:
    assert serialize(answer) == line
    assert parse(f"{line}\n") == answer


@pytest.mark.parametrize(
    "line", ["", "size=", "size=x", "size=1 token=", "token=a", "404", "size=१"]
)
def test_anything_else_is_no_answer(line: str) -> None:
    with pytest.raises(AnswerError, match="expected size=BYTES or refused=REASON"):
        parse(line)


@given(st.text())
def test_any_line_is_an_answer_or_an_error(line: str) -> None:
    try:
        assert isinstance(parse(line), Granted | Ended | Refused)
    except AnswerError as error:
        assert "\n" not in str(error)
