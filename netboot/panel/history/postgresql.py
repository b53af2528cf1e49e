"""PostgreSQL as the history's database: connections with limits, and what its errors mean."""

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError

from netboot.errors import OperatorError
from netboot.panel.history.schema import METADATA

CONNECT_SECONDS = 5
WRITE_SECONDS = 60  # of one statement: the hours of a day of 1,000 seats take 2
LOCK_SECONDS = 2.0
ROW_BYTES = 40  # of a row, beside its values: its place in the page, and in an index

_REASONS = {
    "53100": "the disk of {where} is full; make room there",
    "53300": "{where} has too many connections; raise its max_connections",
    "55P03": "another program has locked {where}; end that program",
    "57014": "the question took too long; ask for a shorter time",
    "57P01": "{where} shuts down; start it again",
    "57P03": "{where} is starting; wait",
    "28P01": "{where} refused the password; check panel.database",
    "28000": "{where} refused the user; check panel.database",
    "3D000": "{where} has no such database; make it with createdb",
    "42501": "{where} does not let the user do this; make the user the database's owner",
    "25006": "{where} is read-only; name a server that is not",
}


class Postgresql:
    """A database on a server. ``url`` may have a password, ``where`` has none."""

    def __init__(self, url: URL, read_seconds: float) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self._read_seconds = read_seconds
        shown = URL.create("postgresql", url.username, None, url.host, url.port, url.database)
        self.where = f"'{shown.render_as_string()}'"

    def identity(self) -> object:
        """Return a constant: another database has another URL."""
        return self.where

    def writer(self) -> Engine:
        """Return an engine with one connection. Raises OperatorError without a driver."""
        return self._engine(1, WRITE_SECONDS, "off")

    def reader(self, most: int) -> Engine:
        """Return an engine with ``most`` connections that cannot write and have a time limit."""
        return self._engine(most, self._read_seconds, "on")

    def is_garbage(self, error: Exception) -> bool:
        """Return False: a server looks after its files."""
        return False

    def set_aside(self, reason: str) -> None:
        """Do nothing."""

    def reason(self, error: Exception) -> str:
        """Return cause and remedy."""
        orig = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(orig, "sqlstate", None)
        if state in _REASONS:
            return _REASONS[state].format(where=self.where)
        first = next(iter(str(orig).strip().splitlines()), type(orig).__name__)
        if state is None:
            for cause in ("Connection refused", "No such file or directory", "timeout expired"):
                if cause in str(orig):
                    first = cause.lower()
            return (
                f"no PostgreSQL answers at {self.where}: {first}; start it, or check panel.database"
            )
        return f"{self.where}: {first} ({state}); see the log of PostgreSQL"

    def size(self, connection: Connection) -> int:
        """Return about the bytes of all rows. Files are larger until PostgreSQL vacuums them."""
        whole = 0
        for table in METADATA.sorted_tables:
            # The whole row as one value: its columns and its header.
            row = func.pg_column_size(table.table_valued())
            sums = select(func.coalesce(func.sum(row), 0), func.count()).select_from(table)
            values, rows = connection.execute(sums).one()
            whole += int(values) + int(rows) * ROW_BYTES
        return whole

    def shrink(self, connection: Connection) -> None:
        """Do nothing: autovacuum does it."""

    def _engine(self, most: int, seconds: float, read_only: str) -> Engine:
        try:
            engine = create_engine(
                self._url,
                pool_size=most,
                max_overflow=0,
                pool_timeout=self._read_seconds,
                pool_pre_ping=True,
                hide_parameters=True,
                connect_args={
                    "connect_timeout": CONNECT_SECONDS,
                    "application_name": "netboot panel",
                    "client_encoding": "utf8",
                    # A server whose cable is pulled is told within about 10 s.
                    "keepalives_idle": 5,
                    "keepalives_interval": 2,
                    "keepalives_count": 3,
                    "tcp_user_timeout": 10_000,
                    "prepare_threshold": None,  # PgBouncer may give us another session each time
                },
            )
        except ModuleNotFoundError:
            raise OperatorError(
                "panel.database: the driver of PostgreSQL (psycopg) is not installed",
                hint="pip install 'netboot-classroom[postgresql]'",
            ) from None

        @event.listens_for(engine, "connect")
        def _limit(connection: Any, record: object) -> None:
            limits = {
                "statement_timeout": f"{int(seconds * 1000)}",
                "lock_timeout": f"{int(LOCK_SECONDS * 1000)}",
                "idle_in_transaction_session_timeout": f"{WRITE_SECONDS * 1000}",
                "default_transaction_read_only": read_only,
            }
            connection.autocommit = True
            for name, value in limits.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            connection.autocommit = False

        return engine
