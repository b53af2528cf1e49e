"""Use a share of one CPU until standard input ends: ``python -m tests.attack.load.burn SHARE``."""

import select
import sys
import time

TURN = 0.003  # seconds, about as often as an attack wakes


def main() -> None:
    share, begin = float(sys.argv[1]), time.monotonic()
    used = time.process_time()
    while not select.select([sys.stdin], [], [], TURN)[0]:
        while time.process_time() - used < share * (time.monotonic() - begin):
            pass


if __name__ == "__main__":
    main()
