"""Null store, to measure all but the store: writes are dropped, reads return zeros."""

from collections.abc import Iterator, Sequence

from netboot.profile.stores import StoreSpec

_ZEROS = memoryview(bytes(256 << 10))


class NullFile:
    """A file of ``size_bytes`` zeros that drops all writes."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        return self._size_bytes

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return None: no page is mapped."""
        return None

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with zeros."""
        for begin in range(0, len(buffer), len(_ZEROS)):
            piece = buffer[begin : begin + len(_ZEROS)]
            piece[:] = _ZEROS[: len(piece)]

    def write(self, offset: int, data: memoryview) -> None:
        """Drop ``data``."""

    def trim(self, offset: int, length: int) -> None:
        """Do nothing."""

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Do nothing."""

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """Yield one hole."""
        if length:
            yield length, True

    def flush(self) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Do nothing."""

    def descriptors(self) -> Sequence[int]:
        """Return none: none are needed."""
        return ()

    def close(self) -> None:
        """Do nothing."""


class NullStore:
    """A store whose files hold nothing."""

    kind = "null"
    directory = None

    def mend(self) -> None:
        """Do nothing: there is no directory."""

    def create(self, name: str, size_bytes: int, *, alone: bool = False) -> NullFile:
        """Return a file of zeros."""
        return NullFile(size_bytes)

    def open(self, name: str, size_bytes: int, *, alone: bool = False) -> NullFile:
        """Raise FileNotFoundError: no file is kept."""
        raise FileNotFoundError(f"page file {name}: the null store keeps nothing")

    def has(self, name: str) -> bool:
        """Return False."""
        return False

    def making(self, name: str) -> None:
        """Return None: ``create`` has made the file."""

    def names(self) -> Sequence[str]:
        """Return no names."""
        return ()

    def remove(self, name: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def make_store(spec: StoreSpec, name: str) -> NullStore:
    """Return a store that keeps nothing."""
    return NullStore()


def adopt(descriptors: Sequence[int], size_bytes: int) -> NullFile:
    """Return a file of zeros."""
    return NullFile(size_bytes)
