"""A reader of cpio newc archives, written from the format's description, not from our writer."""

from dataclasses import dataclass
from io import BytesIO


@dataclass(frozen=True)
class Member:
    name: str
    inode: int
    mode: int
    owner: tuple[int, int]
    links: int
    modified: int
    content: bytes
    device: tuple[int, int]


def members(archive: bytes) -> list[Member]:
    """Return all members. Fails if a header, a padding or the end differs from the description."""
    stream = BytesIO(archive)
    found: list[Member] = []
    while True:
        header = stream.read(110)
        assert header[:6] == b"070701", header
        numbers = [int(header[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
        name = stream.read(numbers[11])
        assert name[-1:] == b"\0"
        _skip_padding(stream)
        content = stream.read(numbers[6])
        assert len(content) == numbers[6]
        _skip_padding(stream)
        if name == b"TRAILER!!!\0":
            assert not stream.read()
            return found
        found.append(
            Member(
                name=name[:-1].decode(),
                inode=numbers[0],
                mode=numbers[1],
                owner=(numbers[2], numbers[3]),
                links=numbers[4],
                modified=numbers[5],
                content=content,
                device=(numbers[9], numbers[10]),
            )
        )


def _skip_padding(stream: BytesIO) -> None:
    padding = stream.read(-stream.tell() % 4)
    assert not padding.strip(b"\0")
