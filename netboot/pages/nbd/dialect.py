"""Dialect: the result of a handshake for the transmission phase, and its headers. Pure.

Linux uses simple replies only. Structured replies (libnbd, QEMU) come in chunks, so a read can have
holes and can fail half-way. Extended headers are the same with 64-bit lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from netboot.pages.nbd.wire import (
    DONE,
    EXTENDED_REPLY,
    EXTENDED_REPLY_MAGIC,
    EXTENDED_REQUEST,
    REQUEST,
    STRUCTURED_REPLY,
    STRUCTURED_REPLY_MAGIC,
    Chunk,
    Command,
    CommandFlag,
    Error,
    Request,
    SimpleReply,
)

ALLOCATION = "base:allocation"  # the only metadata context that we offer
ALLOCATION_ID = 1

# The longest header, error or end of a reply. A chunk of data has one, and may need another.
MAX_FRAMING_BYTES = 96

_U64 = Struct(">Q")
_HOLE = Struct(">QI")  # offset, length
_ERROR = Struct(">IH")  # error, length of the message
_STATUS = Struct(">I")  # context
_EXTENT = Struct(">II")  # length, status
_STATUS_EXT = Struct(">II")  # context, number of extents
_EXTENT_EXT = Struct(">QQ")


class Headers(IntEnum):
    """The framing of requests and replies. Each kind can do all that the kinds before it can."""

    SIMPLE = 0
    STRUCTURED = 1
    EXTENDED = 2


@dataclass(frozen=True, slots=True)
class Dialect:
    """``headers``; with ``allocation``, BLOCK_STATUS reports ``base:allocation``."""

    headers: Headers = Headers.SIMPLE
    allocation: bool = False

    @property
    def structured(self) -> bool:
        """True if reads are answered in chunks."""
        return self.headers is not Headers.SIMPLE

    @property
    def extended(self) -> bool:
        """True if lengths have 64 bits."""
        return self.headers is Headers.EXTENDED

    @property
    def request_bytes(self) -> int:
        """Size of a request's header in bytes."""
        return EXTENDED_REQUEST.size if self.extended else REQUEST.size

    def parse(self, data: bytes) -> Request:
        """Parse a request's header. Raises ProtocolError."""
        return Request.parse(data, extended=self.extended)

    def payload_bytes(self, request: Request) -> int:
        """Return how many bytes follow the header of a request, valid or not."""
        if self.extended:
            return request.length if request.flags & CommandFlag.PAYLOAD_LEN else 0
        return request.length if request.command == Command.WRITE else 0

    # Replies, or their headers.

    def success(self, request: Request) -> bytes:
        """Return a whole reply without data, or the end of a reply of several chunks.

        After a simple reply to a READ, the data follow.
        """
        if self.extended or (self.structured and request.command == Command.READ):
            return self._chunk(request, Chunk.NONE, b"", done=True)
        return SimpleReply(Error.NONE, request.cookie).serialize()

    def failure(self, request: Request, error: Error, offset: int | None = None) -> bytes:
        """Return a whole failed reply, or its last chunk. ``offset`` is that of the failed read."""
        if not self.structured:
            return SimpleReply(error, request.cookie).serialize()
        if offset is None:
            return self._chunk(request, Chunk.ERROR, _ERROR.pack(error, 0), done=True)
        where = _ERROR.pack(error, 0) + _U64.pack(offset)
        return self._chunk(request, Chunk.ERROR_OFFSET, where, done=True)

    def data(self, request: Request, offset: int, length: int, *, done: bool) -> bytes:
        """Return the header of a chunk; ``length`` bytes of data follow."""
        where = _U64.pack(offset)
        return self._chunk(request, Chunk.OFFSET_DATA, where, done=done, more_bytes=length)

    def hole(self, request: Request, offset: int, length: int, *, done: bool) -> bytes:
        """Return a chunk that stands for ``length`` zeros."""
        return self._chunk(request, Chunk.OFFSET_HOLE, _HOLE.pack(offset, length), done=done)

    def status(self, request: Request, extents: Sequence[tuple[int, int]]) -> bytes:
        """Return the whole reply to BLOCK_STATUS; ``extents`` are lengths and State flags."""
        if self.extended:
            payload = _STATUS_EXT.pack(ALLOCATION_ID, len(extents))
            payload += b"".join(_EXTENT_EXT.pack(*extent) for extent in extents)
            return self._chunk(request, Chunk.BLOCK_STATUS_EXT, payload, done=True)
        payload = _STATUS.pack(ALLOCATION_ID)
        payload += b"".join(_EXTENT.pack(*extent) for extent in extents)
        return self._chunk(request, Chunk.BLOCK_STATUS, payload, done=True)

    def _chunk(
        self, request: Request, kind: Chunk, payload: bytes, *, done: bool, more_bytes: int = 0
    ) -> bytes:
        length, fields = len(payload) + more_bytes, (DONE if done else 0, kind, request.cookie)
        if self.extended:
            header = EXTENDED_REPLY.pack(EXTENDED_REPLY_MAGIC, *fields, request.offset, length)
        else:
            header = STRUCTURED_REPLY.pack(STRUCTURED_REPLY_MAGIC, *fields, length)
        return header + payload


SIMPLE = Dialect()
