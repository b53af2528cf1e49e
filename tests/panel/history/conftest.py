"""The same tests against a SQLite file and a real PostgreSQL."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netboot.panel.history import History, Limits, postgresql, sqlite, writer
from tests.panel.history.rig import NOW, Clock
from tests.support.postgresql import PostgresqlServer, missing

Make = Callable[..., History]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server for all tests."""
    if reason := missing():
        pytest.skip(reason)
    made = PostgresqlServer()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.root, pytest.mark.system])]
)
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return ""
    made: PostgresqlServer = request.getfixturevalue("server")
    return made.create(f"history{next(_numbers)}")


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def make(url: str, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Start histories of the same database, and close them in the end."""
    monkeypatch.setattr(writer, "BATCH_SECONDS", 0.02)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.3)
    monkeypatch.setattr(postgresql, "LOCK_SECONDS", 0.3)
    made: list[History] = []

    def start(limits: Limits | None = None) -> History:
        made.append(History(tmp_path, url, limits=limits, clock=clock))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def history(make: Make) -> History:
    return make()
