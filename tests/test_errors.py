"""What the operator reads of a mistake."""

from netboot.errors import OperatorError


def test_a_hint_is_a_line_of_its_own() -> None:
    assert OperatorError("it is off").text() == "it is off"
    assert OperatorError("it is off", hint="on").text() == "it is off\n  hint: on"
