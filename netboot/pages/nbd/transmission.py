"""The transmission phase (proto.md, "Transmission phase"). Sans-IO.

This is the readable specification of the workers' fast loop (pages/worker/exchange.py). Tests
replay every case through both and require equal bytes.
"""

import errno
from collections.abc import Iterator
from itertools import islice

from netboot.pages.nbd.backing import PageFile
from netboot.pages.nbd.dialect import Dialect
from netboot.pages.nbd.export import Export
from netboot.pages.nbd.stream import Closed, Parser, Stream, skip
from netboot.pages.nbd.wire import MAX_PAYLOAD_BYTES, Command, CommandFlag, Error, Request, State

# A READ is done in pieces of this size. In structured replies a piece is a chunk, unless DF is set.
CHUNK_BYTES = 128 << 10
# A chunk of zeros of at least this length is sent as a hole. The search for zeros ends at the first
# other byte; for shorter chunks it would cost more than it saves.
HOLE_BYTES = 32 << 10
# The most in one answer to BLOCK_STATUS: to find an extent of a page file takes microseconds.
MAX_EXTENTS = 1024

# FUA is valid for every command, and has an effect on those that write.
_VALID_FLAGS: dict[int, int] = {
    Command.READ: CommandFlag.FUA,
    Command.WRITE: CommandFlag.FUA,
    Command.FLUSH: CommandFlag.FUA,
    Command.TRIM: CommandFlag.FUA,
    Command.CACHE: CommandFlag.FUA,
    Command.WRITE_ZEROES: CommandFlag.FUA | CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO,
}
_VALID_FLAGS_STRUCTURED = _VALID_FLAGS | {
    Command.READ: CommandFlag.FUA | CommandFlag.DF,
    Command.BLOCK_STATUS: CommandFlag.FUA | CommandFlag.REQ_ONE,
}
_CHANGING = (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES)
_SLOW_ZERO = CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO
_ERROR_OF_ERRNO = {
    errno.EPERM: Error.EPERM,
    errno.EROFS: Error.EPERM,
    errno.ENOMEM: Error.ENOMEM,
    errno.EINVAL: Error.EINVAL,
    errno.ENOSPC: Error.ENOSPC,
    errno.EDQUOT: Error.ENOSPC,
    errno.EFBIG: Error.ENOSPC,
}


def error_of(failure: OSError) -> Error:
    """Return the error value on the wire for ``failure``. The log gets ``failure`` itself."""
    return _ERROR_OF_ERRNO.get(failure.errno or 0, Error.EIO)


def validate_request(export: Export, dialect: Dialect, request: Request) -> Error:
    """Return the error with which to refuse a request; NONE if the request is valid.

    Not called for DISC, which has no reply.
    """
    if not _flags_are_valid(dialect, request):
        return Error.EINVAL
    if request.command in _CHANGING and export.read_only:
        return Error.EPERM
    if request.command == Command.FLUSH:
        return Error.NONE  # offset and length are reserved
    if request.command in (Command.READ, Command.WRITE) and request.length > MAX_PAYLOAD_BYTES:
        return Error.EINVAL
    if request.offset + request.length > export.size_bytes:
        # proto.md, "Error values": ENOSPC for writes beyond the end, EINVAL for reads and trims.
        writes = request.command in (Command.WRITE, Command.WRITE_ZEROES)
        return Error.ENOSPC if writes else Error.EINVAL
    if request.command == Command.BLOCK_STATUS and not request.length:
        return Error.EINVAL  # an answer has at least one extent
    if request.command == Command.WRITE_ZEROES and request.flags & _SLOW_ZERO == _SLOW_ZERO:
        return Error.ENOTSUP  # only a hole is faster than to write zeros
    return Error.NONE


def _flags_are_valid(dialect: Dialect, request: Request) -> bool:
    """Return whether the flags are valid; False also for an unknown or not negotiated command."""
    flags = request.flags
    if dialect.extended and request.command == Command.WRITE:
        if not flags & CommandFlag.PAYLOAD_LEN:
            return False
        flags -= CommandFlag.PAYLOAD_LEN
    if request.command == Command.BLOCK_STATUS and not dialect.allocation:
        return False
    valid = (_VALID_FLAGS_STRUCTURED if dialect.structured else _VALID_FLAGS).get(request.command)
    # int: ~ of an IntFlag has only the bits of its members.
    return valid is not None and not flags & ~int(valid)


def find_extents(pages: PageFile, request: Request) -> list[tuple[int, int]]:
    """Return lengths and State flags for BLOCK_STATUS. Raises OSError.

    Neighbours with equal flags are merged. The extents may cover less than the request: the client
    then asks for the rest.
    """
    found: list[tuple[int, int]] = []
    for length, hole in islice(pages.extents(request.offset, request.length), MAX_EXTENTS):
        state = int(State.HOLE | State.ZERO) if hole else 0
        if found and found[-1][1] == state:
            found[-1] = (found[-1][0] + length, state)
        elif found and request.flags & CommandFlag.REQ_ONE:
            break
        else:
            found.append((length, state))
    return found


class Transmission:
    """The requests of one connection, done in order on ``pages``, which are never Busy."""

    def __init__(self, export: Export, pages: PageFile, dialect: Dialect) -> None:
        self._export = export
        self._pages = pages
        self._dialect = dialect
        self._out = bytearray()
        self._stream = Stream(self._parse())

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client and do all complete requests.

        Raises OSError if a read fails after its simple reply has announced success. The caller can
        only close the connection then.
        """
        self._stream.receive_data(data)

    def data_to_send(self) -> bytes:
        """Return the bytes for the client since the last call."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def outcome(self) -> Closed | None:
        """Closed after DISC or after invalid bytes; otherwise None."""
        return self._stream.outcome

    def _parse(self) -> Parser[Closed]:
        dialect = self._dialect
        while True:
            request = dialect.parse((yield dialect.request_bytes))
            if request.command == Command.DISC:
                return Closed("disconnected by the client")
            error, payload = validate_request(self._export, dialect, request), b""
            if error is not Error.NONE:
                # The payload of a refused request is still in the stream.
                yield from skip(dialect.payload_bytes(request))
            elif request.command == Command.WRITE:
                payload = yield request.length
            elif request.command == Command.READ:
                self._read(request)
                continue
            self._out += self._perform(request, payload, error)

    def _perform(self, request: Request, payload: bytes, error: Error) -> bytes:
        """Do a request other than a READ; return its whole reply."""
        if error is not Error.NONE:
            return self._dialect.failure(request, error)
        try:
            if request.command == Command.BLOCK_STATUS:
                return self._dialect.status(request, find_extents(self._pages, request))
            self._change(request, payload)
        except OSError as failure:
            return self._dialect.failure(request, error_of(failure))
        return self._dialect.success(request)

    def _change(self, request: Request, payload: bytes) -> None:
        match request.command:
            case Command.WRITE:
                self._pages.write(request.offset, memoryview(payload))
            case Command.TRIM:
                self._pages.trim(request.offset, request.length)
            case Command.WRITE_ZEROES:
                allocate = bool(request.flags & CommandFlag.NO_HOLE)
                self._pages.zero(request.offset, request.length, allocate=allocate)
            case Command.CACHE:
                for offset, length in pieces(request):
                    self._pages.read_into(offset, memoryview(bytearray(length)))
            case _:
                assert request.command == Command.FLUSH, "validated"
        writes = request.command in _CHANGING and request.flags & CommandFlag.FUA
        if request.command == Command.FLUSH or writes:
            self._pages.flush()

    def _read(self, request: Request) -> None:
        if not self._dialect.structured:
            self._read_simple(request)
        elif request.flags & CommandFlag.DF and request.length > CHUNK_BYTES:
            self._read_unbroken(request)
        else:
            self._read_chunks(request)

    def _read_simple(self, request: Request) -> None:
        header = self._dialect.success(request)
        for offset, length in pieces(request):
            data = bytearray(length)
            try:
                self._pages.read_into(offset, memoryview(data))
            except OSError as failure:
                if not header:
                    raise
                self._out += self._dialect.failure(request, error_of(failure))
                return
            self._out += header + data
            header = b""
        self._out += header

    def _read_chunks(self, request: Request) -> None:
        """Send each piece as a chunk. The last one is marked as the last: it can no longer fail."""
        dialect = self._dialect
        for offset, length in pieces(request):
            data, done = bytearray(length), offset + length == request.offset + request.length
            try:
                self._pages.read_into(offset, memoryview(data))
            except OSError as failure:
                self._out += dialect.failure(request, error_of(failure), offset)
                return
            if length >= HOLE_BYTES and data == bytes(length):
                self._out += dialect.hole(request, offset, length, done=done)
            else:
                self._out += dialect.data(request, offset, length, done=done) + data
        if not request.length:
            self._out += dialect.success(request)

    def _read_unbroken(self, request: Request) -> None:
        """Send one chunk of data, announced before the read, and one that tells the result."""
        dialect, error = self._dialect, Error.NONE
        self._out += dialect.data(request, request.offset, request.length, done=False)
        for offset, length in pieces(request):
            data = bytearray(length)
            try:
                if error is Error.NONE:
                    self._pages.read_into(offset, memoryview(data))
            except OSError as failure:
                error, data = error_of(failure), bytearray(length)
            self._out += data
        failed = error is not Error.NONE
        self._out += dialect.failure(request, error) if failed else dialect.success(request)


def pieces(request: Request) -> Iterator[tuple[int, int]]:
    """Yield offset and length of the pieces in which a request is read."""
    end = request.offset + request.length
    for begin in range(request.offset, end, CHUNK_BYTES):
        yield begin, min(CHUNK_BYTES, end - begin)
