"""Single turns of a connection, over a socket pair."""

import socket

import pytest

from netboot.pages.nbd.export import Export
from netboot.pages.worker.connection import TURN_BYTES, Connection
from netboot.pages.worker.exchange import Area, Buffers, Exchange
from tests.support.two_ways import READ, ArrayFile, request

PAGE = bytes(range(256)) * 16


class Broken(ArrayFile):
    """A page file with a bug: it raises another exception than OSError."""

    def view(self, offset: int, length: int) -> memoryview | None:
        if offset:
            raise RuntimeError("a bug")
        return super().view(offset, length)


def connected(pages: ArrayFile) -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    pages.write(0, memoryview(PAGE))
    area = Area("lease", Export("a", pages.size_bytes), pages)
    exchange = Exchange(area)
    exchange.hungry = True
    return Connection(ours, area, exchange, {}, b"", b""), theirs


def test_what_a_failed_turn_leaves_behind_reaches_no_other_client() -> None:
    buffers = Buffers()
    failing, one = connected(Broken(mapped=True))
    healthy, other = connected(ArrayFile(mapped=True))
    with failing.sock, one, healthy.sock, other:
        one.sendall(request(READ, 0, 4096) + request(READ, 4096, 4096))
        with pytest.raises(RuntimeError):
            failing.serve(buffers, TURN_BYTES)
        other.sendall(request(READ, 0, 16))
        assert healthy.serve(buffers, TURN_BYTES) is None
        assert other.recv(8192)[16:] == PAGE[:16]


def test_a_receive_that_filled_its_room_is_followed_by_another_one() -> None:
    buffers = Buffers()
    connection, client = connected(ArrayFile(mapped=True))
    read = request(READ, 0, 16)
    with connection.sock, client:
        client.sendall(read)
        assert connection.serve(buffers, TURN_BYTES, alone=True) is None
        assert connection.modest, "the second look found nothing"
        client.sendall(4 * read)
        assert connection.serve(buffers, 2 * len(read), alone=True) is None
        assert connection.area.counters.reads == 1 + 4
