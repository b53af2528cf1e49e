"""The parts of a panel together: schedules, plan and history, in this process."""

import asyncio
import errno
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from netboot.errors import OperatorError
from netboot.panel import process, schedule
from netboot.panel.history import History
from netboot.panel.login.sessions import Sessions
from netboot.panel.process import PanelService, Wanted
from netboot.panel.records import Schedule
from netboot.panel.schedule import local_zone
from netboot.panel.web.server import listen
from tests.panel.feeding import Feeding, a_room, fed, figures, mac_of

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(schedule, "EMPTY_SECONDS", 0.1)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 100))


async def until(is_so: Callable[[], object]) -> None:
    while not is_so():
        await asyncio.sleep(0.02)


@asynccontextmanager
async def working(tmp_path: Path, server: Feeding) -> AsyncIterator[PanelService]:
    """Run a panel of one played server."""
    state = tmp_path / "panel"
    state.mkdir(exist_ok=True)
    service = PanelService(Wanted((server.source,), state), listen("127.0.0.1", 0))
    ready = asyncio.Event()
    task = asyncio.create_task(service.run(ready.set))
    try:
        await ready.wait()
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(service.close)


@asynccontextmanager
async def earlier(tmp_path: Path) -> AsyncIterator[History]:
    """Open the history before the panel starts."""
    (tmp_path / "panel").mkdir()
    history = History(tmp_path / "panel")
    await asyncio.to_thread(history.start)
    yield history
    await asyncio.to_thread(history.close)


def test_an_order_of_a_schedule_is_given_and_written_down(tmp_path: Path) -> None:
    async def work() -> None:
        now = time.time()
        wall = datetime.fromtimestamp(now, local_zone()).strftime("%H:%M")
        async with fed(tmp_path / "s") as server:
            server.send(*a_room(10, now), figures(now))
            server.refusals[mac_of(1)] = "it does not run"
            async with earlier(tmp_path) as history:
                every_day = tuple(range(7))
                wanted = Schedule(0, "poweroff", ("group:front",), wall, every_day)
                added = await history.add_schedule(wanted)
            # The panel was off when the minute began.
            given = json.dumps({"version": schedule.VERSION, "given_until": now - 100})
            (tmp_path / "panel" / process.SCHEDULED).write_text(given)
            async with working(tmp_path, server) as service:
                await until(lambda: server.orders)
                (order,) = server.orders
                assert (order["order"], order["by"]) == ("poweroff", f"schedule {added.id}")
                assert order["seats"] == [mac_of(number) for number in (1, 3, 5, 7, 9)]
                entries = await service._history.audit(10)
                while not entries:
                    await asyncio.sleep(0.1)
                    entries = await service._history.audit(10)
                assert entries[0].action == "order:poweroff"
                assert entries[0].outcome == "1 of 5 refused"

    run(work())


def test_the_plan_of_hand_is_there_after_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server:
            async with earlier(tmp_path) as history:
                await history.save_plan((("a", "b"),))
            async with working(tmp_path, server) as service:
                await until(lambda: service.room.view().plan == (("a", "b"),))

    run(work())


def test_a_second_panel_of_one_folder_is_refused_and_one_that_ends_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Wanted((), tmp_path)
    with listen("127.0.0.1", 0) as listener:
        monkeypatch.setattr(process, "LOCK_SECONDS", 0.2)
        first = PanelService(wanted, listener)
        with pytest.raises(OperatorError, match="another panel works in"):
            PanelService(wanted, listener)
        monkeypatch.setattr(process, "LOCK_SECONDS", 20.0)
        ending = threading.Timer(0.3, first.close)
        ending.start()
        PanelService(wanted, listener).close()
        ending.join()

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
        with pytest.raises(OperatorError, match="cannot be locked: No locks available"):
            PanelService(wanted, listener)


def test_sessions_are_kept_at_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server, working(tmp_path, server) as service:
            token = service._sessions.open("operator", "s", time.monotonic() - 3600)
        kept = Sessions(tmp_path / "panel" / "panel-sessions.json")
        kept.load(time.monotonic())
        assert kept.find(token, time.monotonic() + 6.9 * 3600, touch=False)
        assert kept.find(token, time.monotonic() + 7.1 * 3600) is None

    run(work())


def test_a_panel_that_starts_again_knows_boots_of_the_time_between(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server:
            now = time.time()
            server.send(*a_room(3, now), figures(now))
            for begin in (now - 5000, now - 1000):
                async with working(tmp_path, server) as service:
                    await until(lambda: service.room.view().seats)
                    await asyncio.sleep(1.5)
                kernel, userland = (
                    server.event(1, "kernel"),
                    server.event(1, "userland", uptime=3.0),
                )
                server.send(replace(kernel, when=begin), replace(userland, when=begin + 3))
            async with working(tmp_path, server) as service:
                boots = await service._history.boots(mac_of(1), 10)
                while len(boots) < 2:
                    await asyncio.sleep(0.1)
                    boots = await service._history.boots(mac_of(1), 10)
                assert [(boot.outcome, boot.seconds) for boot in boots] == [("running", 3.0)] * 2
                assert [step.stage for step in boots[0].stages] == ["kernel", "userland"]

    run(work())
