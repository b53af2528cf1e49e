"""The feed through its door: how a reader begins, comes back and is dropped, and orders."""

import asyncio
import json
import os
import platform
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.boot import ticket
from netboot.boot.client import played_mac
from netboot.boot.events import Journal
from netboot.boot.menu import entries_of
from netboot.boot.plan import swap_export
from netboot.errors import OperatorError
from netboot.feed.protocol import KEY_FILE, SOCKET_FILE
from netboot.feed.reading import read
from netboot.feed.records import Event, Report
from netboot.host import wake
from netboot.pages.lease import LeaseTable
from netboot.pages.nbd.name import WireName
from netboot.profile.file import parse
from netboot.profile.menu import Menu
from netboot.serve.boot_files import BootFiles
from netboot.serve.draining import Draining
from netboot.serve.feed import feed as feed_module
from netboot.serve.feed import readers as readers_module
from netboot.serve.feed.acting import Order, parse_order
from netboot.serve.feed.service import FeedService
from netboot.serve.http.beacon import parse_beacon
from netboot.serve.http.orders import OFF
from netboot.serve.http.server import HttpServer
from netboot.serve.http.status import ask_drain
from netboot.serve.room import Room

MIB = 1 << 20
PATIENCE = 60.0
TEACHER, OTHER, STRANGER = (f"52:54:00:12:34:0{n}" for n in (1, 2, 3))
PROFILE = f"""
swap: {{capacity: 64MiB}}
groups: {{row: {{match: '52:*'}}}}
clients: {{{TEACHER}: {{hostname: teacher}}, {OTHER}: {{hostname: pc-2}}}}
room: {{plan: [['', teacher], [pc-2]]}}
"""
SECRET = b"s" * 32
WORDS = st.sampled_from(["reboot", "message", "image", TEACHER, "", "a"]) | st.text(max_size=9)
JSON = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
KEYS = st.sampled_from(["order", "seats", "by", "text", "image", "loader", "x"])


def nested(each: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(KEYS, each)


class NoPages:
    connections = 0
    worker_pids: Sequence[int] = ()

    def counters(self) -> dict[str, dict[str, int]]:
        return {}

    def seats(self) -> dict[str, str]:
        return {}

    async def hang_up(self, lease: str) -> None:
        raise AssertionError(lease)

    def latency(self) -> tuple[int, ...]:
        return (0, 3, 1)

    def waited(self) -> dict[str, float]:
        return {}


@dataclass
class Rig:
    room: Room
    service: FeedService
    folder: Path
    links: list[tuple[IPv4Address, IPv4Address]] = field(default_factory=list)

    @asynccontextmanager
    async def follow(self, query: str = "after=0") -> AsyncIterator["Lines"]:
        connector = aiohttp.UnixConnector(str(self.folder / SOCKET_FILE))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://panel/feed?{query}") as response,
        ):
            assert response.status == 200, await response.text()
            yield Lines(response)

    async def order(self, **order: Any) -> dict[str, str]:
        connector = aiohttp.UnixConnector(str(self.folder / SOCKET_FILE))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://panel/feed/orders", json={"by": "anna", **order}) as response,
        ):
            assert response.status == 200, await response.text()
            found: dict[str, str] = await response.json()
            return found


class Lines:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, kind: str = "") -> dict[str, Any]:
        """Return the next record, or the next one of a kind."""
        while True:
            text = await asyncio.wait_for(self.response.content.readline(), PATIENCE)
            if not text:
                raise EOFError
            record: dict[str, Any] = json.loads(text)
            if kind in ("", record["type"]):
                return record

    async def row(self, mac: str, is_wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for a row of a seat."""
        while (row := await self.next("seat"))["mac"] != mac or not is_wanted(row):
            pass

    async def begin(self) -> list[dict[str, Any]]:
        """Return the first records: the hello, the plan, rows and kept events."""
        first = [await self.next()]
        while len(first) < 2 or first[-1]["type"] == "seat":
            first.append(await self.next())
        return first


def run(
    folder: Path,
    work: Callable[[Rig], Coroutine[Any, Any, None]],
    group: int = -1,
    profile: str = PROFILE,
) -> None:
    text = profile

    async def play() -> None:
        profile = parse(text, "room.yaml")
        journal, table = Journal(profile.clients), LeaseTable(64 * MIB)
        room = Room(profile, BootFiles(folder, profile), SECRET, journal, table)
        links: list[tuple[IPv4Address, IPv4Address]] = []
        draining = Draining(profile, table, room.leases, NoPages(), folder, time.time)
        service = FeedService(room, NoPages(), [], lambda: links, folder, draining, group)
        await service.start()
        try:
            await asyncio.wait_for(work(Rig(room, service, folder, links)), 3 * PATIENCE)
        finally:
            await service.stop()

    asyncio.run(play())


def test_a_reader_begins_with_the_room_and_hears_what_happens(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        rig.room.record(TEACHER, "dhcp", "DISCOVER from PXEClient bios", type="DISCOVER")
        async with rig.follow() as lines:
            hello, plan, teacher, other = [await lines.next() for _ in range(4)]
            assert (hello["type"], hello["first"], hello["next"]) == ("hello", 1, 2)
            assert hello["server"] == socket.gethostname() and hello["started"] > 0
            assert plan["rows"] == [["", "teacher"], ["pc-2"]]
            assert (teacher["name"], teacher["groups"]) == ("teacher", ["row"])
            assert teacher["stage"] == "dhcp" and other["stage"] == ""
            assert (await lines.next("event"))["number"] == 1
            rig.room.record(STRANGER, "dhcp", "DISCOVER", type="DISCOVER")
            event = await lines.next("event")
            assert (event["number"], event["seat"]) == (2, STRANGER)
            await lines.row(STRANGER, lambda row: row["stage"] == "dhcp")
            server = await lines.next("server")
            assert server["packets"] == {"DISCOVER": 2} and server["capacity"] == 64 * MIB

    run(tmp_path, work)


def test_a_reader_that_was_away_gets_what_it_lacks(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        for number in range(5):
            rig.room.record(TEACHER, "init:start", f"step {number}")
        async with rig.follow() as lines:
            hello = await lines.next()
        for query, first in (
            (f"after=3&run={hello['run']}", 4),
            (f"after=0&run={hello['run']}", 1),
            ("after=3&run=another", 1),
            (f"after=99&run={hello['run']}", 1),
        ):
            async with rig.follow(query) as lines:
                assert (await lines.next("event"))["number"] == first

    run(tmp_path, work)


def test_played_pcs_are_in_no_feed(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        rig.room.record(played_mac(1), "dhcp", "DISCOVER", type="DISCOVER")
        async with rig.follow() as lines:
            assert (await lines.next())["next"] == 1
        rig.room.report(played_mac(1), Report(1.0))

    run(tmp_path, work)


def test_a_failure_has_the_last_lines_of_the_console(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        body = "no link\nconsole=[ 7.0] e1000: down\nconsole=[ 8.0] nbd0: gone\n"
        rig.room.beacon(TEACHER, "failed:network", parse_beacon(body, "9.5", "9.5"))
        async with rig.follow() as lines:
            hello = await lines.next()
            assert hello["versions"]["Python"] == platform.python_version()
            while (event := await lines.next("event"))["stage"] != "failed:network":
                pass
            record = read(json.dumps(event).encode())
            assert isinstance(record, Event) and record.message == "no link"
            assert record.data["console"] == ["[ 7.0] e1000: down", "[ 8.0] nbd0: gone"]

    run(tmp_path, work)


def test_a_mirror_of_the_profile_is_counted_once_its_seat_reports(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        rig.room.seats.of(TEACHER)
        rig.room.beacon(TEACHER, "userland", parse_beacon("on", "9.5", "9.5"))
        async with rig.follow() as lines:
            await lines.row(TEACHER, lambda row: row["stage"] == "userland")
            rig.room.report(TEACHER, Report(time.time(), areas=((0, MIB),)))
            await lines.row(TEACHER, lambda row: row["mirror"] == "whole")
            while (server := await lines.next("server"))["mirrors"].get("whole") != 1:
                pass
            assert server["mirrors"] == {"whole": 1, "degraded": 0, "resyncing": 0, "unknown": 0}

    servers = "swap: {capacity: 64MiB, servers: [10.0.0.5, 10.0.0.6], layout: mirror}"
    run(tmp_path, work, profile=PROFILE.replace("swap: {capacity: 64MiB}", servers))


def test_a_report_of_a_seat_is_in_its_row(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        report = Report(time.time(), memory=512 * MIB, available=100 * MIB, load=1.5)
        async with rig.follow() as lines:
            await lines.begin()
            rig.room.report(TEACHER, report)
            rig.room.report(TEACHER, replace(report, memory=0))  # too soon
            await lines.row(
                TEACHER, lambda row: bool(row["report"]) and row["report"]["memory"] == 512 * MIB
            )
            rig.room.asked_orders(OTHER)
            await lines.row(OTHER, lambda row: row["state"] == "running")

    run(tmp_path, work)


def test_a_reader_that_does_not_read_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers_module, "MOST_BYTES", 1000)

    async def work(rig: Rig) -> None:
        feed = rig.service._feed
        async with rig.follow() as lines, rig.follow() as other:
            await lines.begin()
            assert len(feed.readers) == 2
            feed.readers.put(b"x" * 2000 + b"\n")
            for each in (lines, other):
                with pytest.raises((EOFError, aiohttp.ClientError, ValueError)):
                    while True:
                        await each.next()
            while len(feed.readers):
                await asyncio.sleep(0.01)
        async with rig.follow() as lines:
            assert (await lines.next())["type"] == "hello"

    run(tmp_path, work)


def test_there_is_a_limit_of_readers_and_wrong_numbers_are_refused(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        rig.service._feed.readers._most = 1
        connector = aiohttp.UnixConnector(str(rig.folder / SOCKET_FILE))
        async with rig.follow(), aiohttp.ClientSession(connector=connector) as session:
            for query, status in (("after=0", 429), ("after=x", 400), ("after=-1", 400)):
                async with session.get(f"http://panel/feed?{query}") as response:
                    assert response.status == status
            async with session.post("http://panel/feed/orders", data=b"x" * 70_000) as response:
                assert response.status == 413
            async with session.post("http://panel/feed/orders", data=b"{}") as response:
                assert response.status == 400

    run(tmp_path, work)


def test_over_http_it_needs_the_key(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        http = HttpServer(rig.room, port=0, panels=rig.service.door, orders=rig.service.orders)
        await http.start([IPv4Address("127.0.0.1")])
        key = (rig.folder / KEY_FILE).read_text().strip()
        assert key == ticket.panel_key(SECRET)
        assert (rig.folder / KEY_FILE).stat().st_mode & 0o777 == 0o640
        feed, orders = (f"http://127.0.0.1:{http.port}/feed{end}" for end in ("", "/orders"))
        good = {"Authorization": f"Bearer {key}"}
        macs = [f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(1000)]
        order = {"order": "reboot", "seats": macs, "by": "anna"}
        async with aiohttp.ClientSession() as session:
            for wrong in ({}, {"Authorization": f"Basic {key}"}, {"Authorization": "Bearer x"}):
                async with session.get(feed, headers=wrong) as response:
                    assert response.status == 403
                async with session.post(orders, json=order, headers=wrong) as response:
                    assert response.status == 413, "strangers may send 4 KiB"
                async with session.post(orders, json={}, headers=wrong) as response:
                    assert response.status == 403
            async with session.get(feed, headers=good) as response:
                assert (await Lines(response).next())["type"] == "hello"
            async with session.post(orders, json=order, headers=good) as response:
                assert await response.json() == dict.fromkeys(macs, "no such seat")
        begin = asyncio.get_running_loop().time()
        await rig.service.stop()
        await http.stop()
        assert asyncio.get_running_loop().time() - begin < 0.9

    run(tmp_path, work)


CELLS = "swap: {capacity: 64MiB, servers: [10.0.0.5, 10.0.0.6, 10.0.0.7], layout: mirror}"


@pytest.mark.parametrize("profile", [PROFILE, CELLS])
def test_a_server_is_drained_with_the_key_and_only_if_there_are_others(
    tmp_path: Path, profile: str
) -> None:
    async def work(rig: Rig) -> None:
        http = HttpServer(rig.room, port=0, panels=rig.service.door, orders=rig.service.orders)
        await http.start([IPv4Address("127.0.0.1")])
        server, key = f"127.0.0.1:{http.port}", ticket.panel_key(SECRET)

        async def asked(*words: str, key: str = key) -> dict[str, Any]:
            return await asyncio.to_thread(ask_drain, server, key, *words)

        for wrong in ("x" * 64, ""):
            with pytest.raises(OperatorError, match="wrong key"):
                await asked("drain", "anna", key=wrong)
        for words in (("fill", "anna"), ("drain", ""), ("drain", "a" * 65)):
            with pytest.raises(OperatorError, match="expected do=drain"):
                await asked(*words)
        assert (await asked())["drained"] is False
        if profile == PROFILE:
            with pytest.raises(OperatorError, match="no other server"):
                await asked("drain", "anna")
        else:
            found = await asked("drain", "anna")
            assert found["drained"] is True and found["by"] == "anna" and found["left"] == 0
            assert await asked() == found
            assert rig.room.leases.drained
            async with rig.follow() as lines:
                while not (await lines.next("server"))["drained"]:
                    pass
            assert (await asked("undrain", "bert"))["drained"] is False
        assert not rig.room.leases.drained
        await http.stop()

    run(tmp_path, work, profile=profile)


def test_the_socket_takes_the_place_of_a_stale_one_and_goes_with_its_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 10)  # 107 bytes are the most of an address
    folder.mkdir(parents=True)
    path = folder / SOCKET_FILE
    path.write_text("stale")

    async def work(rig: Rig) -> None:
        assert path.is_socket() and path.stat().st_mode & 0o777 == 0o660
        assert [each.name for each in folder.iterdir() if each.name.startswith(".")] == []

    run(folder, work)
    assert not path.exists()

    async def replaced(rig: Rig) -> None:
        path.unlink()
        path.write_text("of another server")

    run(folder, replaced)
    assert path.read_text() == "of another server"
    path.unlink()
    path.mkdir()
    (path / "x").touch()

    async def without(rig: Rig) -> None:
        assert caplog.messages[0].startswith("no panel can follow this server: ")

    run(folder, without)


def test_orders_reach_a_seat_and_are_journaled_with_who_gave_them(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        rig.room.record(TEACHER, "userland", "1 MiB")
        seats = [TEACHER, OTHER, STRANGER]
        waiting = asyncio.get_running_loop().create_task(
            rig.service.orders.wait(TEACHER, ("message", "identify"))
        )
        await asyncio.sleep(0)
        answer = await rig.order(order="message", seats=seats, text="save your work; 5 minutes")
        assert answer == {TEACHER: "", OTHER: OFF, STRANGER: "no such seat"}
        assert await waiting == "message save your work; 5 minutes"
        assert await rig.order(order="poweroff", seats=[TEACHER]) == {TEACHER: ""}
        assert await rig.service.orders.wait(TEACHER) == "poweroff"
        told = [event for event in rig.room.journal.history(TEACHER) if event.stage == "ordered"]
        assert [event.message for event in told] == ["message by anna", "poweroff by anna"]
        assert told[0].data == {"order": "message", "by": "anna", "refused": ""}
        (refused,) = rig.room.journal.history(OTHER)
        assert refused.message == f"message by anna, refused: {OFF}"
        assert "work" not in str(rig.room.journal.history(TEACHER)), "a message may be private"
        assert rig.room.journal.history(STRANGER) == []

    run(tmp_path, work)


def test_an_image_and_a_loader_are_ordered_for_the_next_boot(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        refused = await rig.order(order="image", seats=[TEACHER], image="nope")
        assert refused[TEACHER].startswith("root image 'nope': there is none in ")
        assert await rig.order(order="loader", seats=[TEACHER], loader="native") == {TEACHER: ""}
        seat = rig.room.seats.of(TEACHER).settings
        assert rig.room.next_boots.before(seat).boot.loader == "native"
        told = [event.message for event in rig.room.journal.history(TEACHER)]
        assert told[0].startswith("image nope by anna, refused: ")
        assert told[1] == "loader native by anna"

    run(tmp_path, work)


def test_an_entry_of_the_menu_is_ordered_for_the_next_boot(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        boots = rig.room.next_boots
        boots.entries = entries_of(Menu(entries=("rescue", "local")), ())
        refused = await rig.order(order="entry", seats=[TEACHER], text="windows")
        expected = "the boot menu has no entry 'windows'; it has: rescue, local"
        assert refused == {TEACHER: expected}
        for entry in ("rescue", "local"):
            assert await rig.order(order="entry", seats=[TEACHER], text=entry) == {TEACHER: ""}
            assert boots.entry(TEACHER) == boots.entries[entry]
        assert rig.room.journal.history(TEACHER)[-1].message == "entry local by anna"
        assert await rig.order(order="entry", seats=[TEACHER]) == {TEACHER: ""}
        assert boots.entry(TEACHER) is None

    run(tmp_path, work)


def test_a_pc_is_woken_on_each_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(rig: Rig) -> None:
        assert "no network" in (await rig.order(order="wake", seats=[TEACHER]))[TEACHER]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
            heard.bind(("127.0.0.1", 0))
            heard.setblocking(False)
            monkeypatch.setattr(wake, "DISCARD_PORT", heard.getsockname()[1])
            local = IPv4Address("127.0.0.1")
            rig.links[:] = [(IPv4Address("203.0.113.1"), local), (local, local)]
            assert await rig.order(order="wake", seats=[TEACHER]) == {TEACHER: ""}
            loop = asyncio.get_running_loop()
            packet = await asyncio.wait_for(loop.sock_recv(heard, 2000), PATIENCE)
            assert packet == wake.magic_packet(TEACHER)

    run(tmp_path, work)


def test_a_lease_ends_when_its_pc_is_off(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        table, export = rig.room.table, swap_export(TEACHER)
        lease = table.grant(TEACHER, export, "t", MIB, 0.0)
        table.attach(WireName.parse(f"{export}@t"), 0.0)
        refused = await rig.order(order="end-lease", seats=[TEACHER])
        assert refused[TEACHER].startswith("its swap is in use: switch it off")
        table.let_go(getattr(lease, "generation", ""), 0.0)
        assert await rig.order(order="end-lease", seats=[TEACHER, OTHER]) == {
            TEACHER: "",
            OTHER: "",
        }
        assert not table.has(export)

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        (b"\xff", "order: expected JSON"),
        (b"[" * 100_000, "order: expected JSON"),
        ([], "order: expected an object"),
        ({"order": "explode"}, "order: expected reboot, poweroff, message, "),
        ({"order": ["reboot"]}, "order: expected reboot"),
        ({"seats": []}, "seats: expected 1 to 2500 MAC addresses"),
        ({"seats": "52:54:00:12:34:01"}, "seats: expected 1 to"),
        ({"seats": ["52:54:00:12:34:0"]}, "seats: expected MAC addresses"),
        ({"seats": [1]}, "seats: expected MAC addresses"),
        ({"by": ""}, "by: expected the name"),
        ({"by": "a\nb"}, "by: expected at most 64 printable"),
        ({"order": "message"}, "text: expected a message"),
        ({"order": "message", "text": " "}, "text: expected a message"),
        ({"order": "message", "text": "a\x1b[0m"}, "text: expected at most 200 printable"),
        ({"order": "message", "text": "a" * 201}, "text: expected at most 200 printable"),
        ({"order": "image", "image": "../a"}, "image: expected the name of a root image"),
        (
            {"order": "loader", "loader": "lilo"},
            "loader: expected auto, ipxe, native, own or signed",
        ),
        ({"when": 1}, "order: unknown key 'when'"),
    ],
)
def test_mistakes_in_an_order_are_told(given: object, mistake: str) -> None:
    if isinstance(given, dict):
        given = {"order": "reboot", "seats": [TEACHER], "by": "anna"} | given
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    found = parse_order(body)
    assert isinstance(found, str) and found.startswith(mistake)


def test_an_order_is_read() -> None:
    body = {"order": "message", "seats": [TEACHER, TEACHER], "by": "anna", "text": "\u00e4 b"}
    order = parse_order(json.dumps(body).encode())
    assert order == Order("message", (TEACHER,), "anna", "\u00e4 b")


def test_a_thousand_events_are_looked_at_without_a_long_pause(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        loop = asyncio.get_running_loop()
        for number in range(1000):
            rig.room.record(TEACHER, "init:start", f"step {number}")
        feed, turns = rig.service._feed, 0
        while feed._waiting or not feed._ring.of(TEACHER):
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 1000 // feed_module.AT_ONCE
        assert loop.is_running() and os.getpid()

    run(tmp_path, work)


@given(st.binary(max_size=200) | st.recursive(JSON, lambda each: st.lists(each) | nested(each)))
def test_any_body_is_an_order_or_a_mistake(body: object) -> None:
    found = parse_order(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert isinstance(found, Order) or (found and found.isprintable())


@pytest.mark.root
def test_the_socket_is_for_the_group_of_the_panel(tmp_path: Path) -> None:
    async def work(rig: Rig) -> None:
        assert (tmp_path / SOCKET_FILE).stat().st_gid == 65534

    run(tmp_path, work, group=65534)
