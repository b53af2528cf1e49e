"""The database behind the history: connections to it, its tables, and errors in one line.

Two ways lead to it. The writer's has one connection, used by one thread. The readers' connections
cannot write, and each of their statements has a time limit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from netboot.errors import OperatorError
from netboot.panel.history.postgresql import Postgresql
from netboot.panel.history.sqlite import Sqlite
from netboot.panel.history.versions import MIGRATIONS, RefusedError, prepare
from netboot.panel.ports import PortError

FILE = "history.sqlite"
READERS = 4
READ_SECONDS = 5.0

T = TypeVar("T")


class Database:
    """A SQLite file or a PostgreSQL database. ``where`` names it for a person, without a password."""

    def __init__(self, url: str, folder: Path, *, read_seconds: float = READ_SECONDS) -> None:
        """Open nothing yet. An empty ``url`` is SQLite in ``folder``. Raises OperatorError."""
        self._kind = _kind(url, folder, read_seconds)
        self.where = self._kind.where
        self._writer = self._kind.writer()
        self._reader = self._kind.reader(READERS)
        self._prepared: object = None
        self._refused = ""
        self.migrations = MIGRATIONS

    def prepare(self) -> bool:
        """Make or migrate the tables, unless that is done; return True if it was not.

        Raises RefusedError for tables that are not ours, SQLAlchemyError and OSError.
        """
        if self._prepared is not None and self._prepared == self._kind.identity():
            return False
        self._prepared = None
        try:
            with self._writer.begin() as connection:
                prepare(connection, self.migrations)
        except RefusedError as error:
            self._refused = f"{error}; {error.hint}"
            raise
        except (SQLAlchemyError, OSError) as error:
            self.failed(error)
            raise
        self._refused = ""
        self._prepared = self._kind.identity()
        return True

    def write(self, function: Callable[[Connection], T]) -> T:
        """Call ``function`` in a transaction of the writer, after ``prepare``. Raises its errors."""
        try:
            with self._writer.begin() as connection:
                return function(connection)
        except (SQLAlchemyError, OSError) as error:
            self.failed(error)
            raise

    def failed(self, error: Exception) -> None:
        """Look at the tables again before the next write; set a file aside that is no database."""
        self._prepared = None
        if self._kind.is_garbage(error):
            self._writer.dispose()
            self._reader.dispose()
            self._kind.set_aside(self.reason(error))

    def read(self, function: Callable[[Connection], T]) -> T:
        """Call ``function`` with a connection that reads. Raises PortError."""
        if self._refused:
            raise PortError(f"the history cannot be read: {self._refused}")
        try:
            with self._reader.connect() as connection:
                return function(connection)
        except (SQLAlchemyError, OSError) as error:
            raise PortError(f"the history cannot be read: {self.reason(error)}") from error

    def reason(self, error: Exception) -> str:
        """Return *cause; remedy* of an error in one line."""
        if isinstance(error, OperatorError):
            return f"{error}; {error.hint}" if error.hint else str(error)
        if isinstance(error, PoolTimeoutError):
            return f"too many questions to {self.where} at once; ask again"
        return self._kind.reason(error)

    def size(self, connection: Connection) -> int:
        """Return about the bytes of the history."""
        return self._kind.size(connection)

    def shrink(self, connection: Connection) -> None:
        """Give room back that deleted rows had."""
        self._kind.shrink(connection)

    def close_writer(self) -> None:
        """Close the writer's connection. Of the thread that writes: another one would leave it open."""
        self._writer.dispose()

    def close_readers(self) -> None:
        """Close the connections that read."""
        self._reader.dispose()


def _kind(url: str, folder: Path, read_seconds: float) -> Sqlite | Postgresql:
    if not url:
        return Sqlite(folder / FILE, read_seconds)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("postgresql", "postgres"):
        found = "no URL" if parsed is None else f"'{parsed.drivername}://'"
        raise OperatorError(
            f"panel.database: expected postgresql://USER@HOST/DATABASE, found {found}",
            hint="without the key the history is a SQLite file in the state folder",
        )
    return Postgresql(parsed, read_seconds)
