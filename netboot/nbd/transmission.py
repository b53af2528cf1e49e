"""The transmission phase with simple replies (proto.md, "Transmission phase"). Sans-IO.

This is the readable specification of the workers' fast loop (pages/exchange.py): tests replay
every case through both and demand equal bytes.
"""

import errno

from netboot.nbd.export import Export
from netboot.nbd.stream import Closed, Parser, Stream, skip
from netboot.nbd.wire import (
    MAX_PAYLOAD_BYTES,
    REQUEST,
    Command,
    CommandFlag,
    Error,
    Request,
    SimpleReply,
)
from netboot.pages.store import PageFile

# FUA is valid for every command; WRITE_ZEROES may also ask that no hole be made.
_VALID_FLAGS: dict[int, int] = {
    Command.READ: CommandFlag.FUA,
    Command.WRITE: CommandFlag.FUA,
    Command.FLUSH: CommandFlag.FUA,
    Command.TRIM: CommandFlag.FUA,
    Command.WRITE_ZEROES: CommandFlag.FUA | CommandFlag.NO_HOLE,
}
_CHANGING = (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES)
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


def validate_request(export: Export, request: Request) -> Error:
    """What must be answered instead of doing it; NONE if the request is to be done.

    DISC is not asked about: it has no reply.
    """
    valid_flags = _VALID_FLAGS.get(request.command)
    # int: ~ of an IntFlag knows no bits but its members'.
    if valid_flags is None or request.flags & ~int(valid_flags):
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
    return Error.NONE


class Transmission:
    """One connection's requests, done one after the other on ``pages``."""

    def __init__(self, export: Export, pages: PageFile) -> None:
        self._export = export
        self._pages = pages
        self._out = bytearray()
        self._stream = Stream(self._parse())

    def receive_data(self, data: bytes) -> None:
        """Takes bytes from the client and does every request that is complete. Never raises."""
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
        while True:
            request = Request.parse((yield REQUEST.size))
            if request.command == Command.DISC:
                return Closed("disconnected by the client")
            error, payload = validate_request(self._export, request), b""
            if request.command == Command.WRITE and error is Error.NONE:
                payload = yield request.length
            elif request.command == Command.WRITE:
                yield from skip(request.length)  # a refused write's payload is still in the stream
            data = bytearray()
            if error is Error.NONE:
                try:
                    data = self._perform(request, payload)
                except OSError as failure:
                    error = error_of(failure)
            self._out += SimpleReply(error, request.cookie).serialize() + data

    def _perform(self, request: Request, payload: bytes) -> bytearray:
        data = bytearray()
        match request.command:
            case Command.READ:
                data = bytearray(request.length)
                self._pages.read_into(request.offset, memoryview(data))
            case Command.WRITE:
                self._pages.write(request.offset, memoryview(payload))
            case Command.TRIM:
                self._pages.trim(request.offset, request.length)
            case Command.WRITE_ZEROES:
                allocate = bool(request.flags & CommandFlag.NO_HOLE)
                self._pages.zero(request.offset, request.length, allocate=allocate)
            case _:
                assert request.command == Command.FLUSH, "validated"
        if request.command == Command.FLUSH or request.flags & CommandFlag.FUA:
            self._pages.flush()
        return data
