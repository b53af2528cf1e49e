"""Our server, the peers and the floor: start with an export in memory, measure, stop."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import OURS
from bench.rows import BEFORE, FLOOR, PEERS
from netboot.host import processes

HERE = Path(__file__).parent
START_SECONDS = 10.0


@dataclass(slots=True)
class Server:
    """A running server. ``backing`` is a peer's file of pages, if the pages are not in its heap."""

    name: str
    pid: int
    port: int
    export: str
    backing: Path | None

    def uri(self, host: str = "127.0.0.1", export: str | None = None) -> str:
        """Return the NBD URI of the first export, or of ``export``."""
        return f"nbd://{host}:{self.port}/{self.export if export is None else export}"

    def tree(self) -> list[int]:
        """Return the server's process and all its descendants."""
        return processes.tree(self.pid)

    def cpu_seconds(self) -> float:
        """Return user and system time of the process tree in seconds, reaped children included."""
        return processes.cpu_seconds(self.pid)

    def pin(self, cpus: set[int]) -> None:
        """Bind all threads of the process tree to ``cpus``."""
        for pid in self.tree():
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setaffinity(int(thread), cpus)

    def resident_bytes(self) -> int:
        """Return the bytes of the tree's heap and of its page files. A mapped file counts once."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("RssAnon:"):
                        total += int(line.split()[1]) << 10
        return total + sum(self._page_files().values())

    def _page_files(self) -> dict[tuple[int, int], int]:
        """Return the allocated bytes of each page file on a tmpfs, by device and inode."""
        paths = [] if self.backing is None else [self.backing]
        for pid in self.tree() if self.name == OURS else ():
            paths += Path(f"/proc/{pid}/fd").glob("*")
        found = {}
        tmpfs = Path("/dev/shm").stat().st_dev
        for path in paths:
            with contextlib.suppress(OSError):
                status = path.stat()
                if status.st_dev == tmpfs:
                    found[status.st_dev, status.st_ino] = status.st_blocks * 512
        return found


def free_port() -> int:
    """Return a port on which no process listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def compile_c(source: Path, folder: Path) -> Path:
    """Compile one of this folder's C programs; return its path."""
    program = folder / source.stem
    words = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread"]
    subprocess.run([*words, "-o", program, source], check=True)
    return program


def _await(port: int, host: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection((host, port), timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _daemon(
    name: str, port: int, size: int, folder: Path, host: str
) -> tuple[list[str], Path | None]:
    """Return a peer's command line and its file of pages. The peer writes FOLDER/NAME.pid."""
    pid = str(folder / f"{name}.pid")
    pages = folder / f"{name}.pages"
    if name == "nbdkit":
        return ["nbdkit", "-P", pid, "-i", host, "-p", str(port), "memory", str(size)], None
    with pages.open("wb") as file:
        file.truncate(size)
    if name == "nbd-server":
        config = folder / "nbd-server.conf"
        config.write_text(
            f"[generic]\nlistenaddr = {host}\nport = {port}\n[a]\nexportname = {pages}\n"
        )
        return ["nbd-server", "-C", str(config), "-p", pid], pages
    node = f"driver=file,node-name=pages,filename={pages},discard=unmap"
    address = f"addr.type=inet,addr.host={host},addr.port={port},max-connections=0"
    words = ["qemu-storage-daemon", "--daemonize", "--pidfile", pid, "--blockdev", node]
    words += ["--nbd-server", address]
    return [*words, "--export", "type=nbd,id=a,name=a,node-name=pages,writable=on"], pages


@contextlib.contextmanager
def running(
    name: str,
    size_bytes: int,
    folder: Path,
    host: str = "127.0.0.1",
    namespace: str | None = None,
    exports: Sequence[str] = ("a",),
    workers: int | None = None,
    store: str = "memory",
    images: Mapping[str, Path] | None = None,
    before: Path | None = None,
) -> Iterator[Server]:
    """Yield a running server with an export of ``size_bytes``.

    Ours has several exports in ``store``, ``images`` by their names, and the given number of workers.
    Files go to ``folder``. ``before`` is a checkout of another commit of ours with its ``.venv``.
    """
    prefix = [] if namespace is None else ["ip", "netns", "exec", namespace]
    port = free_port()
    if name in PEERS:
        words, backing = _daemon(name, port, size_bytes, folder, host)
        started = _daemonized(name, port, [*prefix, *words], folder, backing)
    else:
        if name == FLOOR:
            words = [str(compile_c(HERE / "floor.c", folder)), host, str(port), str(size_bytes)]
        else:
            python = f"{before}/.venv/bin/python" if name == BEFORE else sys.executable
            words = [python, "-P", "-m", "netboot", "pages", "--listen", f"{host}:{port}"]
            words += ["--store", store]
            words += [f"--image={export}={path}" for export, path in (images or {}).items()]
            words += [f"--export={export}={size_bytes >> 20}MiB" for export in exports]
            words += [] if workers is None else [f"--workers={workers}"]
        started = _child(name, port, [*prefix, *words], folder)
    with started as server:
        if namespace is None:
            _await(port, host)
        yield server


@contextlib.contextmanager
def _daemonized(
    name: str, port: int, words: Sequence[str], folder: Path, backing: Path | None
) -> Iterator[Server]:
    pid_file = folder / f"{name}.pid"
    pid_file.unlink(missing_ok=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + START_SECONDS
    while not (pid_file.exists() and pid_file.read_text().strip()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start")
        time.sleep(0.05)
    pid = int(pid_file.read_text())
    try:
        yield Server(name, pid, port, "" if name == "nbdkit" else "a", backing)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if backing is not None:
            backing.unlink(missing_ok=True)


@contextlib.contextmanager
def _child(name: str, port: int, words: Sequence[str], folder: Path) -> Iterator[Server]:
    log = (folder / f"{name}.log").open("wb")
    with log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            if name in (OURS, BEFORE):
                _wait_for_line(folder / f"{name}.log", process)
            yield Server(name, process.pid, port, "a", None)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process; kill it after 5 s."""
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_for_line(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while b"listening" not in path.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"our server did not start: {path.read_text()}")
        time.sleep(0.05)
