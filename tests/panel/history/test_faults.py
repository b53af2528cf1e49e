"""The database is gone, full, locked, damaged, older or newer: nobody waits, one line a minute tells it."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, inspect, text

from netboot.errors import OperatorError
from netboot.panel.history import History, writer
from netboot.panel.history.database import Database
from netboot.panel.history.records import Record
from netboot.panel.ports import PortError
from netboot.panel.records import AuditEntry
from tests.panel.history.conftest import Make
from tests.panel.history.rig import MAC, NOW, Clock, boot, eventually, row, run, written
from tests.support.postgresql import PostgresqlServer

OVER = "history: written again after"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name.startswith("netboot.panel")]


def give(history: History, index: int = 0) -> None:
    history.boot("alpha", MAC, "pc01", boot(NOW + index))


def test_a_locked_database_is_told_once_and_nothing_is_lost(
    history: History, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    give(history)
    written(history)
    with locked(url, tmp_path):
        for index in range(1, 20):
            give(history, index)
            time.sleep(0.01)
        eventually(lambda: lines(caplog))
        with pytest.raises(
            PortError, match=r"cannot be written: another program has locked .*; end"
        ):
            run(history.save_plan((("a",),)))
        assert history.waiting > 0
    written(history)
    eventually(lambda: len(lines(caplog)) == 2)
    told, over = lines(caplog)
    assert told.startswith("history: cannot be written: another program has locked '")
    assert over.startswith(OVER)
    assert "0 records are lost" in over
    assert len(run(history.boots(MAC, 50))) == 20


@contextmanager
def locked(url: str, folder: Path) -> Iterator[None]:
    """Hold a lock that a writer needs; readers of SQLite go on."""
    if url:
        with psycopg.connect(url) as holder:
            holder.execute("LOCK TABLE boots, plan IN ACCESS EXCLUSIVE MODE")
            yield
    else:
        holder_of_file = sqlite3.connect(folder / "history.sqlite", isolation_level=None)
        holder_of_file.execute("BEGIN EXCLUSIVE")
        yield
        holder_of_file.close()


def test_tables_that_vanish_are_made_again(
    history: History, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history.seat("alpha", row(NOW))
    give(history)
    written(history)
    assert len(run(history.boots(MAC, 50))) == 1
    if url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
    else:
        for path in tmp_path.glob("history.sqlite*"):
            path.unlink()
    give(history, 1)
    eventually(lambda: not history.waiting)
    assert [each.began for each in run(history.boots(MAC, 50))] == [NOW + 1]
    # A writer that just found the file there finds it without tables: it tells, and writes again.
    eventually(lambda: len(lines(caplog)) in ((2,) if url else (0, 2)))
    assert all("0 records are lost" in over for over in lines(caplog)[1:])


@pytest.mark.root
@pytest.mark.system
def test_a_server_that_is_away_is_told_once_and_comes_back(
    server: PostgresqlServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(writer, "BATCH_SECONDS", 0.02)
    url = server.create("away")
    server.stop()
    history = History(tmp_path, url, clock=Clock(NOW))
    try:
        history.start()
        give(history)
        with pytest.raises(
            PortError, match="no PostgreSQL answers at 'postgresql://postgres@/away'"
        ):
            run(history.boots(MAC, 1))
        with pytest.raises(PortError, match="cannot be written: no PostgreSQL answers"):
            run(history.save_plan(()))
        time.sleep(0.3)
        server.start()
        written(history)
        assert len(run(history.boots(MAC, 5))) == 1
        server.stop()  # with open connections
        give(history, 1)
        time.sleep(0.2)
        server.start()
        written(history)
        assert len(run(history.boots(MAC, 5))) == 2
    finally:
        history.close()
        if server.is_stopped:
            server.start()
    assert len([each for each in lines(caplog) if OVER not in each]) == 1
    assert history.lost == 0


def test_the_end_waits_a_few_seconds_at_most(
    history: History, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CLOSE_SECONDS", 0.5)
    with locked(url, tmp_path):
        give(history)
        begin = time.monotonic()
        history.close()
        assert time.monotonic() - begin < 10
        eventually(lambda: "history" not in {each.name for each in threading.enumerate()})


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.root
@pytest.mark.system
def test_a_full_disk_is_told_once_and_over_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "BATCH_SECONDS", 0.02)
    with small_disk(tmp_path / "disk", 4) as folder:
        history = History(folder, clock=Clock(NOW))
        history.start()
        fill_up(history, folder / "ballast", caplog)
        assert "the disk of '" in lines(caplog)[0]
        assert "is full; make room there" in lines(caplog)[0]
        assert run(history.audit(1)), "a full disk can be read"
        (folder / "ballast").unlink()
        written(history)
        eventually(lambda: len(lines(caplog)) == 2)
        assert OVER in lines(caplog)[1]
        assert history.lost == 0
        history.close()


@pytest.mark.root
@pytest.mark.system
def test_a_full_disk_of_a_server_is_told_once_and_over_once(
    server: PostgresqlServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(writer, "BATCH_SECONDS", 0.02)
    with small_disk(server.folder / "disk", 12) as folder:
        (folder / "space").mkdir()
        subprocess.run(["chown", "postgres", folder / "space"], check=True)
        server.execute("postgres", f"CREATE TABLESPACE small LOCATION '{folder}/space'")
        server.execute("postgres", "CREATE DATABASE full_one TABLESPACE small")
        history = History(tmp_path, server.url("full_one"), clock=Clock(NOW))
        try:
            history.start()
            fill_up(history, folder / "ballast", caplog)
            assert "is full; make room there" in lines(caplog)[0]
            (folder / "ballast").unlink()
            written(history)
            eventually(lambda: len(lines(caplog)) == 2)
            assert OVER in lines(caplog)[1]
        finally:
            history.close()
            server.execute("postgres", "DROP DATABASE full_one WITH (FORCE)")
            server.execute("postgres", "DROP TABLESPACE small")


def fill_up(history: History, ballast: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fill the disk, and give records until the writer tells it."""
    history.note(AuditEntry(NOW, "anna", "", "login"))
    written(history)
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(65536))
    text_of_entry = "x" * 1500
    while not lines(caplog):
        history.note(AuditEntry(NOW, "anna", "", "login", detail=text_of_entry))
        time.sleep(0.001)


@pytest.mark.parametrize(
    "content", [b"no database at all " * 1000, b"SQLite format 3\0" + bytes(9000)]
)
def test_a_file_that_is_no_database_is_set_aside(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history.sqlite").write_bytes(content)
    (tmp_path / "history.sqlite-wal").write_bytes(content)
    history = History(tmp_path, clock=Clock(NOW))
    history.start()
    run(history.save_plan((("a",),)))
    history.close()
    assert (tmp_path / "history.sqlite.aside-1").read_bytes() == content
    (line,) = [each.getMessage() for each in caplog.records]
    assert "set aside" in line


def test_a_file_that_is_damaged_while_it_is_used_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "BATCH_SECONDS", 0.02)
    path = tmp_path / "history.sqlite"
    first = History(tmp_path, clock=Clock(NOW))
    first.start()
    for index in range(2000):
        give(first, index)
    written(first)
    first.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    second = History(tmp_path, clock=Clock(NOW))
    second.start()
    give(second)
    written(second)
    assert len(run(second.boots(MAC, 5000))) == 1
    second.close()
    assert (tmp_path / "history.sqlite.aside-1").exists()
    assert second.lost == 0


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing"])
def test_a_place_where_no_file_can_be_is_told(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "history.sqlite"
    folder = tmp_path
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        subprocess.run(["mkfifo", path], check=True)
    else:
        folder = tmp_path / "file" / "below"
        (tmp_path / "file").touch()
    history = History(folder, clock=Clock(NOW))
    history.start()
    with pytest.raises(PortError, match=r"^the history cannot be read: .*; check"):
        run(history.boots(MAC, 1))
    with pytest.raises(PortError, match=r"^the history cannot be written: .*; check"):
        run(history.save_plan(()))
    history.close()
    assert len(lines(caplog)) == 1


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").touch(mode=0o644)
    history = History(tmp_path, clock=Clock(NOW))
    history.start()
    run(history.save_plan((("a",),)))
    found = list(tmp_path.glob("history.sqlite*"))
    assert len(found) == 3
    assert {each.stat().st_mode & 0o777 for each in found} == {0o600}
    history.close()


def test_a_record_that_cannot_be_stored_costs_no_other(
    history: History, caplog: pytest.LogCaptureFixture
) -> None:
    for began in (NOW, float("nan"), NOW + 1):
        history.boot("alpha", MAC, "pc01", boot(began))
    written(history)
    eventually(lambda: history.lost == 1)
    assert len(run(history.boots(MAC, 5))) == 2
    eventually(lambda: lines(caplog))
    (line,) = lines(caplog)
    assert line.startswith("history: a record cannot be stored: ")


def test_records_that_are_written_one_by_one_wait_until_they_are(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    write = writer.Writer._write

    def counted(self: writer.Writer, records: list[Record]) -> None:
        seen.append(self.waiting)
        write(self, records)

    monkeypatch.setattr(writer.Writer, "_write", counted)
    for began in (NOW, float("nan"), NOW + 1):
        history.boot("alpha", MAC, "pc01", boot(began))
    written(history)
    assert history.lost == 1 and len(seen) > 1 and 0 not in seen


def test_the_queue_has_a_bound_and_what_people_did_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(writer, "MOST_QUEUED", 30)
    monkeypatch.setattr(writer, "MOST_SAMPLES", 20)
    history = History(tmp_path, clock=clock)  # nobody writes
    for index in range(40):
        clock.now = NOW + 60 * index
        history.seat("alpha", row(clock.now))
    assert history.waiting == 20
    for _ in range(15):
        history.note(AuditEntry(NOW, "anna", "", "login"))
    assert history.waiting == 30
    assert history.lost > 0
    history.close()


def test_a_newer_release_s_tables_are_refused_in_one_line(
    make: Make, url: str, tmp_path: Path
) -> None:
    make().close()
    change(url, tmp_path, "UPDATE meta SET value = '99' WHERE name = 'version'")
    with pytest.raises(OperatorError, match=r"tables of version 99, expected at most 1") as caught:
        make()
    assert "\n" not in str(caught.value)
    assert "panel.database" in caught.value.hint


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE boots (x INTEGER)", "CREATE TABLE meta (x INTEGER)"]
)
def test_tables_of_another_program_are_refused(
    statement: str, make: Make, url: str, tmp_path: Path
) -> None:
    change(url, tmp_path, statement)
    with pytest.raises(OperatorError, match="another program's: it has a table"):
        make()


def change(url: str, folder: Path, statement: str) -> None:
    """Change a database behind the history's back."""
    if url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())
    else:
        with sqlite3.connect(folder / "history.sqlite") as connection_of_file:
            connection_of_file.execute(statement)
        connection_of_file.close()


def add_column(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE boots ADD COLUMN weather TEXT DEFAULT 'dry'"))


def add_table(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE novelty (id INTEGER PRIMARY KEY)"))


def fail(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE half (id INTEGER PRIMARY KEY)"))
    connection.execute(text("DROP TABLE of_nobody"))


def end(used: Database) -> None:
    used.close_writer()
    used.close_readers()


def test_older_tables_are_migrated_in_steps_and_keep_their_rows(
    make: Make, url: str, tmp_path: Path
) -> None:
    history = make()
    give(history)
    history.close()
    for migrations in ((add_column,), (add_column, add_table), (add_column, add_table)):
        newer = Database(url, tmp_path)
        newer.migrations = migrations
        assert newer.prepare() is True
        assert newer.prepare() is False
        tables = newer.read(lambda connection: inspect(connection).get_table_names())
        found = newer.read(
            lambda connection: connection.execute(text("SELECT weather FROM boots")).scalars().all()
        )
        version = newer.read(
            lambda connection: connection.scalar(
                text("SELECT value FROM meta WHERE name='version'")
            )
        )
        end(newer)
        assert found == ["dry"]
        assert version == str(len(migrations) + 1)
        assert ("novelty" in tables) is (add_table in migrations)


def test_a_migration_that_fails_changes_nothing(make: Make, url: str, tmp_path: Path) -> None:
    make().close()
    newer = Database(url, tmp_path)
    newer.migrations = (add_table, fail)
    with pytest.raises(Exception, match="of_nobody"):
        newer.prepare()
    end(newer)
    older = Database(url, tmp_path)
    assert older.prepare() is True
    tables = older.read(lambda connection: inspect(connection).get_table_names())
    end(older)
    assert not {"novelty", "half"} & set(tables)


def test_a_reader_has_a_time_limit_and_cannot_write(make: Make, url: str, tmp_path: Path) -> None:
    make().close()
    slow = Database(url, tmp_path, read_seconds=0.3)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with pytest.raises(PortError, match="the question took too long; ask for a shorter time"):
        slow.read(lambda connection: connection.scalar(text(endless)))
    with pytest.raises(PortError):
        slow.read(lambda connection: connection.execute(text("DELETE FROM boots")))
    assert slow.read(lambda connection: connection.scalar(text("SELECT count(*) FROM boots"))) == 0
    end(slow)


def test_too_many_questions_at_once_are_refused(make: Make, url: str, tmp_path: Path) -> None:
    make().close()
    used = Database(url, tmp_path, read_seconds=0.1)

    def nested(depth: int) -> None:
        used.read(lambda connection: nested(depth - 1) if depth else None)

    nested(3)
    with pytest.raises(PortError, match="too many questions to '.*' at once; ask again"):
        nested(4)
    end(used)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("mysql://root:secret@host/x", "'mysql://'"),
        ("no url; secret", "no URL"),
        ("sqlite:///secret", "'sqlite://'"),
    ],
)
def test_a_wrong_url_is_one_line_without_its_password(url: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="panel.database: expected postgresql://") as caught:
        History(tmp_path, url)
    assert found in str(caught.value)
    assert "secret" not in caught.value.text()


def test_a_password_is_never_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = "postgresql://anna:secret@127.0.0.1:1/room?options=secret"
    history = History(tmp_path, url, clock=Clock(NOW))
    history.start()
    with pytest.raises(PortError) as caught:
        run(history.save_plan(()))
    history.close()
    expected = "no PostgreSQL answers at 'postgresql://anna@127.0.0.1:1/room': connection refused;"
    assert expected in str(caught.value)
    told = lines(caplog)
    assert "secret" not in " ".join([str(caught.value), history.where, *told])
    assert len(told) == 1


def test_without_a_driver_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(OperatorError, match="psycopg") as caught:
        Database("postgresql://a@b/c", tmp_path)
    assert "pip install" in caught.value.hint
