"""A panel on fakes, with two accounts."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netboot.panel.login.accounts import Accounts
from netboot.panel.web.access import Panel
from netboot.panel.web.app import create_app
from tests.panel.browser import FAST, Browser
from tests.panel.fakes import Fakes

PASSWORD = "a password of a test"


@dataclass
class Desk:
    """An application on fakes, and what is behind it. ``now``: its clock."""

    fakes: Fakes
    accounts: Accounts
    panel: Panel
    browser: Callable[..., Browser]
    now: float = 1000.0

    def logged_in(self, name: str = "olga", **values: Any) -> Browser:
        """Return a browser with a session."""
        browser = self.browser(**values)
        assert browser.log_in(name, PASSWORD).status == 200
        return browser


@functools.cache
def _account_file() -> bytes:
    """Return a file with the operator olga and the viewer viktor. It is made once: it is synced."""
    with tempfile.TemporaryDirectory() as folder:
        accounts = Accounts(Path(folder), hasher=FAST)
        accounts.begin()
        accounts.add("olga", "operator", PASSWORD)
        accounts.add("viktor", "viewer", PASSWORD)
        return accounts.path.read_bytes()


def make_desk(state: Path, **values: Any) -> Desk:
    """Return an application with these accounts."""
    fakes = Fakes()
    accounts = Accounts(state, hasher=FAST)
    state.mkdir()
    accounts.path.write_bytes(_account_file())
    app = create_app(fakes.ports, accounts, **values)
    panel: Panel = app.state.panel
    desk = Desk(fakes, accounts, panel, lambda **more: Browser(app, **more))
    panel.clock = lambda: desk.now
    panel.wall = lambda: desk.now
    return desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A panel at which anybody may look."""
    return make_desk(tmp_path / "open")


@pytest.fixture
def closed_desk(tmp_path: Path) -> Desk:
    """A panel for accounts only."""
    return make_desk(tmp_path / "closed", login_for_all=True)
