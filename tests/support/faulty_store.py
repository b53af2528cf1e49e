"""Page files that fail, wrapped around one that works: same interface, no flags in the product.

A worker finds ``adopt`` by the kind of its store, so these are for code that is given a page file:
the exchange, the specification of the transmission phase, the conformance tests.
"""

import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence

from netboot.pages.nbd.backing import Busy, PageFile


class FaultyFile:
    """Passes all calls on to ``pages``. Each kind of fault overrides some methods."""

    def __init__(self, pages: PageFile) -> None:
        self.pages = pages

    @property
    def size_bytes(self) -> int:
        return self.pages.size_bytes

    def view(self, offset: int, length: int) -> memoryview | None:
        return None  # an access through a view cannot fail

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.pages.read_into(offset, buffer)

    def write(self, offset: int, data: memoryview) -> None:
        self.pages.write(offset, data)

    def trim(self, offset: int, length: int) -> None:
        self.pages.trim(offset, length)

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        self.pages.zero(offset, length, allocate=allocate)

    def extents(self, offset: int, length: int) -> Iterable[tuple[int, bool]]:
        return self.pages.extents(offset, length)

    def flush(self) -> None:
        self.pages.flush()

    def check(self) -> None:
        self.pages.check()

    def descriptors(self) -> Sequence[int]:
        return self.pages.descriptors()

    def close(self) -> None:
        self.pages.close()


class Failing(FaultyFile):
    """Lost data: reads and writes between the bytes ``begin`` and ``end`` fail (EIO)."""

    def __init__(self, pages: PageFile, begin: int, end: int) -> None:
        super().__init__(pages)
        self._begin, self._end = begin, end

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._check(offset, len(buffer))
        super().read_into(offset, buffer)

    def write(self, offset: int, data: memoryview) -> None:
        self._check(offset, len(data))
        super().write(offset, data)

    def _check(self, offset: int, length: int) -> None:
        if offset < self._end and offset + length > self._begin:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Slow(FaultyFile):
    """Every read and write takes ``seconds`` longer, as on a disk that has to seek."""

    def __init__(
        self, pages: PageFile, seconds: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(pages)
        self._seconds, self._sleep = seconds, sleep

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._sleep(self._seconds)
        super().read_into(offset, buffer)

    def write(self, offset: int, data: memoryview) -> None:
        self._sleep(self._seconds)
        super().write(offset, data)


class Short(FaultyFile):
    """A write stores its first half and then finds no room: the caller must retry."""

    def __init__(self, pages: PageFile, times: int) -> None:
        super().__init__(pages)
        self.times = times  # writes that still fail

    def write(self, offset: int, data: memoryview) -> None:
        if self.times:
            self.times -= 1
            super().write(offset, data[: len(data) // 2])
            raise Busy("half of the data")
        super().write(offset, data)


class Full(FaultyFile):
    """The next ``refusals`` writes, trims and zeroes find no room."""

    def __init__(self, pages: PageFile, refusals: int) -> None:
        super().__init__(pages)
        self.refusals = refusals  # operations that still fail

    def write(self, offset: int, data: memoryview) -> None:
        self._refuse()
        super().write(offset, data)

    def trim(self, offset: int, length: int) -> None:
        self._refuse()
        super().trim(offset, length)

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        self._refuse()
        super().zero(offset, length, allocate=allocate)

    def _refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Busy("disk full")
