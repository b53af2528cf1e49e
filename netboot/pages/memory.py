"""Memory store: each page file is a sparse file on a tmpfs, so pages outlive every process."""

from collections.abc import Sequence
from pathlib import Path

from netboot.pages.folder import Folder
from netboot.pages.sparse import SparseFile
from netboot.pages.store import StoreSpec

TMPFS = Path("/dev/shm")


class MemoryStore:
    """A directory of page files on ``tmpfs``."""

    kind = "memory"

    def __init__(self, tmpfs: Path = TMPFS, name: str = "") -> None:
        """Raises OperatorError if there can be no files in ``tmpfs``."""
        self._folder = Folder(tmpfs, name)

    @property
    def directory(self) -> Path:
        """Of the page files."""
        return self._folder.path

    def create(self, name: str, size_bytes: int) -> SparseFile:
        """A new file of holes."""
        return SparseFile(self._folder.create(name, size_bytes), size_bytes)

    def open(self, name: str, size_bytes: int) -> SparseFile:
        """A file that is there."""
        return SparseFile(self._folder.open(name, size_bytes), size_bytes)

    def names(self) -> Sequence[str]:
        """The page files that are there."""
        return self._folder.names()

    def remove(self, name: str) -> None:
        """Wipes a file."""
        self._folder.remove(name)

    def close(self) -> None:
        """Wipes all files, or keeps them if the store has a name."""
        self._folder.close()


def make_store(spec: StoreSpec, name: str) -> MemoryStore:
    """A store on the machine's shared-memory tmpfs."""
    return MemoryStore(TMPFS, name)


def adopt(descriptors: Sequence[int], size_bytes: int) -> SparseFile:
    """The page file behind a descriptor that was sent to this process."""
    (descriptor,) = descriptors
    return SparseFile(descriptor, size_bytes)
