"""Exceptions that nobody handles."""

import asyncio
import os

import pytest

from netboot.host import faults


def test_what_nobody_handles_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        faults.tell_faults(loop)
        for _ in range(100):
            loop.call_soon(os.environ.__getitem__, "lost")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert len(caplog.messages) == 1
    assert "KeyError: 'lost'" in caplog.text


def test_a_task_that_ends_is_told_while_it_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    async def survey() -> None:
        raise ValueError("odd")

    async def scenario() -> None:
        faults.tell_faults(asyncio.get_running_loop())
        kept = asyncio.create_task(survey())
        faults.watch(kept)
        ended = asyncio.create_task(asyncio.sleep(9))
        faults.watch(ended)
        ended.cancel()
        await asyncio.wait([kept, ended])
        await asyncio.sleep(0)
        assert len(caplog.messages) == 1

    asyncio.run(scenario())
    assert "survey has ended" in caplog.text and "ValueError: odd" in caplog.text
