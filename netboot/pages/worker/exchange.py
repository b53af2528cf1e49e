"""The fast loop of one connection: from bytes received to bytes to send. Has no socket.

nbd/transmission.py is its specification; only the division of the work differs. All complete
requests of one receive are answered into one buffer. A request that does not fit (a write that is
still arriving, a read larger than the buffer, a trim of gigabytes) becomes a work (work.py), which
proceeds a piece at a time.
"""

from collections import deque
from collections.abc import Iterator
from itertools import repeat
from struct import Struct, pack

from netboot.pages.nbd.backing import PAGE_BYTES, Busy, Damaged, Fenced, Operation, pages_of
from netboot.pages.nbd.dialect import SIMPLE, Dialect, Headers
from netboot.pages.nbd.transmission import CHUNK_BYTES, HOLE_BYTES, validate_request
from netboot.pages.nbd.wire import (
    DONE,
    EXTENDED_REPLY_MAGIC,
    EXTENDED_REQUEST_MAGIC,
    REQUEST_MAGIC,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    Chunk,
    Command,
    CommandFlag,
    Error,
    Request,
)
from netboot.pages.worker.buffers import (
    BUFFER_BYTES,
    IOV_MAX,
    MOST_PARTS,
    ROOM_BYTES,
    Area,
    Buffers,
    Counters,
    is_zeros,
)
from netboot.pages.worker.held import Held
from netboot.pages.worker.tasks import Task
from netboot.pages.worker.work import FUA, Pause, Work, begin_work, tell_read

__all__ = ["BUFFER_BYTES", "Area", "Buffers", "Counters", "Exchange"]

# Replies of the hot path. The constant fields (magic, error or flags and type) are one string. The
# header of a chunk of data is packed together with the offset at the start of its payload. A cookie
# stays the eight bytes that came: to make a number of it and bytes again takes twice as long.
_DONE_DATA = DONE << 16 | Chunk.OFFSET_DATA
_SIMPLE_PREFIX = pack(">II", SIMPLE_REPLY_MAGIC, Error.NONE)
_SIMPLE_BYTES = 16  # prefix, cookie
_STRUCTURED_DATA = Struct(">8s8sIQ")  # prefix, cookie, payload length, offset of the data
_STRUCTURED_DATA_PREFIX = pack(">II", STRUCTURED_REPLY_MAGIC, _DONE_DATA)
_EXTENDED_DATA = Struct(">8s8sQQQ")  # prefix, cookie, request's offset, payload length, the same
_EXTENDED_DATA_PREFIX = pack(">II", EXTENDED_REPLY_MAGIC, _DONE_DATA)
_EXTENDED = Struct(">8s8sQQ")
_EXTENDED_PREFIX = pack(">II", EXTENDED_REPLY_MAGIC, DONE << 16 | Chunk.NONE)
_OFFSET_BYTES = 8
_HEADER_BYTES = {  # of a reply with data, and of a reply without
    Headers.SIMPLE: (_SIMPLE_BYTES, _SIMPLE_BYTES),
    Headers.STRUCTURED: (_STRUCTURED_DATA.size, _SIMPLE_BYTES),
    Headers.EXTENDED: (_EXTENDED_DATA.size, _EXTENDED.size),
}

# Plain numbers: a member of an enum costs a dictionary lookup at each use.
_READ, _WRITE = int(Command.READ), int(Command.WRITE)
# Requests of the hot path: magic, flags and command as one number, cookie, offset, length. With the
# magic, and what the number is in a plain WRITE; in a plain READ it is _READ.
_REQUESTS = (
    (Struct(">II8sQI"), REQUEST_MAGIC, _WRITE),
    (Struct(">II8sQQ"), EXTENDED_REQUEST_MAGIC, CommandFlag.PAYLOAD_LEN << 16 | _WRITE),
)
# Requests of one step. Each makes at most two parts of output, so all are fewer than IOV_MAX.
_PLAIN_REQUESTS = (IOV_MAX - MOST_PARTS) // 2
# A write up to this size is done at once, when all of it has arrived; a longer one piece by piece.
_WHOLE_BYTES = 64 << 10
# In place of the hot path while requests wait for room: each request becomes a work.
_NOTHING_PLAIN = repeat(False)
_RETRIED_AT_ONCE = 256  # parts of output, so all are fewer than IOV_MAX


class Exchange:
    """The state of one connection in the loop.

    After ``answer``: if ``hungry``, the connection needs more input, which goes into ``sink`` if
    that is not None. If ``waiting``, requests wait for room in the store until a ``retry``, which
    may be called any number of times. If ``blocked``, nothing else is done before that, or before a
    task arrives. If ``closed``, the connection has ended. Otherwise it continues with its next turn.
    ``heavy`` becomes true at a request that can take long, however few bytes it has: the caller then
    looks at the clock after each ``answer``.

    Requests on a ``SlowFile`` may be under way as tasks. When some have arrived, the exchange is
    ``ready``: ``deliver`` answers them. Without any, ``arrived`` is empty, which costs no call.
    """

    def __init__(self, area: Area, dialect: Dialect = SIMPLE) -> None:
        self._area = area
        self._dialect = dialect
        self._plain: Iterator[bool] | None = None
        self._work: Work | None = None
        self._sunk: int | None = None
        self._is_heavy = self._is_reply = False  # the work: takes long; is amid its reply
        self._aside: list[tuple[Work, Held]] = []  # they are held; the oldest comes first
        self._under_way: set[Task] = set()
        self.arrived: deque[Task] = deque()
        self.waiting = False
        self.heavy = False
        self.sink: memoryview | None = None
        self.hungry = False
        self.blocked = False
        self.closed = False

    @property
    def idle(self) -> bool:
        """True if no request is half done: then the unparsed bytes are the whole state."""
        return self._work is None and not self._aside and not self._under_way and not self.arrived

    @property
    def between(self) -> bool:
        """True if no more input is needed to complete what is under way."""
        return self._work is None

    @property
    def ready(self) -> bool:
        """True if ``deliver`` has something to do. No reply may come amid another one."""
        return bool(self.arrived) and not self._amid_reply

    @property
    def oldest(self) -> Held | None:
        """The oldest request that waits for room aside; None without one."""
        return next((held for _, held in self._aside if held.task is None), None)

    @property
    def _amid_reply(self) -> bool:
        return self._work is not None and self._is_reply

    def arrive(self, task: Task) -> None:
        """Note that a task is done."""
        self._under_way.discard(task)
        self.blocked = False
        if isinstance(task.purpose, Held) and isinstance(task.error, Busy):
            task.purpose.waits = True  # from now on newer changes take its place
        if task.purpose is not None:
            self.arrived.append(task)

    def deliver(self, buffers: Buffers) -> None:
        """Answer the requests whose tasks have arrived, as far as the output has room.

        Raises Damaged and Fenced.
        """
        while self.ready and not buffers.full and len(buffers.parts) < _RETRIED_AT_ONCE:
            task = self.arrived.popleft()
            if isinstance(task.purpose, Request):
                if isinstance(task.error, Damaged | Fenced):
                    raise task.error
                tell_read(self._area, self._dialect, buffers, task.purpose, task)
            else:
                self._continue(task.purpose)

    def _continue(self, held: object) -> None:
        """Go on with the work that holds ``held``, whose task has arrived."""
        for at, (work, each) in enumerate(self._aside):
            if each is held:
                try:
                    next(work)
                except StopIteration:
                    del self._aside[at]
                else:
                    self._follow(each)
                break
        self._look_aside()

    def retry(self, buffers: Buffers) -> None:
        """Try the store again for the requests that wait, in order, until one finds no room."""
        if self._amid_reply:
            return
        self.blocked, full, left = False, False, []
        self.heavy |= bool(self._aside)
        for work, held in self._aside:
            under_way = held.task is not None
            if under_way or (full and held.spans) or len(buffers.parts) >= _RETRIED_AT_ONCE:
                left.append((work, held))
                continue
            try:
                next(work)
            except StopIteration:
                continue
            self._follow(held)
            full = held.task is None
            left.append((work, held))
        self._aside = left
        self._look_aside()

    def _follow(self, held: Held) -> None:
        if held.task is not None:
            self._adopt(held.task, held)

    def _adopt(self, task: Task, purpose: object) -> None:
        task.owner, task.purpose = self, purpose
        self._under_way.add(task)

    def _look_aside(self) -> None:
        self.waiting = any(held.task is None for _, held in self._aside)
        if not self._aside:
            self._plain = None

    def abandon(self) -> None:
        """Release the page file for good, so that it can be closed."""
        for task in self._under_way:
            assert task.tasks is not None, "it was submitted"
            task.tasks.abandon(task)
        self._under_way.clear()
        self.arrived.clear()
        self._plain = self._work = self.sink = None
        self._aside.clear()
        self.waiting = False

    def sunk(self, length: int) -> None:
        """Note that ``length`` bytes of input were put into ``sink``."""
        self._sunk = length

    def answer(self, buffers: Buffers) -> None:
        """Do the requests of the input until it is used up or the output must be sent first.

        ``buffers`` must be the same object in each call. Raises ProtocolError for bytes that are no
        request. Raises OSError if a read fails after the begin of its reply: the caller can only
        close the connection then.
        """
        self.hungry, self.sink = False, None
        if self._plain is None:
            self._plain = self._answer_plain(buffers)
        while not self.closed and not self.blocked:
            if self._work is None:
                if next(self._plain) or buffers.shown or buffers.full:
                    return
                request = self._parse(buffers)
                if request is None:
                    return
                error = validate_request(self._area.export, self._dialect, request)
                if self._may_be_later(request, error):
                    if not self._read_later(request):
                        buffers.position -= self._dialect.request_bytes
                        return
                    continue
                self._work = begin_work(self._area, self._dialect, buffers, request, error)
            self.heavy |= self._is_heavy
            try:
                pause = self._work.send(self._sunk)
            except StopIteration:
                self._work = None
                if self._is_heavy:
                    return
                continue
            finally:
                self._sunk = None
            if isinstance(pause, Held):
                self._set_aside(pause)
                if self._is_heavy:
                    return
                continue
            if isinstance(pause, Task):
                if not pause.finished and pause not in self._under_way:
                    self._adopt(pause, None)
                self.blocked = not pause.finished
            elif isinstance(pause, memoryview):
                self.hungry, self.sink = True, pause
            else:
                self.hungry = pause is Pause.INPUT
                self.blocked = pause is Pause.ROOM
                self.waiting |= self.blocked
            return

    def _set_aside(self, held: Held) -> None:
        assert self._work is not None, "it yielded what it holds"
        self._aside.append((self._work, held))
        self._work, self._plain = None, _NOTHING_PLAIN
        self._follow(held)
        self.waiting |= held.task is None

    def _may_be_later(self, request: Request, error: Error) -> bool:
        """Return whether a request is a read that others may overtake."""
        return (
            self._area.tasks is not None
            and request.command == _READ
            and 0 < request.length <= CHUNK_BYTES
            and error is Error.NONE
        )

    def _read_later(self, request: Request) -> bool:
        """Have a read done as a task; return False, and block, if too many are under way."""
        tasks = self._area.tasks
        assert tasks is not None, "only a slow page file would wait"
        if self._under_way and not tasks.may_read(request.length):
            self.blocked = True
            return False
        place = memoryview(bytearray(request.length))
        task = Task(Operation.READ, request.offset, request.length, place)
        self._adopt(task, request)
        tasks.submit(task)
        return True

    def _answer_plain(self, buffers: Buffers) -> Iterator[bool]:
        """Do the hot path: in each step the whole READs and WRITEs without flags that come next.

        Yields True if more input is needed first, or the output must be sent first. Yields False at
        any other request and at any error: the caller then begins a work, which repeats the request
        and reports the error. This is a generator because its local variables outlive a step: to
        look them up each time would cost as much as a request.
        """
        area, data, scratch = self._area, buffers.input, buffers.scratch
        headers = self._dialect.headers
        simple, extended = headers is Headers.SIMPLE, headers is Headers.EXTENDED
        data_header_bytes, done_bytes = _HEADER_BYTES[headers]
        pack_data = _STRUCTURED_DATA.pack
        size = area.export.size_bytes
        writable_size = -1 if area.export.read_only else size
        view, read_into, write = area.pages.view, area.read_into, area.write
        form, request_magic, plain_write = _REQUESTS[extended]
        unpack, request_bytes = form.unpack_from, form.size
        raw = data.obj  # to unpack from it is faster than from the view
        parts, shown = buffers.parts, buffers.shown
        while True:
            position, end = buffers.position, buffers.end
            filled, used = buffers.filled, buffers.used
            reads = writes = bytes_read = bytes_written = 0
            wait = False
            for _ in range(_PLAIN_REQUESTS):
                payload = position + request_bytes
                if payload > end:
                    self.hungry = wait = True
                    break
                magic, kind, cookie, offset, length = unpack(raw, position)
                if magic != request_magic:
                    break
                if kind == _READ:
                    if offset + length > size or not 0 < length <= CHUNK_BYTES:
                        break
                    if filled + length > ROOM_BYTES:
                        wait = True
                        break
                    page = view(offset, length)
                    stored = page is not None
                    if page is None:
                        page = scratch[used : used + length]
                        try:
                            read_into(offset, page)
                        except BlockingIOError:
                            if not self._read_later(
                                Request(0, _READ, int.from_bytes(cookie), offset, length)
                            ):
                                wait = True
                                break
                            position = payload
                            continue
                        except OSError:
                            break
                    # For most pages the first byte shows, without a call, that they are not zeros.
                    if not simple and length >= HOLE_BYTES and not page[0] and is_zeros(page):
                        break
                    if not stored:
                        used += length
                    elif length == PAGE_BYTES:
                        shown.add(offset)
                    else:
                        shown.update(pages_of(offset, length))
                    # Python has an instruction for an append to a list in a variable.
                    if simple:
                        parts.append(_SIMPLE_PREFIX + cookie)
                    elif extended:
                        prefix, more = _EXTENDED_DATA_PREFIX, length + _OFFSET_BYTES
                        parts.append(_EXTENDED_DATA.pack(prefix, cookie, offset, more, offset))
                    else:
                        more = length + _OFFSET_BYTES
                        parts.append(pack_data(_STRUCTURED_DATA_PREFIX, cookie, more, offset))
                    parts.append(page)
                    reads += 1
                    bytes_read += length
                    filled += data_header_bytes + length
                    position = payload
                elif kind == plain_write:
                    after = payload + length
                    if offset + length > writable_size:
                        break
                    if after > end:
                        self.hungry = wait = length <= _WHOLE_BYTES
                        break
                    if shown and not shown.isdisjoint(pages_of(offset, length)):
                        wait = True
                        break
                    try:
                        write(offset, data[payload:after])
                    except (OSError, Busy):
                        break
                    if extended:
                        parts.append(_EXTENDED.pack(_EXTENDED_PREFIX, cookie, offset, 0))
                    else:
                        parts.append(_SIMPLE_PREFIX + cookie)
                    writes += 1
                    bytes_written += length
                    filled += done_bytes
                    position = after
                else:
                    break
            else:
                wait = True
            buffers.position, buffers.filled, buffers.used = position, filled, used
            counters = area.counters
            if reads:
                counters.reads += reads
                counters.bytes_read += bytes_read
            if writes:
                counters.writes += writes
                counters.bytes_written += bytes_written
            yield wait

    def _parse(self, buffers: Buffers) -> Request | None:
        """Parse a request that is not plain; None if its header has not arrived, or for DISC."""
        begin, end = buffers.position, buffers.position + self._dialect.request_bytes
        if end > buffers.end:
            self.hungry = True
            return None
        request = self._dialect.parse(bytes(buffers.input[begin:end]))
        if request.command == Command.DISC and not self.idle:
            self.blocked = True  # proto.md: the requests before it are done first
            return None
        buffers.position = end
        if request.command == Command.DISC:
            self.closed = True
            return None
        self._is_reply = request.command == Command.READ
        self._is_heavy = request.command not in (Command.READ, Command.WRITE) or bool(
            request.flags & FUA
        )
        return request
