"""``python -m netboot``."""

import gc
import sys
from typing import NoReturn

from netboot.cli.mixed import refuse
from netboot.errors import Exit

# Objects until the collector looks for garbage. A start makes modules, which stay: with Python's 700
# each look at them took a tenth of the CPU until a server's first answer.
COLLECT_AFTER = 50_000


def main() -> NoReturn:
    """Run the command, unless files of another project are among ours."""
    refuse()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    try:
        from netboot.cli.main import main as run
    except KeyboardInterrupt:  # in the first tenth of a second, when nothing has begun
        sys.exit(Exit.INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
