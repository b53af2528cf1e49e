"""Contexts of TLS that trust nobody, while a library is imported."""

import os
import ssl

import pytest

from netboot.host.certificates import VARIABLES, unread


def test_contexts_of_that_time_trust_nobody_and_later_ones_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLES[0], raising=False)
    monkeypatch.setenv(VARIABLES[1], "/etc/ssl/certs")
    with unread():
        assert ssl.create_default_context().get_ca_certs() == []
        assert {os.environ[name] for name in VARIABLES} == {os.devnull}
    assert VARIABLES[0] not in os.environ
    assert os.environ[VARIABLES[1]] == "/etc/ssl/certs"
