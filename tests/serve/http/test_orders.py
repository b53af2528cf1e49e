"""Orders: a seat that waits gets them, and one that shows something gets the next one, too."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from netboot.serve.http import orders as orders_module
from netboot.serve.http.orders import MOST_HELD, OFF, OLD, RETURN_SECONDS, Orders

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"
CAN = ("message", "identify", "dance")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def run(work: Callable[[Orders, Clock], Coroutine[Any, Any, None]]) -> None:
    clock = Clock()
    asyncio.run(work(Orders(clock), clock))


async def waiting(orders: Orders, *can: str) -> "asyncio.Task[str]":
    task = asyncio.get_running_loop().create_task(orders.wait(MAC, can))
    await asyncio.sleep(0)
    return task


def test_a_seat_that_waits_gets_one_order() -> None:
    async def work(orders: Orders, clock: Clock) -> None:
        assert orders.refusal(MAC, "reboot") == OFF and not orders.give(MAC, "reboot")
        task = await waiting(orders)
        assert orders.refusal(MAC, "reboot") == "" and orders.give(MAC, "reboot")
        assert orders.refusal(MAC, "reboot") == OFF, "it goes off"
        assert await task == "reboot"
        assert not orders.give(OTHER, "reboot")

    run(work)


def test_a_pc_of_an_earlier_release_can_show_nothing() -> None:
    async def work(orders: Orders, clock: Clock) -> None:
        task = await waiting(orders, "")
        assert orders.refusal(MAC, "message hello") == orders.refusal(MAC, "identify") == OLD
        assert not orders.give(MAC, "message hello")
        assert orders.give(MAC, "poweroff") and await task == "poweroff"

    run(work)


def test_orders_wait_for_a_seat_that_is_about_to_ask_again() -> None:
    async def work(orders: Orders, clock: Clock) -> None:
        task = await waiting(orders, *CAN)
        assert orders.give(MAC, "message hello world")
        assert await task == "message hello world"
        assert orders.give(MAC, "identify") and orders.give(MAC, "reboot")
        assert await orders.wait(MAC, CAN) == "identify"
        assert await orders.wait(MAC, CAN) == "reboot"
        task = await waiting(orders, *CAN)
        assert orders.give(MAC, "message again") and await task == "message again"
        for _ in range(MOST_HELD):
            assert orders.give(MAC, "identify")
        assert "has not shown" in orders.refusal(MAC, "identify")
        assert not orders.give(MAC, "identify")
        clock.now += RETURN_SECONDS + 1
        assert orders.refusal(MAC, "identify") == OFF, "it did not ask again"

    run(work)


def test_a_second_question_of_a_seat_ends_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(orders: Orders, clock: Clock) -> None:
        first, second = await waiting(orders), await waiting(orders)
        assert await first == "" and not second.done()
        assert orders.give(MAC, "reboot") and await second == "reboot"
        monkeypatch.setattr(orders_module, "WAIT_SECONDS", 0.01)
        assert await orders.wait(MAC) == ""
        assert orders.refusal(MAC, "reboot") == OFF

    run(work)


def test_a_server_that_stops_lets_all_seats_go() -> None:
    async def work(orders: Orders, clock: Clock) -> None:
        task = await waiting(orders)
        orders.release()
        assert await task == ""

    run(work)
