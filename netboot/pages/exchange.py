"""The fast loop of one connection: from bytes received to bytes to send. No socket in here.

nbd/transmission.py is its specification; the difference is only in how the work is cut up. All
complete requests of one receive are answered into one buffer; what does not fit (a write that
is still arriving, a read larger than the buffer, a trim of gigabytes) is a ``_Work`` that goes on
a piece at a time, so that one client never keeps the others waiting and costs bounded memory.
"""

from dataclasses import dataclass, field
from typing import Protocol

from netboot.nbd.export import Export
from netboot.nbd.transmission import error_of, validate_request
from netboot.nbd.wire import (
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    Command,
    CommandFlag,
    Error,
    Request,
)
from netboot.pages.store import PageFile

# 64 requests of 4 KiB: Linux has 128 in flight on a connection, fio's rows 32.
BUFFER_BYTES = 256 << 10
# Freeing a page of a tmpfs costs about 0.1 us, allocating one 0.5 us: 8 ms at the most.
ERASED_AT_ONCE_BYTES = 64 << 20

_HEADER_BYTES = REQUEST.size
_REPLY_BYTES = SIMPLE_REPLY.size
_READ, _WRITE = int(Command.READ), int(Command.WRITE)
_OUT_OF_BUFFER = BUFFER_BYTES - _REPLY_BYTES


@dataclass(slots=True)
class Counters:
    """What was done for a lease, refused requests not counted."""

    reads: int = 0
    writes: int = 0
    trims: int = 0  # TRIM and WRITE_ZEROES
    bytes_read: int = 0
    bytes_written: int = 0


@dataclass(slots=True)
class Area:
    """A lease's swap area as a worker sees it, shared by all connections of the lease."""

    lease: str
    export: Export
    pages: PageFile
    counters: Counters = field(default_factory=Counters)
    written: bool = False


class Buffers:
    """Input and output of whichever connection has its turn; ``position`` to ``end`` of the input
    are still to be parsed, ``filled`` bytes of the output are to be sent.
    """

    def __init__(self) -> None:
        self.input = memoryview(bytearray(BUFFER_BYTES))
        self.output = memoryview(bytearray(BUFFER_BYTES))
        self.position = self.end = self.filled = 0

    def reply(self, error: int, cookie: int) -> None:
        """Appends a simple reply."""
        SIMPLE_REPLY.pack_into(self.output, self.filled, SIMPLE_REPLY_MAGIC, error, cookie)
        self.filled += _REPLY_BYTES


class _Work(Protocol):
    """A request that may take several turns."""

    hungry: bool  # waits for input, rather than for room in the output or for its next turn

    def step(self, area: Area, buffers: Buffers) -> bool:
        """Does a piece; True when all is done and answered."""


class _Writing:
    """A WRITE whose payload arrives. With an ``error`` the payload is only consumed."""

    hungry = True

    def __init__(self, request: Request, error: Error) -> None:
        self._request = request
        self._error = error
        self._offset = request.offset
        self._remaining = request.length

    def step(self, area: Area, buffers: Buffers) -> bool:
        request, position = self._request, buffers.position
        piece = min(self._remaining, buffers.end - position)
        self._attempt(area, buffers.input[position : position + piece])
        buffers.position += piece
        self._offset += piece
        self._remaining -= piece
        if self._remaining:
            return False
        if self._error is Error.NONE:
            area.counters.writes += 1
            area.counters.bytes_written += request.length
        buffers.reply(self._error, request.cookie)
        return True

    def _attempt(self, area: Area, payload: memoryview) -> None:
        if self._error is Error.NONE:
            try:
                area.pages.write(self._offset, payload)
                if self._request.flags & CommandFlag.FUA and len(payload) == self._remaining:
                    area.pages.flush()
            except OSError as failure:
                self._error = error_of(failure)


class _Reading:
    """A READ that does not fit into the output at once, or one with a flag."""

    hungry = False

    def __init__(self, request: Request) -> None:
        self._request = request
        self._offset = request.offset
        self._remaining = request.length
        self._begun = False

    def step(self, area: Area, buffers: Buffers) -> bool:
        begin = buffers.filled + (0 if self._begun else _REPLY_BYTES)
        piece = min(self._remaining, BUFFER_BYTES - begin)
        try:
            area.pages.read_into(self._offset, buffers.output[begin : begin + piece])
            if self._request.flags & CommandFlag.FUA and not self._begun:
                area.pages.flush()
        except OSError as failure:
            if self._begun:
                raise  # success was announced: a simple reply cannot take that back
            buffers.reply(error_of(failure), self._request.cookie)
            return True
        if not self._begun:
            buffers.reply(Error.NONE, self._request.cookie)
            self._begun = True
        buffers.filled += piece
        self._offset += piece
        self._remaining -= piece
        if self._remaining:
            return False
        area.counters.reads += 1
        area.counters.bytes_read += self._request.length
        return True


class _Erasing:
    """A TRIM or WRITE_ZEROES."""

    hungry = False

    def __init__(self, request: Request) -> None:
        self._request = request
        self._offset = request.offset
        self._remaining = request.length

    def step(self, area: Area, buffers: Buffers) -> bool:
        request, piece = self._request, min(self._remaining, ERASED_AT_ONCE_BYTES)
        try:
            if request.command == Command.TRIM:
                area.pages.trim(self._offset, piece)
            else:
                allocate = bool(request.flags & CommandFlag.NO_HOLE)
                area.pages.zero(self._offset, piece, allocate=allocate)
            self._offset += piece
            self._remaining -= piece
            if self._remaining:
                return False
            if request.flags & CommandFlag.FUA:
                area.pages.flush()
        except OSError as failure:
            buffers.reply(error_of(failure), request.cookie)
            return True
        area.counters.trims += 1
        buffers.reply(Error.NONE, request.cookie)
        return True


class Exchange:
    """One connection's side of the loop.

    After ``answer``: ``hungry`` says it can only go on with more input; otherwise it goes on with
    its next turn, or, if ``closed``, not at all.
    """

    def __init__(self, area: Area) -> None:
        self._area = area
        self._work: _Work | None = None
        self.hungry = False
        self.closed = False

    def answer(self, buffers: Buffers) -> None:
        """Does what the input asks for, until it is used up or the output is full.

        Raises ProtocolError for bytes that are no request, OSError when a read's pages fail after
        its reply was begun: then only hanging up is left.
        """
        self.hungry = False
        while buffers.filled <= _OUT_OF_BUFFER and not self.closed:
            if self._work is None:
                self._answer_simple(buffers)
                if buffers.filled > _OUT_OF_BUFFER:
                    return
                if not self._begin(buffers):
                    return
            elif self._work.step(self._area, buffers):
                self._work = None
            else:
                self.hungry = self._work.hungry
                return

    def _answer_simple(self, buffers: Buffers) -> None:
        """The hot path: whole READs and WRITEs without flags, as long as there are any."""
        area, data, out = self._area, buffers.input, buffers.output
        size = area.export.size_bytes
        writable_size = -1 if area.export.read_only else size
        read_into, write = area.pages.read_into, area.pages.write
        unpack, pack_reply = REQUEST.unpack_from, SIMPLE_REPLY.pack_into
        position, end, filled = buffers.position, buffers.end, buffers.filled
        reads = writes = bytes_read = bytes_written = 0
        while end - position >= _HEADER_BYTES and filled <= _OUT_OF_BUFFER:
            magic, flags, command, cookie, offset, length = unpack(data, position)
            if flags or magic != REQUEST_MAGIC:
                break
            payload = position + _HEADER_BYTES
            error: int = Error.NONE
            if command == _READ:
                begin = filled + _REPLY_BYTES
                if begin + length > BUFFER_BYTES or offset + length > size:
                    break
                try:
                    read_into(offset, out[begin : begin + length])
                except OSError:
                    break
                reads += 1
                bytes_read += length
                pack_reply(out, filled, SIMPLE_REPLY_MAGIC, 0, cookie)
                filled = begin + length
                position = payload
            elif command == _WRITE:
                position_after = payload + length
                if position_after > end or offset + length > writable_size:
                    break
                try:
                    write(offset, data[payload:position_after])
                    writes += 1
                    bytes_written += length
                except OSError as failure:
                    error = error_of(failure)
                pack_reply(out, filled, SIMPLE_REPLY_MAGIC, error, cookie)
                filled += _REPLY_BYTES
                position = position_after
            else:
                break
        buffers.position, buffers.filled = position, filled
        counters = area.counters
        counters.reads += reads
        counters.writes += writes
        counters.bytes_read += bytes_read
        counters.bytes_written += bytes_written

    def _begin(self, buffers: Buffers) -> bool:
        """Takes a request that is not simple; False if its header has not arrived."""
        begin, end = buffers.position, buffers.position + _HEADER_BYTES
        if end > buffers.end:
            self.hungry = True
            return False
        request = Request.parse(bytes(buffers.input[begin:end]))
        buffers.position = end
        if request.command == Command.DISC:
            self.closed = True
            return False
        error = validate_request(self._area.export, request)
        if request.command == Command.WRITE:
            self._work = _Writing(request, error)
        elif error is not Error.NONE:
            buffers.reply(error, request.cookie)
        elif request.command == Command.READ:
            self._work = _Reading(request)
        elif request.command == Command.FLUSH:
            self._flush(buffers, request)
        else:
            self._work = _Erasing(request)
        return True

    def _flush(self, buffers: Buffers, request: Request) -> None:
        try:
            self._area.pages.flush()
            error = Error.NONE
        except OSError as failure:
            error = error_of(failure)
        buffers.reply(error, request.cookie)
