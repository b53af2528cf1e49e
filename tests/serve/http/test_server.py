"""The HTTP server over loopback, asked by the standard library's client and by raw bytes."""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.boot.ticket import Key
from netboot.errors import DeniedError, OperatorError
from netboot.feed.records import Report
from netboot.serve.http.beacon import MAX_AGE_SECONDS, Beacon, parse_beacon
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.http.reports import Reports
from netboot.serve.http.server import LOOK_SECONDS, LOOKS, HttpServer

MAC = "52:54:00:12:34:56"
TICKET = "7" * 44
DENIED = "d" * 64
LOCALHOST = IPv4Address("127.0.0.1")
IMAGE = bytes(range(256)) * 4096  # 1 MiB
PATIENCE = 30  # seconds for what takes milliseconds on an idle machine


class FakeRoom:
    saves = True

    def __init__(self, folder: Path) -> None:
        self.image = folder / "vmlinuz"
        self.image.write_bytes(IMAGE)
        self.records: list[tuple[str, str, str, dict[str, Any]]] = []
        self.files: list[tuple[str, str]] = []
        self.reports: list[tuple[str, Report]] = []
        self.held = 0
        self.made = 0  # answers to /status
        self.status_bytes = 9
        self.asked: list[tuple[str, str, bool]] = []
        self.expired: list[IPv4Address] = []
        self.awaited = 0  # look-ups until the kernel knows who asks

    def is_awaited(self, address: IPv4Address) -> bool:
        self.awaited -= 1
        return self.awaited >= 0

    def admit(self, text: str, address: IPv4Address) -> Key | None:
        return self.open(text, address)

    def open(self, who: str, address: IPv4Address, *, begins: bool = False) -> Key | None:
        self.asked.append((who, str(address), begins))
        if who == DENIED:
            raise DeniedError("another PC's")
        return Key(MAC, "session") if who in (TICKET, MAC, "") else None

    def seat_of(self, who: str, address: IPv4Address) -> str | None:
        return who or None

    def is_boot_file(self, name: str) -> bool:
        return name in ("bios.ipxe", "arm64/linux.efi", "vmlinuz", "snponly.efi")

    def script(
        self, mac: str, name: str, server: IPv4Address, modules: str = "", *, begins: bool = True
    ) -> str | None:
        return f"#!ipxe\n# {mac} {server}\n" if name == "bios.ipxe" else None

    @property
    def needs_password(self) -> bool:
        return True

    async def admit_to_menu(self, mac: str, address: IPv4Address, password: str) -> None:
        if password != "pass: word@/":
            raise DeniedError("wrong password for the boot menu")

    def menu_script(self, mac: str, name: str, server: IPv4Address, entry: str) -> str | None:
        return f"#!ipxe\n# menu {mac} {entry}\n" if name == "bios.ipxe" else None

    def unified(self, mac: str, name: str, server: IPv4Address) -> tuple[Path, str] | None:
        return (self.image, "its own end") if name == "arm64/linux.efi" else None

    def file(self, name: str, server: IPv4Address) -> Path | None:
        return self.image if name in ("vmlinuz", "snponly.efi") else None

    def missing(self, mac: str, name: str, address: IPv4Address) -> None:
        self.records.append((mac, "missing", name, {}))

    def begun(self, mac: str) -> None:
        pass

    def may_download(self, mac: str, name: str, patience: float) -> bool:
        self.held += 1
        return self.held > 2  # the first two times it is not its turn

    def fetched(self, mac: str, name: str) -> None:
        self.files.append((mac, name))

    async def is_saved(self, mac: str, area: int) -> bool:
        return self.saves

    def lease(self, mac: str, request: LeaseRequest) -> str:
        assert request.session == "session"
        return f"size={2 * request.ram_bytes * request.area}" + " token=beef" * request.fresh

    def delete_kept(self, mac: str) -> str:
        self.records.append((mac, "deleted", "", {}))
        return "in use" if mac == "in-use" else ""

    def end_lease(self, mac: str, area: int) -> str:
        return f"ended {mac} {area}"

    def own_files(self, key: Key, server: IPv4Address, address: IPv4Address) -> bytes:
        if address in self.expired:
            raise DeniedError("boot again")
        return f"{key.mac} {server} {address}".encode()

    def order_refusal(self, key: str, order: str, mac: str) -> str:
        return "" if key == "key" else "wrong key"

    def count(self, cpu_seconds: float) -> str:
        return json.dumps({"count": 1, "cpu_seconds": cpu_seconds})

    def status(self, cpu_seconds: float) -> str:
        self.made += 1
        return json.dumps({"seats": ["x" * self.status_bytes], "cpu_seconds": cpu_seconds})

    def history(self, mac: str) -> str | None:
        return json.dumps({"mac": MAC}) if mac == MAC else None

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        self.records.append((mac, stage, message, data))

    def beacon(self, mac: str, stage: str, beacon: Beacon) -> None:
        self.records.append((mac, stage, beacon.message, beacon.data | {"age": beacon.age}))

    def report(self, mac: str, report: Report) -> None:
        self.reports.append((mac, report))

    def asked_orders(self, mac: str) -> None:
        pass


class Rig:
    """The server in a thread with its own event loop, so tests can be plain blocking code."""

    def __init__(self, room: FakeRoom, server: HttpServer | None = None) -> None:
        self.room = room
        self.server = server or HttpServer(room, port=0)
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.server.start([LOCALHOST]))
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def record(self) -> tuple[str, str, str, dict[str, Any]]:
        """Return the last record. It is made after the last byte is sent, so it may be late."""
        end = time.monotonic() + PATIENCE
        while not self.room.records and time.monotonic() < end:
            time.sleep(0.005)
        return self.room.records[-1]

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, content

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(FakeRoom(tmp_path))
    yield rig
    rig.close()


def test_an_image_comes_whole_with_its_length_and_is_journaled(rig: Rig) -> None:
    response, content = rig.ask("GET", f"/boot/{TICKET}/vmlinuz")
    assert response.status == 200
    assert response.headers["Content-Length"] == str(len(IMAGE))
    assert content == IMAGE
    mac, stage, message, data = rig.record()
    assert (mac, stage, data["file"], data["bytes"]) == (MAC, "http", "vmlinuz", len(IMAGE))
    assert "MB/s" in message
    assert rig.room.files == [(MAC, "vmlinuz")]


def test_a_session_may_be_the_password_of_a_path_that_names_none(rig: Rig) -> None:
    """iPXE shows paths on the screen, but no password. It sends one when it is asked for it."""
    response, _ = rig.ask("GET", "/boot/own/vmlinuz")
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert rig.room.asked == [] and rig.room.records == []
    password = base64.b64encode(f"netboot:{TICKET}".encode()).decode()
    response, content = rig.ask("GET", "/boot/own/vmlinuz", Authorization=f"Basic {password}")
    assert (response.status, content) == (200, IMAGE)
    assert rig.record()[0] == MAC


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic ***", "Bearer YTpi", "Basic YTo=", "Basic /w=="]
)
def test_what_is_no_password_is_asked_for_again(rig: Rig, header: str) -> None:
    assert rig.ask("GET", "/boot/own/vmlinuz", Authorization=header)[0].status == 401


def test_a_seats_own_file_has_its_length_and_an_end_of_its_own(rig: Rig) -> None:
    own = IMAGE[: -len("its own end")] + b"its own end"
    for method, expected in (("HEAD", b""), ("GET", own)):
        response, content = rig.ask(method, f"/boot/{TICKET}/arm64/linux.efi")
        assert response.headers["Content-Length"] == str(len(IMAGE))
        assert content == expected
        assert response.headers["Content-Type"] == "application/efi"
    _, stage, _, data = rig.record()
    assert (stage, data["bytes"]) == ("http", len(IMAGE))


def test_a_head_of_a_script_begins_no_boot(rig: Rig) -> None:
    """boot 12: it counted as a boot, with a session and an event."""
    response, content = rig.ask("HEAD", f"/boot/{TICKET}/bios.ipxe")
    script = rig.room.script(MAC, "bios.ipxe", LOCALHOST) or ""
    assert (response.status, content) == (200, b"")
    assert response.headers["Content-Length"] == str(len(script))
    assert rig.room.asked == [(TICKET, "127.0.0.1", False)]
    assert rig.room.records == [] and rig.room.files == []


@pytest.mark.parametrize(
    "path",
    ["//boot/{}/vmlinuz", "/boot//{}/vmlinuz", "/boot/{}//vmlinuz", "///boot///{}////vmlinuz"],
)
def test_more_than_one_slash_is_one(rig: Rig, path: str) -> None:
    """EDK2 joins a folder and a name with one slash too many (tinkerbell/smee#229)."""
    response, content = rig.ask("GET", path.format(TICKET))
    assert (response.status, content) == (200, IMAGE)


@pytest.mark.parametrize("path", ["/boot/autoexec.ipxe", "/elsewhere"])
def test_a_file_that_need_not_exist_is_no_news(rig: Rig, path: str) -> None:
    """iPXE goes on without its own script; the other one is a browser's."""
    assert rig.ask("GET", path)[0].status == 404
    assert rig.room.records == []


def test_a_range_is_answered_with_just_those_bytes(rig: Rig) -> None:
    response, content = rig.ask("GET", f"/boot/{TICKET}/vmlinuz", Range="bytes=100-299")
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes 100-299/{len(IMAGE)}"
    assert content == IMAGE[100:300]


def test_all_bytes_of_answers_are_counted_and_files_while_they_are_sent(rig: Rig) -> None:
    sent = 0
    asked: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("GET", f"/boot/{TICKET}/vmlinuz", {}),
        ("GET", f"/boot/{TICKET}/vmlinuz", {"Range": "bytes=100-299"}),
        ("GET", f"/boot/{TICKET}/arm64/linux.efi", {}),
        ("GET", f"/boot/{TICKET}/bios.ipxe", {}),
        ("HEAD", f"/boot/{TICKET}/vmlinuz", {}),
        ("HEAD", f"/boot/{TICKET}/bios.ipxe", {}),
    )
    for method, path, headers in asked:
        sent += len(rig.ask(method, path, None, **headers)[1])
    assert sent > 2 * len(IMAGE) + 200
    wait_until(lambda: rig.server.sent_bytes == sent and not rig.server.downloads)
    with rig.room.image.open("ab") as image:
        image.truncate(1 << 30)
    with socket.create_connection(("127.0.0.1", rig.server.port)) as slow:
        slow.sendall(f"GET /boot/{TICKET}/vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: rig.server.downloads == 1)


def test_an_image_goes_from_the_page_cache_to_the_socket(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    sendfile = os.sendfile

    def count(out: int, source: int, offset: int, length: int) -> int:
        sent.append(sendfile(out, source, offset, length))
        return sent[-1]

    monkeypatch.setattr(os, "sendfile", count)
    assert rig.ask("GET", f"/boot/{TICKET}/vmlinuz")[1] == IMAGE
    rig.record()  # the client may have the last byte before sendfile has returned
    assert sum(sent) == len(IMAGE)


def test_a_connection_is_kept_for_the_next_file(rig: Rig) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", rig.server.port, timeout=PATIENCE)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", f"/boot/{TICKET}/vmlinuz")
        assert connection.getresponse().read() == IMAGE
    assert connection.sock is first
    connection.close()


def test_who_has_the_image_is_told_so_by_its_etag(rig: Rig) -> None:
    etag = rig.ask("HEAD", f"/boot/{TICKET}/vmlinuz")[0].headers["ETag"]
    response, content = rig.ask("GET", f"/boot/{TICKET}/vmlinuz", None, **{"If-None-Match": etag})
    assert (response.status, content) == (304, b"")
    rig.room.image.write_bytes(IMAGE + b"more")
    response, content = rig.ask("GET", f"/boot/{TICKET}/vmlinuz", None, **{"If-None-Match": etag})
    assert (response.status, content) == (200, IMAGE + b"more")


def test_a_download_goes_on_where_it_broke_off_unless_the_image_has_changed(rig: Rig) -> None:
    changed = rig.ask("HEAD", f"/boot/{TICKET}/vmlinuz")[0].headers["Last-Modified"]
    half = {"Range": f"bytes={len(IMAGE) // 2}-", "If-Range": changed}
    response, content = rig.ask("GET", f"/boot/{TICKET}/vmlinuz", None, **half)
    assert (response.status, content) == (206, IMAGE[len(IMAGE) // 2 :])
    os.utime(rig.room.image, (2e9, 2e9))
    response, content = rig.ask("GET", f"/boot/{TICKET}/vmlinuz", None, **half)
    assert (response.status, content) == (200, IMAGE)
    assert rig.ask("GET", f"/boot/{TICKET}/vmlinuz", Range="bytes=9999999-")[0].status == 416


def test_only_what_was_sent_is_journaled(rig: Rig) -> None:
    response, content = rig.ask("HEAD", f"/boot/{TICKET}/vmlinuz")
    assert (response.headers["Content-Length"], content) == (str(len(IMAGE)), b"")
    etag = {"If-None-Match": response.headers["ETag"]}
    rig.ask("GET", f"/boot/{TICKET}/vmlinuz", None, **etag)
    rig.ask("GET", f"/boot/{TICKET}/vmlinuz", Range="bytes=9999999-")
    rig.ask("GET", f"/boot/{TICKET}/vmlinuz", Range="bytes=0-9")
    assert rig.record()[3]["bytes"] == 10
    assert len(rig.room.records) == 1


@contextlib.contextmanager
def _half(rig: Rig, size: int) -> Iterator[http.client.HTTPResponse]:
    """Request an image of ``size`` bytes (sparse), and read only the head of the answer."""
    with rig.room.image.open("r+b") as image:
        image.truncate(size)
    connection = http.client.HTTPConnection("127.0.0.1", rig.server.port, timeout=PATIENCE)
    connection.request("GET", f"/boot/{TICKET}/vmlinuz")
    yield connection.getresponse()
    connection.close()


def test_a_pc_that_goes_away_while_it_is_sent_an_image_is_journaled(rig: Rig) -> None:
    with _half(rig, 1 << 30):
        pass
    assert rig.record()[2] == "vmlinuz: the PC closed the connection"


def test_an_image_that_becomes_shorter_ends_the_download(rig: Rig) -> None:
    with _half(rig, 1 << 30) as response:
        os.truncate(rig.room.image, 1 << 20)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
    assert rig.record()[2] == "vmlinuz: the PC closed the connection"
    assert rig.ask("GET", f"/boot/{TICKET}/vmlinuz")[1] == IMAGE


def test_a_pc_that_reads_slowly_gets_all_and_delays_no_other(rig: Rig) -> None:
    with _half(rig, 64 << 20) as slow:
        assert len(rig.ask("GET", f"/boot/{TICKET}/vmlinuz")[1]) == 64 << 20
        assert len(slow.read()) == 64 << 20


def test_a_room_that_asks_at_once_gets_its_own_bytes_each(rig: Rig) -> None:
    def part(number: int) -> bool:
        first, last = number * 1000, number * 1000 + 65_535
        wanted = {"Range": f"bytes={first}-{last}"}
        return (
            rig.ask("GET", f"/boot/{TICKET}/vmlinuz", None, **wanted)[1] == IMAGE[first : last + 1]
        )

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(part, range(200)))


def test_a_server_that_stops_leaves_nothing_open_of_a_download(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    rig = Rig(FakeRoom(tmp_path))
    with _half(rig, 1 << 30):
        rig.close()
    # aiohttp closes the file in a thread and does not wait for it.
    wait_until(lambda: len(os.listdir("/proc/self/fd")) == before)
    assert not [each for each in threading.enumerate() if each.name == "http sender"]


def test_the_script_names_the_address_that_was_asked(rig: Rig) -> None:
    response, content = rig.ask("GET", f"/boot/{TICKET}/bios.ipxe")
    assert response.headers["Content-Length"] == str(len(content))
    assert content.decode() == f"#!ipxe\n# {MAC} 127.0.0.1\n"


@pytest.mark.parametrize(
    "path",
    [
        "/boot/guess/vmlinuz",
        f"/boot/{TICKET}/nothing",
        f"/boot/{TICKET}/bios2.ipxe",
        f"/boot/{TICKET}/..%2f..%2fetc%2fpasswd",
        "/lease/guess?ram=1",
        "/",
    ],
)
def test_what_is_not_there_is_404(rig: Rig, path: str) -> None:
    assert rig.ask("GET", path)[0].status == 404


@pytest.mark.parametrize(
    ("method", "path", "begins"),
    [
        ("GET", "boot/{}/bios.ipxe", True),
        ("GET", "boot/{}/arm64/linux.efi", True),
        ("GET", "boot/{}/vmlinuz", False),
        ("GET", "lease/{}?ram=1&fresh=1", False),
        ("DELETE", "lease/{}?area=2", False),
        ("GET", "orders/{}", False),
        ("GET", "seat/{}", False),
        ("POST", "beacon/{}/swap", False),
        ("POST", "report/{}", False),
    ],
)
def test_every_door_asks_who_is_there(rig: Rig, method: str, path: str, begins: bool) -> None:
    response, content = rig.ask(method, "/" + path.format(DENIED))
    assert (response.status, content) == (403, b"another PC's\n")
    assert rig.room.asked == [(DENIED, "127.0.0.1", begins)]
    assert rig.room.records == [] and rig.room.files == []


@pytest.mark.parametrize("who", ["", MAC, MAC.replace(":", "%3A")])
def test_a_boot_file_has_a_fixed_name_and_may_name_its_pc(rig: Rig, who: str) -> None:
    for name, begins in (("bios.ipxe", True), ("arm64/linux.efi", True), ("vmlinuz", False)):
        rig.room.asked.clear()
        assert rig.ask("GET", f"/boot/{who}/{name}".replace("//", "/"))[0].status == 200
        assert rig.room.asked == [(MAC if who else "", "127.0.0.1", begins)]


def test_a_loader_is_for_everybody_and_journaled_for_who_is_known(rig: Rig) -> None:
    for path in ("/boot/snponly.efi", f"/boot/{MAC}/snponly.efi"):
        assert rig.ask("GET", path)[1] == IMAGE
    assert rig.record()[:2] == (MAC, "http")
    assert rig.room.asked == [] and rig.room.files == [(MAC, "snponly.efi")]


def test_the_kernel_gets_time_to_find_who_asks(rig: Rig) -> None:
    rig.room.awaited = 2
    begin = time.monotonic()
    assert rig.ask("GET", "/boot/bios.ipxe")[0].status == 200
    assert time.monotonic() - begin >= 2 * LOOK_SECONDS and rig.room.asked
    assert rig.room.awaited == -1, "not looked for once more than it takes"
    rig.room.awaited = 1000
    assert rig.ask("GET", "/boot/bios.ipxe")[0].status == 200, "asked all the same, after a second"
    assert rig.room.awaited == 1000 - LOOKS and LOOKS * LOOK_SECONDS < 1.5


def test_strangers_see_numbers_and_no_names(rig: Rig) -> None:
    """127.0.0.2 is neither the server's loopback address nor the one that it asks."""

    def ask(path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", rig.server.port, timeout=PATIENCE, source_address=("127.0.0.2", 0)
        )
        connection.request("GET", path, headers=headers)
        with contextlib.closing(connection), connection.getresponse() as response:
            return response.status, response.read()

    assert json.loads(ask("/status")[1]).keys() == {"count", "cpu_seconds"}
    assert ask(f"/status/{MAC}")[0] == ask("/status/none")[0] == 403
    key, wrong = {"Authorization": "Bearer key"}, {"Authorization": "Bearer guess"}
    assert "seats" in json.loads(ask("/status", **key)[1])
    assert ask(f"/status/{MAC}", **key)[0] == 200
    assert ask("/status", **wrong) == ask(f"/status/{MAC}", **wrong) == (403, b"wrong key\n")


def test_a_beacon_is_journaled_with_its_figures(rig: Rig) -> None:
    body = b"eth0 up\naddress=10.0.0.5\nspeed=1000\n"
    response, _ = rig.ask("POST", f"/beacon/{TICKET}/init:network?uptime=3.25&sent=4", body)
    assert response.status == 200
    data = {"address": "10.0.0.5", "speed": 1000, "uptime": 3.25, "age": 0.75}
    assert rig.room.records == [(MAC, "init:network", "eth0 up", data)]


def test_a_report_of_a_seat_is_handed_on(rig: Rig) -> None:
    response, content = rig.ask("POST", f"/report/{TICKET}", b"v=1&m=4096&a=1024&s=1/2&new=x")
    assert (response.status, content) == (200, b"")
    ((mac, report),) = rig.room.reports
    assert (mac, report.memory, report.swap_used) == (MAC, 4 << 20, 1024)
    assert abs(report.when - time.time()) < PATIENCE


@pytest.mark.parametrize(
    ("ticket", "body", "status", "reason"),
    [
        (TICKET, b"v=1&x=" + b"y" * 195, 400, "report: expected at most 200 bytes\n"),
        (TICKET, b"v=1&m=x", 400, "report: key 'm': expected a whole number"),
        (TICKET, b"v=1&k=\xff", 400, "report: key 'k': expected at most 12 small letters"),
        (TICKET, b"", 400, "report: key 'v': expected the version first, v=1, found ''"),
        (TICKET, b"x" * 5000, 413, ""),
        ("guess", b"v=1", 404, "no such seat\n"),
        (DENIED, b"v=1", 403, "another PC's\n"),
    ],
)
def test_a_report_that_is_wrong_is_told_to_its_sender_alone(
    rig: Rig,
    caplog: pytest.LogCaptureFixture,
    ticket: str,
    body: bytes,
    status: int,
    reason: str,
) -> None:
    for _ in range(3):
        response, content = rig.ask("POST", f"/report/{ticket}", body)
        assert response.status == status and content.decode().startswith(reason)
    assert not rig.room.reports and not rig.room.records and not caplog.records


SESSION = TICKET  # digits only


def from_agent(session: str, body: bytes) -> bytes:
    """Return a report as initramfs/agent/report.c writes it."""
    head = f"POST /report/{session} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def whole_answer(port: int, *parts: bytes, pause: float = 0.05) -> bytes:
    """Return the answer to a request that comes in parts, each after a pause of some seconds."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        for part in parts:
            time.sleep(pause)
            sock.sendall(part)
        return b"".join(iter(lambda: sock.recv(4096), b""))


@pytest.mark.parametrize(
    ("session", "body", "status"),
    [
        (SESSION, b"v=1&m=4096", 200),
        (SESSION, b"v=1&m=x", 400),
        (SESSION, b"v=1&x=" + b"y" * 195, 400),
        (DENIED, b"v=1", 403),
        ("abc", b"v=1", 404),
    ],
)
def test_a_report_gets_the_same_answer_with_and_without_aiohttp(
    rig: Rig, session: str, body: bytes, status: int
) -> None:
    data = from_agent(session, body)
    short = Reports(rig.room).answer(data, "127.0.0.1") or b""
    taken = len(rig.room.reports)
    usual = whole_answer(rig.server.port, data[:20], data[20:])
    assert len(rig.room.reports) == 2 * taken == 2 * (status == 200)
    for answer in (short, usual):
        head, _, text = answer.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.0 {status} ".encode())
        assert f"\r\nContent-Length: {len(text)}".encode() in head
    assert short.partition(b"\r\n\r\n")[2] == usual.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /report/7 HTTP/1.0\r\n\r\n",
        from_agent(SESSION, b"v=1")[:-1],  # the rest comes later
        from_agent(SESSION, b"v=1") + b"&",
        from_agent(SESSION, b"v=1\0"),
        from_agent("../x", b"v=1"),
        from_agent(SESSION, b"v=1").replace(b"HTTP/1.0", b"HTTP/1.1"),
    ],
)
def test_another_request_takes_the_usual_way(rig: Rig, data: bytes) -> None:
    assert Reports(rig.room).answer(data, "127.0.0.1") is None
    assert not rig.room.asked and not rig.room.reports


def test_reports_as_the_agent_sends_them_arrive(rig: Rig) -> None:
    for _ in range(50):
        answer = whole_answer(rig.server.port, from_agent(SESSION, b"v=1&u=2"), pause=0.0)
        assert answer.startswith(b"HTTP/1.0 200 OK")
    assert [report.users for _, report in rig.room.reports] == [2] * 50


def test_a_beacon_of_another_size_or_seat_is_refused(rig: Rig) -> None:
    assert rig.ask("POST", f"/beacon/{TICKET}/x", b"x" * 5000)[0].status == 413
    assert rig.ask("POST", "/beacon/guess/x", b"x")[0].status == 404
    assert rig.ask("POST", f"/beacon/{TICKET}/{'x' * 41}", b"x")[0].status == 400
    assert rig.room.records == []


@pytest.mark.parametrize(
    "stage", ["identity", "order", "pages:attach", "pages:other", "dhcp", "http", "failed:loader"]
)
def test_a_beacon_says_nothing_in_the_name_of_the_server(rig: Rig, stage: str) -> None:
    response, content = rig.ask("POST", f"/beacon/{TICKET}/{stage}", b"x")
    assert (response.status, content) == (400, b"stage: only the server reports this one\n")
    assert rig.room.records == []


def test_a_lease_that_the_next_server_would_not_know_is_refused(rig: Rig) -> None:
    rig.room.saves = False
    refused = rig.ask("GET", f"/lease/{TICKET}?ram=1000")[1]
    assert refused == b"refused=the server cannot save its leases of swap; see its log\n"


def test_a_lease_is_asked_for_with_the_ram_of_the_pc(rig: Rig) -> None:
    assert rig.ask("GET", f"/lease/{TICKET}?ram=1000")[1] == b"size=2000\n"
    assert rig.ask("GET", f"/lease/{TICKET}?ram=10&fresh=1")[1] == b"size=20 token=beef\n"
    assert rig.ask("GET", f"/lease/{TICKET}?ram=10&area=3")[1] == b"size=60\n"
    long = f"?ram={'9' * 5000}"
    for bad in ("", "?ram=", "?ram=-1", "?ram=1e9", long, "?ram=1&area=-1", "?ram=1&area=22"):
        assert rig.ask("GET", f"/lease/{TICKET}{bad}")[0].status == 400


def test_an_area_can_be_given_back(rig: Rig) -> None:
    assert rig.ask("DELETE", f"/lease/{TICKET}?ram=10&area=2")[1] == f"ended {MAC} 2\n".encode()
    assert rig.ask("DELETE", "/lease/guess?area=2")[0].status == 404
    assert rig.ask("DELETE", f"/lease/{TICKET}?area=x")[0].status == 400


def test_a_seat_gets_its_own_files_with_its_session(rig: Rig) -> None:
    response, content = rig.ask("GET", f"/seat/{TICKET}")
    assert (response.status, content.decode()) == (200, f"{MAC} 127.0.0.1 127.0.0.1")
    assert "Date" in response.headers, "the PC sets its clock"
    assert rig.ask("GET", f"/seat/{DENIED}")[0].status == 403
    assert rig.ask("GET", "/seat/guess")[0].status == 404
    rig.room.expired = [LOCALHOST]
    assert rig.ask("GET", f"/seat/{TICKET}")[0].status == 403


def test_status_is_json_and_made_once_a_second(rig: Rig) -> None:
    begin = time.monotonic()
    answers = [rig.ask("GET", "/status") for _ in range(20)]
    response, content = answers[-1]
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(content)["cpu_seconds"] > 0
    assert rig.room.made <= 1 + time.monotonic() - begin
    assert json.loads(rig.ask("GET", f"/status/{MAC}")[1]) == {"mac": MAC}
    assert rig.ask("GET", "/status/none")[0].status == 404


def test_an_address_cannot_leave_many_answers_unread(rig: Rig) -> None:
    rig.room.status_bytes = 4 << 20
    with contextlib.ExitStack() as opened:
        for _ in range(8):
            reader = opened.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            reader.connect(("127.0.0.1", rig.server.port))
            reader.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reader.recv(9) == b"HTTP/1.1 "
        assert rig.ask("GET", "/status")[0].status == 429
        elsewhere = opened.enter_context(socket.socket())
        elsewhere.bind(("127.0.0.2", 0))
        elsewhere.connect(("127.0.0.1", rig.server.port))
        elsewhere.sendall(b"HEAD /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert elsewhere.recv(12) == b"HTTP/1.1 200"
    while rig.ask("GET", "/status")[0].status == 429:  # until their ends were noticed
        time.sleep(0.01)


def test_a_busy_port_is_the_operators_to_mend(rig: Rig) -> None:
    second = HttpServer(rig.room, port=rig.server.port)
    with pytest.raises(OperatorError, match=f"port {rig.server.port}"):
        asyncio.run(second.start([LOCALHOST]))


@given(st.text(), st.text() | st.floats().map(str), st.text() | st.floats().map(str))
def test_any_beacon_is_read_and_can_be_shown_on_a_terminal(
    body: str, uptime: str, sent: str
) -> None:
    beacon = parse_beacon(body, uptime, sent)
    assert 0 <= beacon.age <= MAX_AGE_SECONDS
    for text in (beacon.message, *beacon.data, *map(str, beacon.data.values())):
        assert text.isprintable()
    json.dumps(beacon.data, allow_nan=False)


def test_the_lines_of_a_console_are_a_list() -> None:
    beacon = parse_beacon("no link\nconsole=[ 1.5] e1000: up\nport=eth0\nconsole=12\n", "7", "8")
    assert beacon.data == {"console": ["[ 1.5] e1000: up", "12"], "port": "eth0", "uptime": 7}


def test_of_a_large_beacon_16_keys_and_1_kb_are_kept() -> None:
    many = parse_beacon("told\n" + "".join(f"{x:x}={x}\n" for x in range(520)), "7", "8")
    assert many.message == "told" and many.data == {f"{x:x}": x for x in range(16)} | {"uptime": 7}
    long = parse_beacon("ä" * 4000 + "\nspeed=1000", "", "")
    assert long.message == "ä" * 512 and long.data == {}
    cut = parse_beacon("told\nfirst=1\nsecond=" + "1" * 2000, "", "")
    assert cut.data == {"first": 1}, "no figure is cut in two"


@pytest.mark.parametrize("uptime", ["x", "-1", "1e300", "9" * 400, ""])
def test_no_beacon_gives_its_seat_an_impossible_uptime(uptime: str) -> None:
    """A text for the uptime made each later beacon of the seat fail."""
    assert "uptime" not in parse_beacon(f"told\nuptime={uptime}", uptime, "1").data


def test_no_byte_in_a_request_makes_a_stack_trace(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for head in (
        b"GET /boot/\xff\xfe/vmlinuz HTTP/1.1\r\nHost: x",
        b"GET /boot/%ff%00/vmlinuz HTTP/1.1\r\nHost: x",
        b"GET /status/\xff HTTP/1.1\r\nHost: x",
        f"GET /boot/{TICKET}/%00 HTTP/1.1\r\nHost: x".encode(),
        b"POST /orders/\xff/reboot HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff",
    ):
        with socket.create_connection(("127.0.0.1", rig.server.port), PATIENCE) as sock:
            sock.sendall(head + b"\r\n\r\n")
            assert 400 <= int(sock.recv(4096).split()[1]) < 500, head
    assert not any("Traceback" in record.getMessage() for record in caplog.records)


def _order(rig: Rig, order: str = "reboot", key: str = "key") -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return rig.ask("POST", f"/orders/{MAC}/{order}", None, **headers)[0].status


def test_a_seat_waits_for_an_order_and_who_has_the_secret_gives_it(rig: Rig) -> None:
    assert _order(rig) == 404, "nobody waits"
    with ThreadPoolExecutor() as threads:
        seat = threads.submit(rig.ask, "GET", f"/orders/{TICKET}")
        assert _order(rig, key="guess") == 403
        assert _order(rig, order="format") == 404
        while _order(rig) != 200:
            assert not seat.done()
        assert seat.result(5)[1] == b"reboot"
    assert rig.record()[:3] == (MAC, "order", "reboot")


def test_files_that_a_pc_keeps_are_deleted_with_the_secret_only(rig: Rig) -> None:
    def status(mac: str, key: str) -> int:
        return rig.ask("DELETE", f"/kept/{mac}", None, Authorization=f"Bearer {key}")[0].status

    assert status(MAC, "guess") == 403 and rig.room.records == []
    assert (status(MAC, "key"), status("in-use", "key")) == (200, 409)


def test_who_waits_for_an_order_does_not_keep_the_server(tmp_path: Path) -> None:
    rig = Rig(FakeRoom(tmp_path))
    with ThreadPoolExecutor() as threads:
        waits = [threads.submit(rig.ask, "GET", f"/orders/{TICKET}") for _ in range(2)]
        first = next(as_completed(waits))  # a second request of a seat ends the first one
        assert first.result()[1] == b""
        rig.close()
        assert [wait.result(5)[1] for wait in waits] == [b"", b""]
    assert rig.room.records == []


@pytest.mark.parametrize("name", ["vmlinuz", "pxelinux.0"])
def test_a_boot_file_that_is_missing_is_told(rig: Rig, name: str) -> None:
    rig.room.image.unlink()
    response, _ = rig.ask("GET", f"/boot/{TICKET}/{name}")
    assert response.status == 404
    seat = MAC if name == "vmlinuz" else TICKET  # as this room's ``seat_of`` says
    assert rig.record() == (seat, "missing", name, {})


def test_the_menu_asks_for_its_password_and_tells_no_more(rig: Rig) -> None:
    path = f"/menu/{MAC}/bios.ipxe"
    response, content = rig.ask("GET", path)
    assert response.status == 401 and b"ipxe" not in content
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    for password, status in (("pass: word@/", 200), ("pass", 403), ("", 403)):
        typed = base64.b64encode(f"netboot:{password}".encode()).decode()
        for query in ("", "?entry=local"):
            response, content = rig.ask("GET", path + query, Authorization=f"Basic {typed}")
            assert response.status == status
            assert (b"# menu" in content) == (status == 200)
    response, content = rig.ask("GET", f"{path}?entry=boot")
    assert response.status == 200, "the usual boot needs no password"
    assert all(begins for _, _, begins in rig.room.asked)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/menu/nobody/bios.ipxe", 404),
        (f"/menu/{DENIED}/bios.ipxe?entry=boot", 404),
        ("/menu/52:54:00:12:34:57/bios.ipxe?entry=boot", 404),
        (f"/menu/{MAC}/none.ipxe?entry=boot", 404),
        (f"/menu/{MAC}/bios.ipxe?entry={'x' * 100}", 404),
    ],
)
def test_a_menu_is_for_a_pc_that_is_there(rig: Rig, path: str, status: int) -> None:
    assert rig.ask("GET", path)[0].status == status
