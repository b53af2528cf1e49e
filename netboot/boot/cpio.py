"""cpio archives in the "newc" format, which Linux unpacks as an initramfs. Writing only; pure.

Format: kernel Documentation/driver-api/early-userspace/buffer-format.rst. The same records in any
order give the same bytes: sorted by name, owner root, no times, inode numbers by position.
"""

from collections.abc import Iterable
from dataclasses import dataclass

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
MAX_CONTENT = 0xFFFFFFFF  # the size field has eight hexadecimal digits

# File types of st_mode (POSIX <sys/stat.h>).
FILE_TYPE = 0o170000
FILE = 0o100000
DIRECTORY = 0o040000
SYMLINK = 0o120000
CHARACTER_DEVICE = 0o020000


@dataclass(frozen=True, slots=True)
class Record:
    """One member: ``name`` without a leading slash, ``mode`` with the bits of the file type.

    ``content`` is the content of a file or the target of a symlink; ``device`` is major and minor.
    """

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(name: str, content: bytes, *, executable: bool = False) -> Record:
    """Return a regular file, with mode 0755 if ``executable`` and else 0644."""
    return Record(name, FILE | (0o755 if executable else 0o644), content)


def private(name: str, content: bytes) -> Record:
    """Return a regular file that only root can read, with mode 0600."""
    return Record(name, FILE | 0o600, content)


def directory(name: str) -> Record:
    """Return a directory, with mode 0755."""
    return Record(name, DIRECTORY | 0o755)


def symlink(name: str, target: str) -> Record:
    """Return a symbolic link to ``target``."""
    return Record(name, SYMLINK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int) -> Record:
    """Return a character device node, with mode 0600.

    Writing it into an archive takes no privilege.
    """
    return Record(name, CHARACTER_DEVICE | 0o600, device=(major, minor))


def is_file(record: Record) -> bool:
    """Return True for a regular file."""
    return record.mode & FILE_TYPE == FILE


def archive(records: Iterable[Record], *, parents: bool = True) -> bytes:
    """Return the archive of ``records`` and of all their parent directories.

    Without ``parents`` it has none of them: it is unpacked over a tree whose directories keep their
    modes. Linux unpacks no such archive; busybox does (``cpio -d``). Raises ValueError for a name that is not a plain relative path, and for two different records
    with one name.
    """
    members: dict[str, Record] = {}
    for record in records:
        _check(record)
        if members.setdefault(record.name, record) != record:
            raise ValueError(f"two different records are named {record.name}")
    for name in list(members):
        while parents and "/" in name:
            name = name.rpartition("/")[0]
            parent = members.setdefault(name, directory(name))
            if parent.mode & FILE_TYPE != DIRECTORY:
                raise ValueError(f"{name} has members and is not a directory")
    # A parent's name is a prefix of its members' names, so it comes first, as the kernel needs it.
    ordered = sorted(members.values(), key=lambda record: record.name.encode())
    parts = [_member(number, record) for number, record in enumerate(ordered, start=1)]
    return b"".join([*parts, _member(0, Record(TRAILER, 0))])


def _check(record: Record) -> None:
    pieces = record.name.split("/")
    if any(piece in ("", ".", "..") for piece in pieces) or "\0" in record.name:
        raise ValueError(f"{record.name!r} is not a plain relative path")
    if pieces[0] == TRAILER:  # a directory of that name would be a member too
        raise ValueError(f"{TRAILER} ends an archive and cannot be a member's name")
    if len(record.content) > MAX_CONTENT:
        raise ValueError(
            f"{record.name} has {len(record.content)} bytes, at most {MAX_CONTENT} fit"
        )


def _member(inode: int, record: Record) -> bytes:
    name = record.name.encode() + b"\0"
    links = 2 if record.mode & FILE_TYPE == DIRECTORY else 1
    fields = (
        inode,
        record.mode,
        0,  # uid
        0,  # gid
        links,
        0,  # mtime
        len(record.content),
        0,  # major and minor of its file system
        0,
        *record.device,
        len(name),
        0,  # checksum, in the "crc" format only
    )
    header = MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(record.content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
