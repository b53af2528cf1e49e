"""Requests that may take several turns: all that the hot path of exchange.py leaves.

A work is a generator. It yields the reason why it has to pause, and returns when the request is
done and answered. So one client never delays the others and uses bounded memory. Between two steps
other connections may use the buffers. A work that yields what is Held needs no input any more: later
requests may overtake it. A work that yields a Task goes on when that is finished, and the next
request of its connection has to wait.
"""

from collections.abc import Generator
from enum import Enum

from netboot.pages.nbd.backing import Busy, Operation, perform
from netboot.pages.nbd.dialect import MAX_FRAMING_BYTES, Dialect
from netboot.pages.nbd.transmission import (
    CHUNK_BYTES,
    HOLE_BYTES,
    MAX_EXTENTS,
    error_of,
    find_extents,
    pieces,
)
from netboot.pages.nbd.wire import MAX_PAYLOAD_BYTES, Command, CommandFlag, Error, Request
from netboot.pages.worker.buffers import Area, Buffers, is_zeros
from netboot.pages.worker.held import Held
from netboot.pages.worker.tasks import Task

# Freeing a page of a tmpfs costs about 0.1 us, allocating one 0.5 us: 8 ms at the most.
ERASED_AT_ONCE_BYTES = 64 << 20
# Of a write that found no room at first, in one turn.
STORED_AT_ONCE_BYTES = 1 << 20

_PIECE_ROOM = CHUNK_BYTES + MAX_FRAMING_BYTES
_STATUS_ROOM = 16 * MAX_EXTENTS + MAX_FRAMING_BYTES

# Plain numbers: & with a member of a flag takes 0.5 us, as much as a plain request.
FUA, _DF, _NO_HOLE = int(CommandFlag.FUA), int(CommandFlag.DF), int(CommandFlag.NO_HOLE)


class Pause(Enum):
    """The reason why a work pauses."""

    INPUT = "input"
    TURN = "turn"  # needs an empty output, in its next turn
    ROOM = "room"  # the store is full, and the input is needed again


# A work that waits for input may yield a place for it, and is then sent how many bytes came there.
Work = Generator[Pause | memoryview | Held | Task, int | None, None]
Steps = Generator[Pause | Held | Task, int | None, None]


def begin_work(
    area: Area, dialect: Dialect, buffers: Buffers, request: Request, error: Error
) -> Work:
    """Return the work for a request whose header was taken from the input.

    With an ``error`` the payload is skipped and the request refused. ``buffers`` must be the same
    in all turns.
    """
    if error is not Error.NONE:
        return _refuse(dialect, buffers, request, error)
    match request.command:
        case Command.READ if not dialect.structured:
            return _read_simple(area, dialect, buffers, request)
        case Command.READ if request.flags & _DF and request.length > CHUNK_BYTES:
            return _read_unbroken(area, dialect, buffers, request)
        case Command.READ:
            return _read_chunks(area, dialect, buffers, request)
        case Command.WRITE:
            return _write(area, dialect, buffers, request)
        case Command.CACHE:
            return _cache(area, dialect, buffers, request)
        case Command.BLOCK_STATUS:
            return _tell_status(area, dialect, buffers, request)
        case Command.FLUSH:
            return _flush(area, dialect, buffers, request)
        case _:
            return _erase(area, dialect, buffers, request)


def _do(area: Area, held: Held, task: Task) -> Steps:
    """Do a task, at once or under way and aside. Raises OSError, Busy and Damaged."""
    tasks = area.tasks
    if tasks is None:
        perform(area.pages, task)
        return
    tasks.submit(task)
    if not area.admit(held):
        yield from _await(task)
        return
    held.task = task
    while not task.finished:
        yield held
    held.task = None
    if task.error is not None:
        raise task.error


def _await(task: Task) -> Steps:
    """Wait in place until a task is finished. Raises its error."""
    while not task.finished:
        yield task
    if task.error is not None:
        raise task.error


def _wait_for_room(area: Area, held: Held) -> Steps:
    """Wait until the next retry. From now on newer changes take the place of what is held."""
    held.waits = True
    yield held if area.admit(held) else Pause.ROOM


def _let_others_pass(area: Area, held: Held) -> Steps:
    """After a wait for room: wait for the other changes of the next pages that go first."""
    while held.waits and area.tasks is not None and held.spans and area.must_wait(held):
        yield held if held.cost else Pause.ROOM


def _persist(area: Area, held: Held) -> Generator[Pause | Held | Task, int | None, Error]:
    """Flush, and retry it while the store is busy. Returns the error."""
    while True:
        try:
            yield from _do(area, held, Task(Operation.FLUSH))
        except Busy:
            yield from _wait_for_room(area, held)
        except OSError as failure:
            return error_of(failure)
        else:
            return Error.NONE


def _answer(dialect: Dialect, buffers: Buffers, request: Request, error: Error) -> None:
    failed = error is not Error.NONE
    buffers.put(dialect.failure(request, error) if failed else dialect.success(request))


def _refuse(dialect: Dialect, buffers: Buffers, request: Request, error: Error) -> Work:
    remaining = dialect.payload_bytes(request)
    while remaining:
        taken = min(remaining, buffers.end - buffers.position)
        buffers.position += taken
        remaining -= taken
        if remaining:
            yield Pause.INPUT
    buffers.put(dialect.failure(request, error))


def _write(area: Area, dialect: Dialect, buffers: Buffers, request: Request) -> Work:
    held = Held([(request.offset, request.offset + request.length)])
    try:
        error = yield from _receive(area, buffers, held)
        if held.cost:
            error = yield from _store(area, held)
        if error is Error.NONE and request.flags & FUA:
            error = yield from _persist(area, held)
    finally:
        area.release(held)
    if error is Error.NONE:
        area.counters.writes += 1
        area.counters.bytes_written += request.length
    _answer(dialect, buffers, request, error)


def _receive(
    area: Area, buffers: Buffers, held: Held
) -> Generator[Pause | memoryview | Held | Task, int | None, Error]:
    """Store the payload as it arrives. If that has to wait, take the rest of it out of the input."""
    ((offset, end),), error = held.spans, Error.NONE
    while offset < end:
        begin, piece = buffers.position, min(end - offset, buffers.end - buffers.position)
        if not piece:
            sink = area.pages.view(offset, end - offset) if error is Error.NONE else None
            piece = (yield sink or Pause.INPUT) or 0
            area.done(offset, offset + piece)
            offset += piece
            continue
        if error is Error.NONE:
            try:
                area.write(offset, buffers.input[begin : begin + piece])
            except (Busy, BlockingIOError) as reason:
                if area.admit(held, end - offset):
                    held.spans, held.base = [(offset, end)], offset
                    yield from _fill(buffers, held.data)
                    held.waits = isinstance(reason, Busy)
                    break
                if isinstance(reason, Busy):
                    yield Pause.ROOM
                else:
                    error = yield from _store_piece(area, buffers, offset, piece)
                    offset += piece
                continue
            except OSError as failure:
                error = error_of(failure)
            else:
                area.done(offset, offset + piece)
        buffers.position += piece
        offset += piece
    return error


def _store_piece(
    area: Area, buffers: Buffers, offset: int, length: int
) -> Generator[Pause | Held | Task, int | None, Error]:
    """Store a copy of input that too much is held for, before the connection goes on."""
    assert area.tasks is not None, "only a slow page file would wait"
    data = memoryview(bytes(buffers.input[buffers.position : buffers.position + length]))
    buffers.position += length
    while True:
        task = Task(Operation.WRITE, offset, length, data)
        area.tasks.submit(task)
        try:
            yield from _await(task)
        except Busy:
            yield Pause.ROOM
        except OSError as failure:
            return error_of(failure)
        else:
            return Error.NONE


def _fill(buffers: Buffers, data: memoryview) -> Generator[memoryview, int | None, None]:
    while data:
        begin, piece = buffers.position, min(len(data), buffers.end - buffers.position)
        if piece:
            data[:piece] = buffers.input[begin : begin + piece]
            buffers.position += piece
        else:
            piece = (yield data) or 0
        data = data[piece:]


def _store(area: Area, held: Held) -> Generator[Pause | Held | Task, int | None, Error]:
    """Store what is held: under way, or as soon as there is room. Returns the error."""
    turn = STORED_AT_ONCE_BYTES
    if held.waits:
        yield from _wait_for_room(area, held)
    while held.spans:
        yield from _let_others_pass(area, held)
        if not held.spans:
            break
        offset, length = held.first(CHUNK_BYTES if area.tasks is None else MAX_PAYLOAD_BYTES)
        begin = offset - held.base
        data = held.data[begin : begin + length]
        try:
            task = Task(Operation.WRITE, offset, length, data, retried=held.waits)
            yield from _do(area, held, task)
        except Busy:
            yield from _wait_for_room(area, held)
            continue
        except OSError as failure:
            return error_of(failure)
        held.cut(offset, offset + length)
        turn -= length
        if turn <= 0 and held.spans:
            yield Pause.TURN
            turn = STORED_AT_ONCE_BYTES
    return Error.NONE


def tell_read(area: Area, dialect: Dialect, buffers: Buffers, request: Request, task: Task) -> None:
    """Answer a READ of at most a chunk, which ``task`` has done."""
    offset, length = request.offset, request.length
    if task.error is not None:
        error = error_of(task.error) if isinstance(task.error, OSError) else Error.EIO
        buffers.put(dialect.failure(request, error, offset))
        return
    if not dialect.structured:
        buffers.put(dialect.success(request))
        buffers.put(task.data)
    elif length >= HOLE_BYTES and is_zeros(task.data):
        buffers.put(dialect.hole(request, offset, length, done=True))
    else:
        buffers.put(dialect.data(request, offset, length, done=True))
        buffers.put(task.data)
    _count_read(area, request)


def _fetch(
    area: Area, offset: int, length: int, buffers: Buffers
) -> Generator[Pause | Task, int | None, memoryview]:
    """Return the bytes when they are there and the output has room. Raises OSError."""
    while buffers.room < _PIECE_ROOM:
        yield Pause.TURN
    try:
        return area.fetch(offset, length, buffers)
    except BlockingIOError:
        assert area.tasks is not None, "only a slow page file would wait"
        task = Task(Operation.READ, offset, length, memoryview(bytearray(length)))
        area.tasks.submit(task)
    while not task.finished:
        yield task
    if task.error is not None:
        raise task.error
    while buffers.room < _PIECE_ROOM:
        yield Pause.TURN
    return task.data


def _read_simple(area: Area, dialect: Dialect, buffers: Buffers, request: Request) -> Work:
    """Read in pieces. Raises OSError after success was announced, which cannot be taken back."""
    header = dialect.success(request)
    for offset, length in pieces(request):
        try:
            data = yield from _fetch(area, offset, length, buffers)
        except OSError as failure:
            if not header:
                raise
            buffers.put(dialect.failure(request, error_of(failure)))
            return
        buffers.put(header)
        buffers.put_fetched(data)
        header = b""
    buffers.put(header)
    _count_read(area, request)


def _read_chunks(area: Area, dialect: Dialect, buffers: Buffers, request: Request) -> Work:
    for offset, length in pieces(request):
        done = offset + length == request.offset + request.length
        try:
            data = yield from _fetch(area, offset, length, buffers)
        except OSError as failure:
            buffers.put(dialect.failure(request, error_of(failure), offset))
            return
        if length >= HOLE_BYTES and is_zeros(data):
            buffers.put(dialect.hole(request, offset, length, done=done))
        else:
            buffers.put(dialect.data(request, offset, length, done=done))
            buffers.put_fetched(data)
    if not request.length:
        buffers.put(dialect.success(request))
    _count_read(area, request)


def _read_unbroken(area: Area, dialect: Dialect, buffers: Buffers, request: Request) -> Work:
    error = Error.NONE
    buffers.put(dialect.data(request, request.offset, request.length, done=False))
    for offset, length in pieces(request):
        while buffers.room < _PIECE_ROOM:
            yield Pause.TURN
        try:
            if error is Error.NONE:
                buffers.put_fetched((yield from _fetch(area, offset, length, buffers)))
        except OSError as failure:
            error = error_of(failure)
        if error is not Error.NONE:
            buffers.put(bytes(length))
    if error is Error.NONE:
        _count_read(area, request)
    _answer(dialect, buffers, request, error)


def _count_read(area: Area, request: Request) -> None:
    area.counters.reads += 1
    area.counters.bytes_read += request.length


def _cache(area: Area, dialect: Dialect, buffers: Buffers, request: Request) -> Work:
    """Read into the free part of the output, so that pages move from a slow tier to a fast one."""
    error = Error.NONE
    for offset, length in pieces(request):
        try:
            yield from _fetch(area, offset, length, buffers)
        except OSError as failure:
            error = error_of(failure)
            break
        if offset + length < request.offset + request.length:
            yield Pause.TURN
    _answer(dialect, buffers, request, error)


def _tell_status(area: Area, dialect: Dialect, buffers: Buffers, request: Request) -> Work:
    while buffers.room < _STATUS_ROOM:
        yield Pause.TURN
    try:
        buffers.put(dialect.status(request, find_extents(area.pages, request)))
    except OSError as failure:
        buffers.put(dialect.failure(request, error_of(failure)))


def _flush(area: Area, dialect: Dialect, buffers: Buffers, request: Request) -> Work:
    """Flush the writes that were answered. Those that are held were not."""
    held = Held([])
    try:
        error = yield from _persist(area, held)
    finally:
        area.release(held)
    _answer(dialect, buffers, request, error)


def _erase(area: Area, dialect: Dialect, buffers: Buffers, request: Request) -> Work:
    """Do a TRIM or WRITE_ZEROES: a piece in each turn, or all of it under way."""
    held, error = Held([(request.offset, request.offset + request.length)]), Error.NONE
    if not request.length:
        held.spans.clear()
    operation = Operation.TRIM if request.command == Command.TRIM else Operation.ZERO
    allocate = bool(request.flags & _NO_HOLE)
    at_once = ERASED_AT_ONCE_BYTES if area.tasks is None else request.length
    try:
        while held.spans:
            yield from _let_others_pass(area, held)
            if not held.spans:
                break
            offset, length = held.first(at_once)
            try:
                task = Task(operation, offset, length, allocate=allocate, retried=held.waits)
                yield from _do(area, held, task)
            except Busy:
                yield from _wait_for_room(area, held)
                continue
            except OSError as failure:
                error = error_of(failure)
                break
            if area.tasks is None and not held.cost:
                area.done(offset, offset + length)
            held.cut(offset, offset + length)
            if held.spans:
                yield Pause.TURN
        if error is Error.NONE and request.flags & FUA:
            error = yield from _persist(area, held)
    finally:
        area.release(held)
    if error is Error.NONE:
        area.counters.trims += 1
    _answer(dialect, buffers, request, error)
