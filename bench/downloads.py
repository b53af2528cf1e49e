"""Download servers, ours and the peers, in a namespace of their own; and loads on them."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.report import OURS
from bench.servers import Server, end
from bench.transfers import BLKSIZE, WITHOUT_CPU, Row, Sample
from netboot.boot import ticket
from netboot.boot.plan import KERNEL_FILE, image_name
from tests.support.command import SERVE
from tests.support.images import write_manifest

START_SECONDS = 10.0
RUN_SECONDS = 15.0
HTTP_PORT = 8080
MAC = "52:54:00:00:00:01"
PEERS_FOLDER = Path(__file__).parent.parent / ".bench-peers"  # tools/setup-bench


class Files:
    """The files to download, by size, and their folder for each server."""

    def __init__(self, folder: Path, sizes: Sequence[int]) -> None:
        self.folder = folder
        self.names: dict[int, str] = {}
        # Our server has fixed names for its files; the peers take any name.
        loaders = iter(("undionly.kpxe", "snponly.efi"))
        for size in sorted(sizes):
            name = image_name("amd64", KERNEL_FILE) if size >= 64 << 20 else next(loaders)
            self.names[size] = name
            (folder / name).parent.mkdir(exist_ok=True)
            with open("/dev/urandom", "rb") as chance:
                (folder / name).write_bytes(chance.read(size))

    def path(self, size: int) -> Path:
        """Return the file of ``size`` bytes."""
        return self.folder / self.names[size]


class Downloads:
    """Loads on one server, from a namespace of their own."""

    def __init__(self, server: Server, files: Files, host: str, loads: Path, namespace: str):
        self.server = server
        self._files = files
        self._host = host
        self._loads = loads
        self._namespace = namespace

    def sample(self, row: Row) -> Sample:
        """Return one run of a row."""
        before = self.server.cpu_seconds()
        words = ["ip", "netns", "exec", self._namespace, *self._command(row)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        figures = [float(word) for word in done.stdout.split()]
        complete, _, got, seconds = figures[:4]
        cpu = (self.server.cpu_seconds() - before) / got * 1e9
        return Sample(
            done=int(complete),
            failed=row.in_all - int(complete),
            mb_per_s=got / seconds / 1e6,
            server_cpu=None if self.server.name in WITHOUT_CPU else cpu,
            client_cpu=figures[-1] / got * 1e9,
        )

    def _command(self, row: Row) -> list[str]:
        counts = [str(row.at_once), str(row.in_all), str(RUN_SECONDS)]
        name = self._files.names[row.size]
        where = [self._host, str(self.server.port)]
        if row.protocol == "http":
            return [str(self._loads / "http_load"), *where, self._url(name), str(row.size), *counts]
        path = str(self._files.path(row.size))
        terms = [str(BLKSIZE), str(row.windowsize)]
        return [str(self._loads / "tftp_load"), *where, name, path, *terms, *counts]

    def _url(self, name: str) -> str:
        if self.server.name != OURS:
            return f"/{name}"
        secret = (self._files.folder / "state" / "secret").read_bytes()
        session = ticket.begin(secret, MAC, bytes(ticket.NONCE_BYTES), time.time())
        return f"/boot/{session}/{name}"


@contextlib.contextmanager
def running(name: str, protocol: str, files: Files, host: str, namespace: str) -> Iterator[Server]:
    """Yield the server ``name``, running in ``namespace`` at ``host``."""
    folder = files.folder
    port = 69 if protocol == "tftp" else HTTP_PORT
    words = ["ip", "netns", "exec", namespace, *_command(name, host, folder)]
    log = folder / f"{name}.log"
    with log.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as process:
        try:
            _await(port, protocol, namespace)
            yield Server(name, process.pid, port, "", backing=None)
        except TimeoutError as error:
            raise RuntimeError(f"{name} did not start: {log.read_text()}") from error
        finally:
            end(process)


def _await(port: int, protocol: str, namespace: str) -> None:
    """Wait until a process listens on ``port``."""
    kind = "-u" if protocol == "tftp" else "-t"
    words = ["ip", "netns", "exec", namespace, "ss", "-Hln", kind, f"sport = :{port}"]
    deadline = time.monotonic() + START_SECONDS
    while not subprocess.run(words, check=True, capture_output=True).stdout:
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def _command(name: str, host: str, folder: Path) -> list[str]:
    if name == OURS:
        profile = folder / "room.yaml"
        profile.write_text("swap: {capacity: 64MiB}\n")
        write_manifest(folder)
        state = str(folder / "state")
        words = [
            sys.executable,
            "-m",
            *SERVE,
            "--user",
            "root",
        ]
        words += ["--profile", str(profile)]
        return [*words, "--images", str(folder), "--state", state]
    peers = PEERS_FOLDER / "usr/sbin"
    if name == "atftpd":
        words = [str(peers / "atftpd"), "--daemon", "--no-fork", "--user", "root"]
        words += ["--group", "root", "--maxthread", "500", "--bind-address", host]
        return [*words, str(folder)]
    if name == "tftpd-hpa":
        words = [str(peers / "in.tftpd"), "-L", "-4", "-u", "root", "-a", f"{host}:69"]
        return [*words, "-s", str(folder)]
    if name == "dnsmasq":
        words = ["dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file"]
        return [*words, "--enable-tftp", f"--tftp-root={folder}"]
    if name == "tftpy":
        code = f"import tftpy; tftpy.TftpServer({str(folder)!r}).listen({host!r}, 69)"
        return [sys.executable, "-c", code]
    config = folder / "nginx.conf"
    config.write_text(
        "daemon off; worker_processes auto; pid nginx.pid; error_log stderr; user root;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; sendfile on; server {{ listen {host}:{HTTP_PORT}; "
        f"root {folder}; }} }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(config)]
