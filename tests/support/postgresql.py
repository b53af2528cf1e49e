"""A PostgreSQL server of a test's own: in a temporary folder, on a Unix socket, as user postgres."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

USER = "postgres"
PROGRAMS = "/usr/lib/postgresql/*/bin"  # Debian's; not on anybody's path
START_SECONDS = 60.0
# Without the network, and without care for a power cut.
OPTIONS = (
    *("listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=30"),
    *("shared_buffers=32MB", "autovacuum_naptime=1h", "log_min_messages=fatal"),
)


def missing() -> str:
    """Return why no server can be started here, or an empty text."""
    if os.geteuid() != 0:
        return "needs root: sudo make test"
    return "" if _programs() else "PostgreSQL is not installed: tools/setup test"


def _programs() -> Path | None:
    found = sorted(Path("/").glob(PROGRAMS[1:]))
    return found[-1] if found else None


class PostgresqlServer:
    """A server with no database of anybody. Any local user is let in as anybody."""

    def __init__(self) -> None:
        programs = _programs()
        assert programs is not None, "missing() has looked"
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="netboot-postgresql-"))
        self._process: subprocess.Popen[bytes] | None = None
        user = pwd.getpwnam(USER)
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        initdb = (programs / "initdb", "-D", self._data, "-A", "trust", "-E", "UTF8", "--no-sync")
        self._run(*initdb, "--locale=C.UTF-8")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def is_stopped(self) -> bool:
        """True if it does not run."""
        return self._process is None

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def create(self, database: str) -> str:
        """Make a database, and return its URL."""
        self.execute("postgres", f'CREATE DATABASE "{database}"')
        return self.url(database)

    def execute(self, database: str, statement: str) -> str:
        """Run a statement, and return what psql prints."""
        psql = (self._programs / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", self.folder)
        return self._run(*psql, "-d", database, "-c", statement)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = (f"unix_socket_directories={self.folder}", *OPTIONS)
        words = [word for option in options for word in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # It ends with the tests, whatever ends these.
                [
                    "setpriv",
                    "--pdeathsig",
                    "QUIT",
                    self._programs / "postgres",
                    "-D",
                    self._data,
                    *words,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                user=USER,
                group=USER,
                extra_groups=[],
                cwd=self.folder,
            )
        until = time.monotonic() + START_SECONDS
        ready = (self._programs / "pg_isready", "-q", "-h", self.folder)
        while subprocess.run(ready, check=False).returncode != 0:
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server at once, if it runs; its clients lose their connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # "immediate shutdown" of PostgreSQL
            self._process.wait(START_SECONDS)
            self._process = None

    def remove(self) -> None:
        """End the server and remove its files."""
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=USER,
            group=USER,
            extra_groups=[],
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()
