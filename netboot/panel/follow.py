"""Follow the feed of a server: read it for as long as the panel runs, and give orders.

A feed is read over the server's Unix socket, or over HTTP with the panel's key. A feed that ends is
opened again after a wait, which doubles and has a random part, because many panels must not come back at
once. The reader asks for the events after the last number that it has of the server's run, so none is lost
while the server keeps it. Lines, waits and answers have limits, whatever a server sends.
"""

import asyncio
import errno
import json
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp

from netboot.errors import AnswerError, SilenceError
from netboot.feed.protocol import FEED_PATH, KEY_FILE, ORDERS_PATH
from netboot.feed.reading import Reader, Wrong
from netboot.feed.records import PROTOCOL, Event, Hello, Record, ServerRow
from netboot.host.text import cause, printable

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 15.0  # a server tells its figures every second
ORDER_SECONDS = 20.0  # a server under load
MOST_ANSWER_BYTES = 1 << 20  # results for 4,096 seats
MOST_REASON = 200  # characters
MOST_WRONG_LINES = 20  # in one connection; a server of another release would fill the log
LEAST_WAIT, MOST_WAIT = 0.5, 10.0  # seconds between two attempts
HEALTHY_SECONDS = 10.0  # a feed that was read for so long is opened again without a long wait
WRONG_KEY = f"wrong key: copy {KEY_FILE} from the state folder of that server"
PROBLEMS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: WRONG_KEY,
    HTTPStatus.FORBIDDEN: WRONG_KEY,
    HTTPStatus.NOT_FOUND: "no feed there: its release is older than this panel's; update the server",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a server's feed is: a Unix socket, or ``HOST:PORT`` with a key."""

    path: Path | None = None
    address: str = ""
    key: str = field(default="", repr=False)

    @property
    def link(self) -> str:
        """The name of this source until its server has told its own; each has another one."""
        return str(self.path) if self.path is not None else self.address


class Sink(Protocol):
    """A receiver of records. Its calls must not block."""

    def connected(self, link: str, reason: str) -> None:
        """Note that a feed is read, or for which ``reason`` it is not."""

    def take(self, link: str, record: Record) -> None:
        """Take a record."""


class Follower:
    """The reader of one feed. ``run`` reads for ever; ``give`` gives an order."""

    def __init__(
        self,
        source: Source,
        sinks: Collection[Sink],
        *,
        run: str = "",
        number: int = 0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Follow ``source``. ``run`` and ``number`` are those of the last event that is known already."""
        self.source = source
        self.reason = "not asked yet"  # why the feed is not read; empty if it is
        self.server = source.link
        self._sinks = sinks
        self._run, self._number = run, number
        self._chance = chance
        self._fault = ""  # the last one of ours, which is logged once
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = (
            aiohttp.TCPConnector(limit=8)
            if self.source.path is None
            else aiohttp.UnixConnector(path=str(self.source.path), limit=8)
        )
        headers = {"Accept-Encoding": "identity"}
        if self.source.key:
            headers["Authorization"] = f"Bearer {self.source.key}"
        self._session = aiohttp.ClientSession(
            f"http://{self.source.address or 'netboot'}",
            connector=connector,
            headers=headers,
            auto_decompress=False,  # a small answer could become a thousand times larger
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def run(self) -> None:
        """Read the feed for ever."""
        loop, wait = asyncio.get_running_loop(), LEAST_WAIT
        while True:
            began = loop.time()
            reason = await self._attempt()
            self._tell(reason)
            wait = LEAST_WAIT if loop.time() - began > HEALTHY_SECONDS else min(2 * wait, MOST_WAIT)
            await asyncio.sleep(wait * (0.5 + self._chance() / 2))

    async def first(self, seconds: float) -> list[Record]:
        """Return the first records of the feed, up to the server's first figures. Raises AnswerError."""
        found: list[Record] = []
        try:
            async with asyncio.timeout(seconds):
                async for record in self._records():
                    found.append(record)
                    if isinstance(record, ServerRow):  # the rows and events of before are told
                        break
        except TimeoutError:
            if not found:
                raise SilenceError(f"{self.source.link}: nothing came for {seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failed(error, f"{self.source.link}: ") from error
        return found

    async def _attempt(self) -> str:
        """Read until the feed ends; return why it did."""
        try:
            async for record in self._records():
                for sink in self._sinks:
                    sink.take(self.source.link, record)
            return "the server ended the feed"
        except AnswerError as error:
            return str(error)
        except TimeoutError:
            return f"nothing came for {SILENCE_SECONDS:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _why(error)
        except Exception as error:  # of a sink: the feeds of other servers must go on
            reason = f"its feed is more than this panel can take: {type(error).__name__}; report it"
            if reason != self._fault:
                self._fault = reason
                log.exception("server %s: %s", self.source.link, reason)
            return reason

    def _tell(self, reason: str) -> None:
        self.reason = reason
        for sink in self._sinks:
            sink.connected(self.source.link, reason)

    async def _records(self) -> AsyncIterator[Record]:
        """Yield the records of one connection. Raises AnswerError and what aiohttp raises."""
        assert self._session is not None
        known = {"after": str(self._number), "run": self._run}
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        async with self._session.get(
            FEED_PATH, params=known, timeout=limits, allow_redirects=False
        ) as answer:
            if answer.status != HTTPStatus.OK:
                raise AnswerError(await _refusal(answer))
            reader, wrong, greeted = Reader(), 0, False
            async for piece in answer.content.iter_any():
                for record in reader.feed(piece):
                    if isinstance(record, Wrong):
                        wrong += 1
                        if wrong == MOST_WRONG_LINES or not greeted:
                            raise AnswerError(f"no feed of netboot: {printable(record.reason)}")
                        continue
                    if not greeted:
                        self._greet(record)
                        greeted = True
                    if not isinstance(record, Event) or self._is_new(record):
                        yield record
                await asyncio.sleep(0)  # a fast server must not keep the browsers waiting

    def _greet(self, record: Record) -> None:
        if not isinstance(record, Hello):
            raise AnswerError("no feed of netboot: it does not begin with a hello")
        if record.protocol != PROTOCOL:
            raise AnswerError(
                f"the server speaks feed protocol {record.protocol}, this panel {PROTOCOL}; "
                "update the older of them"
            )
        if record.run != self._run:
            self._run, self._number = record.run, 0
        self.server = record.server
        self._tell("")

    def _is_new(self, event: Event) -> bool:
        """Return False for an event that came before."""
        if event.number <= self._number:
            return False
        self._number = event.number
        return True

    async def give(self, order: Mapping[str, Any]) -> dict[str, str]:
        """Give an order. Return for each seat "" or why it was refused. Raises AnswerError."""
        assert self._session is not None
        limits = aiohttp.ClientTimeout(total=ORDER_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.post(
                ORDERS_PATH, json=order, timeout=limits, allow_redirects=False
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    raise AnswerError(await _refusal(answer))
                return _results(await _body(answer))
        except TimeoutError:
            raise SilenceError(f"no answer for {ORDER_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failed(error) from error


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    content = b""
    async for piece in answer.content.iter_any():
        content += piece
        if len(content) > MOST_ANSWER_BYTES:
            raise AnswerError(f"an answer of more than {MOST_ANSWER_BYTES} bytes")
    return content


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    """Return why the server did not answer with a feed or with results."""
    if answer.status in PROBLEMS:
        return PROBLEMS[answer.status]
    text = (await answer.content.read(MOST_REASON)).decode("utf-8", "replace").strip()
    return f"the server refused: {printable(text, MOST_REASON) or f'HTTP {answer.status}'}"


def _results(content: bytes) -> dict[str, str]:
    found = json.loads(content)
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ValueError("no results of netboot")
    return {mac: printable(reason, MOST_REASON) for mac, reason in found.items()}


def _failed(error: Exception, where: str = "") -> AnswerError:
    """Return the error to raise for one of a connection."""
    is_silent = isinstance(error, aiohttp.ClientConnectorError) and error.errno != errno.EACCES
    return (SilenceError if is_silent else AnswerError)(where + _why(error))


def _why(error: Exception) -> str:
    """Return an error of a connection as a cause."""
    if isinstance(error, aiohttp.ClientConnectorError):
        if error.errno == errno.EACCES:
            return "not allowed to read the feed: run this as root, or in the group of the socket"
        # asyncio's own text has the address, and not the cause.
        return f"cannot connect: {os.strerror(error.errno) if error.errno else error.os_error}"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "the connection broke"
    if isinstance(error, OSError):
        return printable(cause(error))
    return printable(f"not HTTP: {error}")
