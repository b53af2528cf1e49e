"""The version of the history's tables: made, migrated, or refused. In one transaction."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, func, inspect, select, update

from netboot.errors import OperatorError
from netboot.panel.history.schema import METADATA, meta

Migration = Callable[[Connection], None]

# The n-th one makes version n + 1 of version n (from 1). It must not use netboot.panel.history.schema, which
# is of the newest version. A row in here is never changed after its release.
MIGRATIONS: tuple[Migration, ...] = ()

ADVISORY_LOCK = 0x6E626F6F74  # "nboot": one panel at a time makes or migrates tables


class RefusedError(OperatorError):
    """A database that this release must not touch."""


def prepare(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Make the tables if there are none, and migrate older ones, in the caller's transaction.

    Raises RefusedError for tables of a newer release, or of another program.
    """
    version = 1 + len(migrations)
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    found = _version(connection)
    if found is None:
        _create(connection, version)
        return
    if found > version:
        raise RefusedError(
            f"the history has tables of version {found}, expected at most {version}: "
            "a newer release of netboot made them",
            hint="install that release again, or give the panel another database (panel.database)",
        )
    for migrate in migrations[found - 1 :]:
        migrate(connection)
    if found < version:
        connection.execute(update(meta).where(meta.c.name == "version").values(value=str(version)))


def _version(connection: Connection) -> int | None:
    """Return the version of the tables, None if there are none of ours. Raises RefusedError."""
    there = set(inspect(connection).get_table_names())
    if meta.name not in there:
        foreign = sorted(there & set(METADATA.tables))
        if foreign:
            raise _foreign(f"a table '{foreign[0]}' and no table '{meta.name}'")
        return None
    columns = {column["name"] for column in inspect(connection).get_columns(meta.name)}
    if not columns >= set(meta.columns.keys()):
        raise _foreign(f"a table '{meta.name}' with other columns")
    value = connection.scalar(select(meta.c.value).where(meta.c.name == "version"))
    if value is None or not value.isdecimal() or int(value) < 1:
        raise _foreign(f"a table '{meta.name}' without a version")
    return int(value)


def _foreign(found: str) -> RefusedError:
    return RefusedError(
        f"the history's database is another program's: it has {found}",
        hint="give the panel a database of its own (panel.database)",
    )


def _create(connection: Connection, version: int) -> None:
    METADATA.create_all(connection)
    connection.execute(meta.insert(), [{"name": "version", "value": str(version)}])
