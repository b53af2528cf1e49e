"""The rest of a request that waits for room in the store.

A full store can still be read, and its stored pages rewritten. TRIM even makes room. So the payload
of a WRITE that found no room is taken out of the input, and the next request begins: NBD allows
replies in any order. The requests of a connection that wait are done in order. A later one that need
not wait takes the place of an earlier one where both overlap (``Area.done``). So the pages always
become what they had become if all requests had been done in order.

On a ``SlowFile`` a change is held, too, while it is under way.
"""

from dataclasses import dataclass, field

from netboot.pages.worker.tasks import Task


@dataclass(slots=True, eq=False)
class Held:
    """The ranges ``spans`` of offsets, each with begin and end, that are still to be changed.

    ``data`` is the payload of a WRITE from the offset ``base`` on. ``cost`` is what it counts for; 0
    if it is not held. ``waits`` becomes true when there was no room: then newer changes take its
    place. ``task`` is what is under way for it, or None.
    """

    spans: list[tuple[int, int]]
    base: int = 0
    data: memoryview = field(default_factory=lambda: memoryview(b""))
    cost: int = 0
    waits: bool = False
    task: Task | None = None

    def cut(self, begin: int, end: int) -> None:
        """Leave out a range: it was done, or a later request has changed it."""
        left = [piece for a, b in self.spans for piece in ((a, min(b, begin)), (max(a, end), b))]
        self.spans = [(a, b) for a, b in left if a < b]

    def overlaps(self, offset: int, length: int) -> bool:
        """Return whether a range has bytes that are still to be changed."""
        return any(begin < offset + length and offset < end for begin, end in self.spans)

    def first(self, most: int) -> tuple[int, int]:
        """Return offset and length of the next piece, at most ``most`` bytes."""
        begin, end = self.spans[0]
        return begin, min(end - begin, most)
