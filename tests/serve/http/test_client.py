"""The HTTP client of doctor and storm, with sound servers and with ones that break off or lie."""

import asyncio

import pytest

from netboot.errors import AnswerError
from netboot.serve.http.client import http_download, http_read


def _answered(answer: bytes, *, then_wait: bool = False) -> bytes:
    """Return the content that the client reads from a server that sends ``answer``."""

    async def run() -> bytes:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if then_wait:
                await reader.read()
            writer.close()
            await writer.wait_closed()
            served.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            try:
                return await http_read(f"http://127.0.0.1:{port}/a?b=c", patience=0.2)
            finally:
                await served.wait()

    return asyncio.run(run())


def test_an_answer_is_read_to_its_length() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    assert _answered(head + b"hello", then_wait=True) == b"hello"
    assert _answered(b"HTTP/1.1 204 No Content\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n", "HTTP 404 Not Found"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "ended after 5 of 9 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "has no length"),
        (b"SSH-2.0-OpenSSH\r\n", "head has no end"),
        (b"hello\r\n\r\n", "has no status"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "expected at most"),
    ],
)
def test_what_is_not_an_answer_is_told_in_one_line(answer: bytes, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        _answered(answer)


def test_a_server_that_stops_in_the_middle() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"
    with pytest.raises(AnswerError, match=r"no data for 0\.2 s after 5 of 9 bytes"):
        _answered(answer, then_wait=True)


def test_nobody_listens() -> None:
    with pytest.raises(AnswerError, match="HTTP: "):
        asyncio.run(http_download("http://127.0.0.1:1/", len))
