"""The NBD requests of a PC, from a capture of the frames that it sent (pcap, classic format).

The lab takes it: ``filter-dump`` with ``queue=rx`` has only what the PC sends, which is requests and
the pages that it swaps out. Frames of one connection are in order there, except for retransmissions.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

PAGES_PORT = 10809
PCAP = struct.pack("<I", 0xA1B2C3D4)
ETHERNET, IPV4, TCP = 14, b"\x08\x00", 6
SYN = 2
FLAGS_BYTES, OPTION_BYTES, REQUEST_BYTES = 4, 16, 28
OPTION_MAGIC = b"IHAVEOPT"
REQUEST_MAGIC = 0x25609513
EXPORT_NAME, GO = 1, 7  # options that name the export
READ, WRITE, TRIM = 0, 1, 4
BLOCK = 4096


@dataclass(slots=True)
class Tally:
    """Requests of one type, in all and by blocks of 4 KiB."""

    requests: int = 0
    bytes: int = 0
    blocks: set[int] = field(default_factory=set)

    def add(self, offset: int, length: int) -> None:
        """Count a request."""
        self.requests += 1
        self.bytes += length
        self.blocks.update(range(offset // BLOCK, (offset + length + BLOCK - 1) // BLOCK))

    @property
    def again(self) -> int:
        """The bytes that were read or written before."""
        return max(self.bytes - len(self.blocks) * BLOCK, 0)


@dataclass(slots=True)
class Traffic:
    """What a PC asked of the page server, and whether the stage came at which the count ended.

    ``pages``: how often each content of a page went to swap, by its digest. ``filled``: pages that
    repeat one value of 8 bytes, such as zero; zswap keeps these itself.
    """

    image: Tally = field(default_factory=Tally)
    swapped_out: Tally = field(default_factory=Tally)
    swapped_in: Tally = field(default_factory=Tally)
    pages: Counter[bytes] = field(default_factory=Counter)
    filled: int = 0
    ended: bool = False

    def count(self, export: str, kind: int, offset: int, length: int, data: bytes) -> None:
        """Count a request for ``export``, whose name says what it is. ``data``: what it writes."""
        if export.startswith("image-"):
            self.image.add(offset, length)
        elif kind == WRITE:
            self.swapped_out.add(offset, length)
            for at in range(0, len(data), BLOCK):
                page = data[at : at + BLOCK]
                self.pages[blake2b(page, digest_size=16).digest()] += 1
                self.filled += page == page[:8] * (BLOCK // 8)
        elif kind == READ:
            self.swapped_in.add(offset, length)


@dataclass(slots=True)
class _Stream:
    """The bytes of a connection that are not decoded yet. ``export`` is empty before its handshake."""

    expected: int  # the next sequence number
    rest: bytearray = field(default_factory=bytearray)
    export: str = ""
    greeted: bool = False

    def take(self, sequence: int, payload: bytes) -> None:
        """Take a segment without what came before. Raises ValueError if one is missing."""
        ahead = (sequence - self.expected + (1 << 31)) % (1 << 32) - (1 << 31)
        if ahead > 0:
            raise ValueError(f"{ahead} bytes are missing in the capture")
        fresh = payload[-ahead:] if ahead else payload
        self.rest += fresh
        self.expected = (self.expected + len(fresh)) % (1 << 32)

    def decode(self, traffic: Traffic) -> None:
        """Count the requests that are whole. Raises ValueError for what is not NBD."""
        at, end = 0, len(self.rest)
        if not self.greeted and end >= FLAGS_BYTES:
            at, self.greeted = FLAGS_BYTES, True
        while self.greeted and end - at >= OPTION_BYTES:
            if self.rest.startswith(OPTION_MAGIC, at):
                size = self._option(at)
            elif end - at >= REQUEST_BYTES:
                size = self._request(at, traffic)
            else:
                break
            if size > end - at:
                break
            at += size
        del self.rest[:at]

    def _option(self, at: int) -> int:
        """Return the size of an option; note the export that it names."""
        option, length = struct.unpack_from(">II", self.rest, at + len(OPTION_MAGIC))
        data = bytes(self.rest[at + OPTION_BYTES : at + OPTION_BYTES + length])
        if option == GO and len(data) > 4:
            data = data[4 : 4 + int.from_bytes(data[:4])]
        if option in (EXPORT_NAME, GO):
            self.export = data.decode("utf-8", "replace").partition("@")[0]
        return OPTION_BYTES + int(length)

    def _request(self, at: int, traffic: Traffic) -> int:
        """Return the size of a request; count it if all of it is there."""
        magic, _, kind, _, offset, length = struct.unpack_from(">IHHQQI", self.rest, at)
        if magic != REQUEST_MAGIC:
            raise ValueError(f"no NBD request in the stream of '{self.export}'")
        size = REQUEST_BYTES + (length if kind == WRITE else 0)
        if size <= len(self.rest) - at and kind in (READ, WRITE):
            data = bytes(self.rest[at + REQUEST_BYTES : at + size])
            traffic.count(self.export, kind, offset, length, data)
        return int(size)


def read(path: Path, stage: str) -> Traffic:
    """Return what a PC asked for until it told ``stage`` to the server, or until the end.

    Raises ValueError for a file that is no capture, or lacks frames.
    """
    traffic, streams = Traffic(), dict[tuple[bytes, int], _Stream]()
    told = f"/{stage}?".encode()
    for server, (port, to_port), sequence, flags, payload in _segments(path):
        if to_port != PAGES_PORT:
            if payload.startswith(b"POST ") and told in payload.partition(b"\r\n")[0]:
                traffic.ended = True
                break
            continue
        if flags & SYN:
            streams[server, port] = _Stream((sequence + 1) % (1 << 32))
        elif payload and (stream := streams.get((server, port))) is not None:
            stream.take(sequence, payload)
            stream.decode(traffic)
    return traffic


def on_others(each: Traffic, others: Sequence[Traffic]) -> int:
    """Return how many of the pages that a PC wrote to swap another one wrote too."""
    known = set[bytes]().union(*(other.pages for other in others))
    return sum(count for digest, count in each.pages.items() if digest in known)


Segment = tuple[bytes, tuple[int, int], int, int, bytes]


def _segments(path: Path) -> Iterator[Segment]:
    """Yield address of the server, both ports, sequence number, flags and payload of TCP segments."""
    for frame in _frames(path):
        if frame[12:14] != IPV4 or frame[23] != TCP:
            continue
        start = ETHERNET + 4 * (frame[14] & 15)
        (total,) = struct.unpack_from(">H", frame, 16)
        ports = struct.unpack_from(">HH", frame, start)
        (sequence,) = struct.unpack_from(">I", frame, start + 4)
        payload = frame[start + 4 * (frame[start + 12] >> 4) : ETHERNET + total]
        yield frame[30:34], (ports[0], ports[1]), sequence, frame[start + 13], payload


def _frames(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        if not file.read(24).startswith(PCAP):
            raise ValueError(f"{path} is no capture of the lab")
        while len(header := file.read(16)) == 16:
            kept, whole = struct.unpack_from("<II", header, 8)
            frame = file.read(kept)
            if len(frame) < kept:  # QEMU was still writing
                return
            if kept < whole:
                raise ValueError(f"{path}: a frame of {whole} bytes was cut")
            yield frame
