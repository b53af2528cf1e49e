"""A seat under load: ``python -m tests.support.swap_load HOST PORT NAME``.

It writes pages over four connections of one set and reads each page back, until standard input
ends. It prints a line after the first round, and the number of pages at the end. A lost connection,
or a page that differs, ends it with a traceback.
"""

import itertools
import select
import sys
from hashlib import blake2b

from tests.support.nbd_client import NbdClient

PAGE_BYTES, PAGES, CONNECTIONS = 4096, 256, 4


def page(index: int, round_: int) -> bytes:
    """Return the content of page ``index`` after a round."""
    return blake2b(f"{index} {round_}".encode()).digest() * (PAGE_BYTES // 64)


def main(host: str, port: str, name: str) -> None:
    """Load the export ``name`` until standard input ends."""
    clients = [NbdClient((host, int(port))).attach(name) for _ in range(CONNECTIONS)]
    for round_ in itertools.count():
        for index in range(PAGES):
            writer, reader = (clients[(index + shift) % CONNECTIONS] for shift in (0, 1))
            if round_:
                assert reader.read(index * PAGE_BYTES, PAGE_BYTES) == page(index, round_ - 1)
            assert writer.write(index * PAGE_BYTES, page(index, round_)) == 0
        if round_ == 0:
            sys.stdout.write("loaded\n")
            sys.stdout.flush()
        elif select.select([sys.stdin], [], [], 0)[0]:
            sys.stdout.write(f"{round_ * PAGES}\n")
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
