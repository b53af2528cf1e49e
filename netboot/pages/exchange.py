"""The fast loop of one connection: from bytes received to bytes to send. No socket in here.

nbd/transmission.py is its specification; the difference is only in how the work is cut up. All
complete requests of one receive are answered into one buffer; what does not fit (a write that
is still arriving, a read larger than the buffer, a trim of gigabytes) is a work (work.py) that
goes on a piece at a time.
"""

from struct import Struct

from netboot.nbd.dialect import MAX_FRAMING_BYTES, SIMPLE, Dialect, Headers
from netboot.nbd.transmission import CHUNK_BYTES, HOLE_BYTES, validate_request
from netboot.nbd.wire import (
    DONE,
    EXTENDED_REPLY_MAGIC,
    EXTENDED_REQUEST,
    EXTENDED_REQUEST_MAGIC,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    Chunk,
    Command,
    CommandFlag,
)
from netboot.pages.buffers import BUFFER_BYTES, Area, Buffers, Counters
from netboot.pages.store import Busy
from netboot.pages.work import Pause, Work, begin_work

__all__ = ["BUFFER_BYTES", "Area", "Buffers", "Counters", "Exchange"]

# Replies of the hot path. What is always the same (magic, error or flags and type) is one number;
# the header of a chunk of data is packed together with the offset that begins its payload.
_DONE_DATA = DONE << 16 | Chunk.OFFSET_DATA
_SIMPLE = Struct(">QQ")  # prefix, cookie
_SIMPLE_PREFIX = SIMPLE_REPLY_MAGIC << 32
_STRUCTURED_DATA = Struct(">QQIQ")  # prefix, cookie, payload length, offset of the data
_STRUCTURED_DATA_PREFIX = STRUCTURED_REPLY_MAGIC << 32 | _DONE_DATA
_EXTENDED_DATA = Struct(">QQQQQ")  # prefix, cookie, request's offset, payload length, the same
_EXTENDED_DATA_PREFIX = EXTENDED_REPLY_MAGIC << 32 | _DONE_DATA
_EXTENDED = Struct(">QQQQ")
_EXTENDED_PREFIX = EXTENDED_REPLY_MAGIC << 32 | DONE << 16 | Chunk.NONE
_OFFSET_BYTES = 8
_DATA_HEADER_BYTES = {
    Headers.SIMPLE: _SIMPLE.size,
    Headers.STRUCTURED: _STRUCTURED_DATA.size,
    Headers.EXTENDED: _EXTENDED_DATA.size,
}

# Plain numbers: an enum's member costs a lookup in a dictionary each time.
_READ, _WRITE = int(Command.READ), int(Command.WRITE)
# How a request is unpacked, its header's size and magic, and the flags of a plain WRITE.
_REQUESTS = (
    (REQUEST.unpack_from, REQUEST.size, REQUEST_MAGIC, 0),
    (
        EXTENDED_REQUEST.unpack_from,
        EXTENDED_REQUEST.size,
        EXTENDED_REQUEST_MAGIC,
        int(CommandFlag.PAYLOAD_LEN),
    ),
)
_OUT_OF_BUFFER = BUFFER_BYTES - MAX_FRAMING_BYTES


class Exchange:
    """One connection's side of the loop.

    After ``answer``: ``hungry`` says it can only go on with more input; ``blocked``, that its
    store has no room and nothing is done until ``retry``, which may be called again and again;
    otherwise it goes on with its next turn, or, if ``closed``, not at all.
    """

    def __init__(self, area: Area, dialect: Dialect = SIMPLE) -> None:
        self._area = area
        self._dialect = dialect
        self._work: Work | None = None
        self.hungry = False
        self.blocked = False
        self.closed = False

    @property
    def idle(self) -> bool:
        """Whether no request is half done: all there is to know is what was not parsed yet."""
        return self._work is None

    def retry(self) -> None:
        """Lets the next ``answer`` ask the store again."""
        self.blocked = False

    def answer(self, buffers: Buffers) -> None:
        """Does what the input asks for, until it is used up or the output is full. ``buffers``
        are the same object each time.

        Raises ProtocolError for bytes that are no request, OSError when a read's pages fail after
        its reply was begun: then only hanging up is left.
        """
        self.hungry = False
        while buffers.filled <= _OUT_OF_BUFFER and not self.closed and not self.blocked:
            if self._work is None:
                self._answer_plain(buffers)
                if buffers.filled > _OUT_OF_BUFFER:
                    return
                self._work = self._begin(buffers)
                if self._work is None:
                    return
            try:
                pause = next(self._work)
            except StopIteration:
                self._work = None
            else:
                self.hungry = pause is Pause.INPUT
                self.blocked = pause is Pause.ROOM
                return

    def _answer_plain(self, buffers: Buffers) -> None:
        """The hot path: whole READs and WRITEs without flags, as long as there are any.

        It stops at anything else, and at what goes wrong: the work that is begun then does the
        same again and says so.
        """
        area, data, out, headers = self._area, buffers.input, buffers.output, self._dialect.headers
        simple, extended = headers is Headers.SIMPLE, headers is Headers.EXTENDED
        size = area.export.size_bytes
        writable_size = -1 if area.export.read_only else size
        read_into, write = area.pages.read_into, area.pages.write
        unpack, request_bytes, request_magic, write_flags = _REQUESTS[extended]
        data_header_bytes = _DATA_HEADER_BYTES[headers]
        pack_simple, pack_data = _SIMPLE.pack_into, _STRUCTURED_DATA.pack_into
        position, end, filled = buffers.position, buffers.end, buffers.filled
        reads = writes = bytes_read = bytes_written = 0
        while end - position >= request_bytes and filled <= _OUT_OF_BUFFER:
            magic, flags, command, cookie, offset, length = unpack(data, position)
            if magic != request_magic:
                break
            payload = position + request_bytes
            if command == _READ and not flags:
                begin = filled + data_header_bytes
                after = begin + length
                if after > BUFFER_BYTES or offset + length > size or not 0 < length <= CHUNK_BYTES:
                    break
                try:
                    read_into(offset, out[begin:after])
                except OSError:
                    break
                if simple:
                    pack_simple(out, filled, _SIMPLE_PREFIX, cookie)
                elif length >= HOLE_BYTES and buffers.zeros_at(begin, length):
                    break
                elif extended:
                    prefix, more = _EXTENDED_DATA_PREFIX, length + _OFFSET_BYTES
                    _EXTENDED_DATA.pack_into(out, filled, prefix, cookie, offset, more, offset)
                else:
                    more = length + _OFFSET_BYTES
                    pack_data(out, filled, _STRUCTURED_DATA_PREFIX, cookie, more, offset)
                reads += 1
                bytes_read += length
                filled = after
                position = payload
            elif command == _WRITE and flags == write_flags:
                after = payload + length
                if after > end or offset + length > writable_size:
                    break
                try:
                    write(offset, data[payload:after])
                except (OSError, Busy):
                    break
                writes += 1
                bytes_written += length
                if extended:
                    _EXTENDED.pack_into(out, filled, _EXTENDED_PREFIX, cookie, offset, 0)
                    filled += _EXTENDED.size
                else:
                    pack_simple(out, filled, _SIMPLE_PREFIX, cookie)
                    filled += _SIMPLE.size
                position = after
            else:
                break
        buffers.position, buffers.filled = position, filled
        counters = area.counters
        counters.reads += reads
        counters.writes += writes
        counters.bytes_read += bytes_read
        counters.bytes_written += bytes_written

    def _begin(self, buffers: Buffers) -> Work | None:
        """Takes a request that is not plain; None if its header has not arrived, or for DISC."""
        begin, end = buffers.position, buffers.position + self._dialect.request_bytes
        if end > buffers.end:
            self.hungry = True
            return None
        request = self._dialect.parse(bytes(buffers.input[begin:end]))
        buffers.position = end
        if request.command == Command.DISC:
            self.closed = True
            return None
        error = validate_request(self._area.export, self._dialect, request)
        return begin_work(self._area, self._dialect, buffers, request, error)
