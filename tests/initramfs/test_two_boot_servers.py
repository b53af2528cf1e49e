"""The shell's half of two boot servers: what is asked from the first, and once from the other."""

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.shell import INITRAMFS, Lib

A, B = "http://10.0.0.1:8080", "http://10.0.0.2:8080"
BOTH = "server=http://10.0.0.1,10.0.0.2:8080 ticket=abc\n"
ONE = f"server={A} ticket=abc\n"
# Stands in for wget: only the servers in the file `up` answer.
WGET = """#!/bin/sh
for url; do case $url in http:*) break ;; esac; done
echo "$url" >>"$RUN/asked"
host=${url#http://}
grep -qx "${host%%:*}" "$RUN/up" || exit 1
"""


class Servers:
    def __init__(self, lib: Lib) -> None:
        self.lib = lib
        (lib.folder / "wget").write_text(WGET)
        self.up("10.0.0.1", "10.0.0.2")

    def up(self, *hosts: str) -> None:
        (self.lib.folder / "up").write_text("".join(f"{host}\n" for host in hosts))

    def asked(self) -> list[str]:
        """Return the servers that were asked since the last call, in order."""
        path = self.lib.folder / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.removeprefix("http://").partition(":")[0] for line in lines]


@pytest.fixture
def servers(lib: Lib) -> Servers:
    return Servers(lib)


def test_the_first_server_is_asked_alone_while_it_answers(servers: Servers) -> None:
    servers.lib.run(BOTH + "online=yes\nbeacon swap one; beacon swap two")
    assert servers.asked() == ["10.0.0.1", "10.0.0.1"]


def test_the_other_server_takes_over_and_stays_until_it_fails(servers: Servers) -> None:
    servers.up("10.0.0.2")
    text = BOTH + "online=yes\nbeacon swap one; beacon swap two; echo $server"
    assert servers.lib.run(text) == "http://10.0.0.2,10.0.0.1:8080\n"
    assert servers.asked() == ["10.0.0.1", "10.0.0.2", "10.0.0.2"]
    servers.up("10.0.0.1")
    turned = BOTH.replace("10.0.0.1,10.0.0.2", "10.0.0.2,10.0.0.1")
    servers.lib.run(turned + "online=yes\nbeacon swap three")
    assert servers.asked() == ["10.0.0.2", "10.0.0.1"]


def test_without_both_each_is_asked_once_and_the_beacons_wait(servers: Servers) -> None:
    servers.up()
    servers.lib.run(BOTH + "online=yes\nbeacon swap one")
    assert servers.asked() == ["10.0.0.1", "10.0.0.2"]
    servers.up("10.0.0.1")
    servers.lib.run(BOTH + "online=yes\nbeacon swap two")
    assert servers.asked() == ["10.0.0.1", "10.0.0.1"]
    assert list((servers.lib.folder / "beacons").iterdir()) == []


def test_a_command_line_with_one_server_is_as_before(servers: Servers) -> None:
    servers.up()
    text = (
        ONE + "online=yes\nbeacon swap one; other_server || echo $server; first_server; echo $value"
    )
    assert servers.lib.run(text) == f"{A}\n{A}\n"
    assert servers.asked() == ["10.0.0.1"]


def test_the_files_of_a_seat_come_from_either(servers: Servers) -> None:
    seat = f". {INITRAMFS}/seat.sh\nset_clock() {{ :; }}\nfetch_seat && echo fetched\n"
    servers.up("10.0.0.2")
    assert servers.lib.run(BOTH + seat) == "fetched\n"
    assert servers.asked() == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("server", "swap", "follows"),
    [
        ("http://10.0.0.1,10.0.0.2:8080", "10.0.0.1:10809/seat-1", "10.0.0.1:10809/seat-1"),
        ("http://10.0.0.2,10.0.0.1:8080", "10.0.0.1:10809/seat-1", "10.0.0.2:10809/seat-1"),
        ("http://10.0.0.2,10.0.0.1:8080", "10.0.0.9:10809/seat-1", "10.0.0.9:10809/seat-1"),
        ("http://10.0.0.2,10.0.0.1:8080", "10.0.0.1,10.0.0.2:1/s", "10.0.0.1,10.0.0.2:1/s"),
        ("http://10.0.0.1:8080", "10.0.0.1:10809/seat-1", "10.0.0.1:10809/seat-1"),
        ("", "10.0.0.1:10809/seat-1", "10.0.0.1:10809/seat-1"),
    ],
)
def test_pages_go_to_the_boot_server_that_answers(
    lib: Lib, server: str, swap: str, follows: str
) -> None:
    text = f". {INITRAMFS}/swap.sh\nserver={server} swap={swap}\nfollow_server; echo $swap"
    assert lib.run(text) == f"{follows}\n"


def test_files_that_are_kept_are_asked_from_the_server_that_has_them(lib: Lib) -> None:
    text = (
        f". {INITRAMFS}/keep.sh\nload_nbd() {{ :; }}\nmodprobe() {{ :; }}\nkeep_failed() {{ :; }}\n"
    )
    text += 'agent() { echo "$2" >"$run/kept"; }\nattach_kept\n'
    turned = BOTH.replace("10.0.0.1,10.0.0.2", "10.0.0.2,10.0.0.1")
    lib.run(turned + text, "netboot.persist=10.0.0.1:10809/seat-1-persist")
    assert (lib.folder / "kept").read_text() == f"{A}/lease/abc?ram=0&area=0\n"


class _Orders(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"reboot" if self.command == "GET" else b"")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def second() -> Iterator[int]:
    """Return the port of a server at 127.0.0.1; nobody is at 127.0.0.9."""
    _Orders.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Orders) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.skipif(not shutil.which("busybox"), reason="its nc is the one of PCs")
def test_a_userland_asks_the_other_server_for_orders(tmp_path: Path, second: int) -> None:
    lib = Lib(["busybox", "sh"], tmp_path)
    conf = f"server=http://127.0.0.9,127.0.0.1:{second}\nticket=abc\nonline=yes\n"
    (tmp_path / "netboot.conf").write_text(conf)
    text = "unset -f timeout\nload_conf\nrequest GET /orders/$ticket 5; echo; beacon userland x"
    assert lib.run(text) == "reboot\n"
    assert _Orders.asked[0] == "GET /orders/abc" and len(_Orders.asked) == 2
    assert list((tmp_path / "beacons").iterdir()) == []
