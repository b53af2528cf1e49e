"""The client of feeds: it catches up, it bounds what a server sends, and it gives orders."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from netboot.errors import AnswerError, SilenceError
from netboot.feed.records import MAX_LINE_BYTES, Event, Hello, Record, SeatRow, ServerRow, line
from netboot.panel import follow, servers
from netboot.panel.follow import Follower, Source
from netboot.panel.records import Order
from netboot.panel.room import Room
from netboot.panel.servers import Servers
from tests.panel.feeding import Feeding, a_room, a_seat, fed, figures, mac_of

KEY = "k" * 64


@dataclass
class Heard:
    """A sink that keeps all."""

    records: list[Record] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def connected(self, link: str, reason: str) -> None:
        self.reasons.append(reason)

    def take(self, link: str, record: Record) -> None:
        self.records.append(record)

    def of(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.records if isinstance(each, kind)]

    @property
    def numbers(self) -> list[int]:
        return [each.number for each in self.of(Event)]


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work

    asyncio.run(bounded())


async def until(is_so: Callable[[], object]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


@asynccontextmanager
async def following(source: Source, **options: Any) -> AsyncIterator[tuple[Follower, Heard]]:
    heard = Heard()
    async with Follower(source, (heard,), chance=lambda: 0.0, **options) as follower:
        task = asyncio.create_task(follower.run())
        try:
            yield follower, heard
        finally:
            task.cancel()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LEAST_WAIT", 0.02)
    monkeypatch.setattr(follow, "MOST_WAIT", 0.05)


@pytest.mark.parametrize("over", ("socket", "http"))
def test_a_feed_is_read_over_a_socket_and_over_http_with_a_key(tmp_path: Path, over: str) -> None:
    async def work() -> None:
        place = tmp_path / "feed.sock" if over == "socket" else None
        async with fed(place, key="" if place else KEY) as server:
            server.send(*a_room(10, 1000.0))
            async with following(server.source) as (follower, heard):
                await until(lambda: heard.of(ServerRow))
                assert len(heard.of(SeatRow)) == 10 and follower.reason == ""
                assert follower.server == "school" and heard.reasons == [""]
                server.send(a_seat(3, 2000.0), server.event(3, "swap"))
                await until(lambda: heard.numbers == [1])
                assert heard.records[-2] == a_seat(3, 2000.0)

    run(work())


def test_a_broken_feed_is_opened_again_and_no_event_is_told_twice(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server, following(server.source) as (_, heard):
            await until(lambda: server.readers)
            server.send(server.event(1, "dhcp"), server.event(1, "tftp"))
            server.break_off()
            await until(lambda: len(server.asked) == 2 and server.readers)
            assert dict(server.asked[1]) == {"after": "2", "run": "run-1"}
            server.send(server.event(1, "http"))
            await until(lambda: heard.numbers == [1, 2, 3])
            assert heard.reasons[:3] == ["", "the server ended the feed", ""]

    run(work())


def test_events_of_a_new_run_begin_at_one_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server, following(server.source) as (_, heard):
            await until(lambda: server.readers)
            server.send(server.event(1, "dhcp"), server.event(1, "tftp"))
            await until(lambda: heard.numbers == [1, 2])
            server.run, server.events, server.next = "run-2", [], 1
            server.send(
                server.event(1, "kernel")
            )  # read while the first run goes on: known already
            server.break_off()
            await until(lambda: heard.numbers == [1, 2, 1])
            assert heard.of(Event)[-1].stage == "kernel"

    run(work())


def test_a_panel_that_starts_again_asks_for_what_it_lacks(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server:
            server.send(server.event(1, "http"), server.event(1, "swap"))
            async with following(server.source, run="run-1", number=1) as (_, heard):
                await until(lambda: heard.of(ServerRow))
                assert heard.numbers == [2]

    run(work())


@pytest.mark.parametrize(
    ("options", "reason"),
    (
        ({"key": KEY}, "wrong key"),
        ({"status": 404}, "older than this panel"),
        ({"status": 503}, "the server refused: busy: come later"),
        ({"protocol": 2}, "speaks feed protocol 2, this panel 1"),
    ),
)
def test_a_refusal_is_told_with_its_remedy_and_the_feed_is_tried_again(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s", **options) as server:
            source = replace(server.source, key="")
            async with following(source) as (follower, heard):
                await until(lambda: len(heard.reasons) >= 2)
                assert reason in follower.reason and heard.records == []
                server.key, server.status, server.protocol = "", 200, 1
                await until(lambda: heard.of(ServerRow))
                assert follower.reason == ""

    run(work())


def test_a_server_that_is_not_there_is_told_and_found_when_it_comes(tmp_path: Path) -> None:
    async def work() -> None:
        place = tmp_path / "s"
        async with following(Source(place)) as (follower, heard):
            await until(lambda: heard.reasons)
            assert follower.reason == "cannot connect: No such file or directory"
            async with fed(place):
                await until(lambda: heard.of(ServerRow))

    run(work())


async def strange(place: Path, answer: bytes) -> web.AppRunner:
    """Start a server that answers each request with these bytes."""

    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=answer)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(place)).start()
    return runner


HELLO = line(Hello("school", "0.2.0", "r", 0.0, 1, 1))


@pytest.mark.parametrize(
    ("answer", "reason"),
    (
        (b"<html>\n", "no feed of netboot: "),
        (line(figures(1.0)), "it does not begin with a hello"),
        (b"x" * (MAX_LINE_BYTES + 1), "no feed of netboot: more than 65536 bytes"),
        (HELLO + b"x" * (MAX_LINE_BYTES + 1) + b"\n", "the server ended the feed"),
        (HELLO + b"?\n" * 20, "no feed of netboot: "),
        (HELLO + b"?\n" * 19, "the server ended the feed"),
        (HELLO + b'{"type":"seat"', "the server ended the feed"),
        (b"", "the server ended the feed"),
    ),
)
def test_what_is_no_feed_is_dropped_with_a_reason(
    tmp_path: Path, answer: bytes, reason: str
) -> None:
    async def work() -> None:
        runner = await strange(tmp_path / "s", answer)
        async with following(Source(tmp_path / "s")) as (_, heard):
            await until(lambda: any(heard.reasons))
            assert next(filter(None, heard.reasons)).startswith(reason) or reason in "".join(
                heard.reasons
            )
        await runner.cleanup()

    run(work())


def test_a_wrong_line_is_left_out(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server, following(server.source) as (_, heard):
            await until(lambda: server.readers)
            server.send_raw(b'{"type":"seat","mac":5}\nnonsense\n' + line(a_seat(7, 5.0)))
            await until(lambda: heard.of(SeatRow))
            assert heard.of(SeatRow) == [a_seat(7, 5.0)] and heard.reasons == [""]

    run(work())


def test_a_record_that_breaks_a_receiver_ends_no_other_feed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Brittle(Heard):
        def take(self, link: str, record: Record) -> None:
            if isinstance(record, Event):
                raise OverflowError("cannot convert float infinity to integer")

    async def work() -> None:
        async with fed(tmp_path / "s") as server, fed(tmp_path / "t") as other:
            brittle, heard = Brittle(), Heard()
            followers = Servers(
                [Follower(server.source, (brittle,)), Follower(other.source, (heard,))],
                lambda mac: [],
            )
            task = asyncio.create_task(followers.run())
            await until(lambda: server.readers and other.readers)
            for attempt in (1, 2):
                server.send(server.event(1, "dhcp"))
                await until(lambda attempt=attempt: len(server.asked) > attempt)  # type: ignore[misc]
                await until(lambda: server.readers)
            other.send(other.event(1, "dhcp"))
            await until(lambda: heard.numbers == [1])
            assert not task.done()
            assert "more than this panel can take: OverflowError" in "".join(brittle.reasons)
            task.cancel()

    run(work())
    assert [each.name for each in caplog.records].count(follow.log.name) == 1


def test_a_server_that_falls_silent_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "SILENCE_SECONDS", 0.1)

    async def work() -> None:
        async with fed(tmp_path / "s") as server, following(server.source) as (_, heard):
            await until(lambda: any(heard.reasons))
            assert heard.reasons[1] == "nothing came for 0.1 s"
            await until(lambda: len(server.asked) >= 2)

    run(work())


def test_waits_grow_and_are_random(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(follow, "LEAST_WAIT", 0.5)
    monkeypatch.setattr(follow, "MOST_WAIT", 10.0)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds:
            waits.append(seconds)
        if len(waits) == 7:
            raise asyncio.CancelledError

    monkeypatch.setattr("netboot.panel.follow.asyncio.sleep", sleep)

    async def work() -> None:
        async with Follower(Source(tmp_path / "s"), (), chance=lambda: 1.0) as follower:
            with pytest.raises(asyncio.CancelledError):
                await follower.run()

    run(work())
    assert waits == [1, 2, 4, 8, 10, 10, 10]


def test_the_first_records_of_a_feed_are_the_room(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server:
            server.send(*a_room(60, 1000.0))
            async with Follower(server.source, ()) as follower:
                records = await follower.first(5.0)
            assert [type(each) for each in records[:2]] == [Hello, type(server.plan)]
            assert len(records) == 63
            async with Follower(Source(tmp_path / "none"), ()) as follower:
                with pytest.raises(SilenceError, match="none: cannot connect: No such file"):
                    await follower.first(5.0)

    run(work())


@asynccontextmanager
async def two_servers(tmp_path: Path) -> AsyncIterator[tuple[Feeding, Feeding, Room, Servers]]:
    async with fed(tmp_path / "a", name="one") as one, fed(key=KEY, name="two") as two:
        one.send(a_seat(1, 1000.0), a_seat(2, 1000.0))
        two.send(a_seat(3, 1000.0), SeatRow(mac_of(1), "pc-001"))
        room = Room()
        readers = [Follower(each.source, (room,)) for each in (one, two)]
        followers = Servers(readers, room.servers_of)
        task = asyncio.create_task(followers.run())
        await until(lambda: all(room.servers_of(mac_of(each)) for each in (1, 2, 3)))
        await until(lambda: len(room.servers_of(mac_of(1))) == 2)
        yield one, two, room, followers
        task.cancel()


def test_orders_go_to_the_server_of_each_seat(tmp_path: Path) -> None:
    async def work() -> None:
        async with two_servers(tmp_path) as (one, two, _, followers):
            two.refusals[mac_of(3)] = "it does not run"
            seats = tuple(mac_of(each) for each in (1, 2, 3, 4))
            order = Order("message", seats, "anna", "10.0.0.9", text="lunch")
            assert await followers.send(order) == {
                mac_of(1): "",
                mac_of(2): "",
                mac_of(3): "it does not run",
                mac_of(4): "no connected server knows this seat",
            }
            body = {"order": "message", "by": "anna", "text": "lunch"}
            assert one.orders == [body | {"seats": [mac_of(1), mac_of(2)]}]
            assert two.orders == [body | {"seats": [mac_of(3)]}]

    run(work())


def test_an_order_for_many_seats_is_given_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "MOST_SEATS", 2)

    async def work() -> None:
        async with fed(tmp_path / "a") as server, Follower(server.source, ()) as follower:
            followers = Servers((follower,), lambda _: [server.source.link])
            macs = tuple(mac_of(each) for each in range(5))
            assert await followers.send(Order("wake", macs, "anna")) == dict.fromkeys(macs, "")
            assert sorted(len(order["seats"]) for order in server.orders) == [1, 2, 2]

    run(work())


def test_a_socket_of_another_user_is_told_with_its_remedy() -> None:
    key = aiohttp.client_reqrep.ConnectionKey("x", 0, False, False, None, None, None)
    error = aiohttp.ClientConnectorError(key, PermissionError(13, "Permission denied"))
    assert follow._why(error).startswith("not allowed to read the feed: run this as root")


def test_a_lease_ends_at_each_server_that_has_one(tmp_path: Path) -> None:
    async def work() -> None:
        async with two_servers(tmp_path) as (one, two, _, followers):
            two.refusals[mac_of(1)] = "in use"
            result = await followers.send(Order("end-lease", (mac_of(1),), "anna"))
            assert result == {mac_of(1): "in use"}
            assert len(one.orders) == len(two.orders) == 1

    run(work())


def test_an_order_that_a_server_does_not_take_is_a_refusal(tmp_path: Path) -> None:
    async def work() -> None:
        async with two_servers(tmp_path) as (one, _, _, followers):
            one.status = 503
            result = await followers.send(Order("reboot", (mac_of(1), mac_of(3)), "anna"))
            assert result[mac_of(3)] == ""
            assert result[mac_of(1)] == (
                "server one did not take the order: the server refused: busy: come later"
            )

    run(work())


@pytest.mark.parametrize("answer", (b"[]", b"{", b'{"a":1}', b'{"a":"' + b"x" * (1 << 20) + b'"}'))
def test_an_answer_to_an_order_that_is_none_is_an_error(tmp_path: Path, answer: bytes) -> None:
    async def work() -> None:
        runner = await strange(tmp_path / "s", answer)
        async with Follower(Source(tmp_path / "s"), ()) as follower:
            with pytest.raises(AnswerError):
                await follower.give({"order": "reboot", "seats": []})
        await runner.cleanup()

    run(work())


def test_the_key_is_in_no_text_of_a_source() -> None:
    assert KEY not in repr(Source(address="10.0.0.1:8080", key=KEY))


def test_a_port_that_nobody_serves_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        with socket.socket() as unserved:
            unserved.bind(("127.0.0.1", 0))  # and kept, so that no other program serves it
            port = unserved.getsockname()[1]
            async with following(Source(address=f"127.0.0.1:{port}")) as (follower, heard):
                await until(lambda: heard.reasons)
                assert follower.reason == "cannot connect: Connection refused"

    run(work())
