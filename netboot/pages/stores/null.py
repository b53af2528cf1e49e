"""Null store, for measuring all but the store: takes writes, forgets them, reads zeros."""

from collections.abc import Iterator, Sequence

from netboot.profile.stores import StoreSpec

_ZEROS = memoryview(bytes(256 << 10))


class NullFile:
    """``size_bytes`` of zeros, whatever is written."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        return self._size_bytes

    def view(self, offset: int, length: int) -> memoryview | None:
        """None: nothing is mapped."""
        return None

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer`` with zeros."""
        for begin in range(0, len(buffer), len(_ZEROS)):
            piece = buffer[begin : begin + len(_ZEROS)]
            piece[:] = _ZEROS[: len(piece)]

    def write(self, offset: int, data: memoryview) -> None:
        """Forgets ``data``."""

    def trim(self, offset: int, length: int) -> None:
        """Nothing."""

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Nothing."""

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """One hole."""
        if length:
            yield length, True

    def flush(self) -> None:
        """Nothing."""

    def descriptors(self) -> Sequence[int]:
        """None are needed."""
        return ()

    def close(self) -> None:
        """Nothing."""


class NullStore:
    """Files that hold nothing."""

    kind = "null"
    directory = None

    def create(self, name: str, size_bytes: int) -> NullFile:
        """A file of zeros."""
        return NullFile(size_bytes)

    def open(self, name: str, size_bytes: int) -> NullFile:
        """Raises FileNotFoundError: nothing is kept."""
        raise FileNotFoundError(f"page file {name}: the null store keeps nothing")

    def names(self) -> Sequence[str]:
        """None."""
        return ()

    def remove(self, name: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def make_store(spec: StoreSpec, name: str) -> NullStore:
    """A store that keeps nothing."""
    return NullStore()


def adopt(descriptors: Sequence[int], size_bytes: int) -> NullFile:
    """A file of zeros."""
    return NullFile(size_bytes)
