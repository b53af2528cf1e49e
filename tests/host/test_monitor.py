"""The monitor reads the world anew when the kernel says that something changed."""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from netboot.host import monitor, netlink
from netboot.host.interfaces import Choice, Interface
from netboot.host.monitor import Monitor

ETH = Interface("eth0", 2, IPv4Address("10.9.0.1"), IPv4Network("10.9.0.0/24"))
BEFORE, AFTER = Choice((ETH,)), Choice((replace(ETH, address=IPv4Address("10.9.0.2")),))


class News:
    """The kernel's socket, by a pair of ours, and the world that it tells of."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.world = BEFORE
        self.looks = 0
        self.ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        patch.setattr(netlink, "subscribe", lambda: self.ours)
        patch.setattr(monitor, "look", self._look)
        patch.setattr(monitor, "SETTLE_SECONDS", 0.01)
        patch.setattr(monitor, "RETRY_SECONDS", 0.01)

    def _look(self, *names: str) -> Choice:
        self.looks += 1
        return self.world

    def run(self, changed: Callable[[Choice, Choice], bool], until: asyncio.Event) -> None:
        async def scenario() -> None:
            watching = Monitor(["eth0"], changed, BEFORE)
            watching.start()
            await asyncio.sleep(0)
            self.world = AFTER
            for _ in range(20):
                self.kernel.send(b"news")
            try:
                await asyncio.wait_for(until.wait(), 60)
                assert watching.interfaces == AFTER.interfaces
            finally:
                watching.stop()

        with self.kernel:
            asyncio.run(scenario())


def test_many_messages_are_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    news, seen, done = News(monkeypatch), [], asyncio.Event()

    def changed(before: Choice, after: Choice) -> bool:
        seen.append((before, after))
        done.set()
        return True

    news.run(changed, done)
    assert seen == [(BEFORE, AFTER)]
    assert news.looks <= 3


def test_what_could_not_be_served_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    news, seen, done = News(monkeypatch), [], asyncio.Event()

    def changed(before: Choice, after: Choice) -> bool:
        seen.append((before, after))
        if len(seen) == 3:
            done.set()
        return len(seen) == 3

    news.run(changed, done)
    assert seen == [(BEFORE, AFTER), (AFTER, AFTER), (AFTER, AFTER)]


def test_a_fault_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a descriptor for a new card, that card was never served."""
    news, seen, done = News(monkeypatch), [], asyncio.Event()

    def changed(before: Choice, after: Choice) -> bool:
        seen.append((before, after))
        if len(seen) == 1:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            raise OSError(errno.EMFILE, "no descriptor")
        done.set()
        return True

    news.run(changed, done)
    assert seen == [(BEFORE, AFTER), (AFTER, AFTER)]


def test_an_error_of_the_kernel_is_an_oserror() -> None:
    answer = struct.pack("=IHHIIi", 36, netlink.NLMSG_ERROR, 0, 0, 0, -errno.ENOBUFS) + bytes(16)

    class Asked:
        def recv(self, size: int) -> bytes:
            return answer

    with pytest.raises(OSError) as caught:
        list(netlink._answers(Asked()))  # type: ignore[arg-type]
    assert caught.value.errno == errno.ENOBUFS


def test_messages_that_the_kernel_lost_do_not_matter() -> None:
    answers: list[OSError | bytes] = [OSError(errno.ENOBUFS, ""), b"x", BlockingIOError()]

    class Overrun:
        def recv(self, size: int) -> bytes:
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

    netlink.drain(Overrun())  # type: ignore[arg-type]
    assert not answers
