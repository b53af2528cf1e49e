"""The client of a running server's status and orders."""

import pytest

from netboot.errors import OperatorError
from netboot.serve.http.status import fetch_status, give_order


def test_a_server_that_is_away_is_named_without_the_library_s_words() -> None:
    expected = "^no netboot server answers at 127.0.0.1:1: Connection refused$"
    with pytest.raises(OperatorError, match=expected):
        fetch_status("127.0.0.1:1")
    with pytest.raises(OperatorError, match=expected):
        give_order("127.0.0.1:1", "key", "52:54:00:12:34:56", "reboot")
