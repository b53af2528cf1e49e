"""The transmission phase (proto.md, "Transmission phase"). Sans-IO.

This is the readable specification of the workers' fast loop (pages/exchange.py): tests replay
every case through both and demand equal bytes.
"""

import errno
from collections.abc import Iterator
from itertools import islice

from netboot.pages.nbd.backing import PageFile
from netboot.pages.nbd.dialect import Dialect
from netboot.pages.nbd.export import Export
from netboot.pages.nbd.stream import Closed, Parser, Stream, skip
from netboot.pages.nbd.wire import MAX_PAYLOAD_BYTES, Command, CommandFlag, Error, Request, State

# A READ is done in pieces of this size; in structured replies each is a chunk (unless DF is set).
CHUNK_BYTES = 128 << 10
# A chunk at least so long that holds nothing but zeros is sent as a hole. Looking for zeros ends
# at the first other byte; below, it would cost more than it saves.
HOLE_BYTES = 32 << 10
# In one answer to BLOCK_STATUS: finding an extent of a page file takes some microseconds.
MAX_EXTENTS = 1024

# FUA is valid for every command, and means something for those that write.
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
    """The small code for the wire; the log gets ``failure`` itself."""
    return _ERROR_OF_ERRNO.get(failure.errno or 0, Error.EIO)


def validate_request(export: Export, dialect: Dialect, request: Request) -> Error:
    """What must be answered instead of doing it; NONE if the request is to be done.

    DISC is not asked about: it has no reply.
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
        return Error.EINVAL  # there is no answer without an extent
    if request.command == Command.WRITE_ZEROES and request.flags & _SLOW_ZERO == _SLOW_ZERO:
        return Error.ENOTSUP  # only holes are made faster than written
    return Error.NONE


def _flags_are_valid(dialect: Dialect, request: Request) -> bool:
    """False also for a command that is unknown or was not negotiated."""
    flags = request.flags
    if dialect.extended and request.command == Command.WRITE:
        if not flags & CommandFlag.PAYLOAD_LEN:
            return False
        flags -= CommandFlag.PAYLOAD_LEN
    if request.command == Command.BLOCK_STATUS and not dialect.allocation:
        return False
    valid = (_VALID_FLAGS_STRUCTURED if dialect.structured else _VALID_FLAGS).get(request.command)
    # int: ~ of an IntFlag knows no bits but its members'.
    return valid is not None and not flags & ~int(valid)


def find_extents(pages: PageFile, request: Request) -> list[tuple[int, int]]:
    """Lengths and State flags for BLOCK_STATUS, neighbours alike in one. Raises OSError.

    May cover less than was asked for: the client then asks for the rest.
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
    """One connection's requests, done one after the other on ``pages``, which are never Busy."""

    def __init__(self, export: Export, pages: PageFile, dialect: Dialect) -> None:
        self._export = export
        self._pages = pages
        self._dialect = dialect
        self._out = bytearray()
        self._stream = Stream(self._parse())

    def receive_data(self, data: bytes) -> None:
        """Takes bytes from the client and does every request that is complete.

        Raises OSError when a read fails whose simple reply has announced success: then only
        hanging up is left.
        """
        self._stream.receive_data(data)

    def data_to_send(self) -> bytes:
        """Bytes for the client since the last call."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def outcome(self) -> Closed | None:
        """Closed after DISC or after bytes that are no request."""
        return self._stream.outcome

    def _parse(self) -> Parser[Closed]:
        dialect = self._dialect
        while True:
            request = dialect.parse((yield dialect.request_bytes))
            if request.command == Command.DISC:
                return Closed("disconnected by the client")
            error, payload = validate_request(self._export, dialect, request), b""
            if error is not Error.NONE:
                # A refused request's payload is still in the stream.
                yield from skip(dialect.payload_bytes(request))
            elif request.command == Command.WRITE:
                payload = yield request.length
            elif request.command == Command.READ:
                self._read(request)
                continue
            self._out += self._perform(request, payload, error)

    def _perform(self, request: Request, payload: bytes, error: Error) -> bytes:
        """The whole reply of what is no READ."""
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
        """Each piece is a chunk; the last one says that it is, as it can fail no more."""
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
        """One chunk of data, announced before it was read, and one that says how it went."""
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
    """Offset and length of the pieces in which a request is read."""
    end = request.offset + request.length
    for begin in range(request.offset, end, CHUNK_BYTES):
        yield begin, min(CHUNK_BYTES, end - begin)
