"""``python -m netboot``."""

import gc
from typing import NoReturn

from netboot.cli.mixed import refuse

# Objects until the collector looks for garbage. A start makes modules, which stay: with Python's 700
# each look at them took a tenth of the CPU until a server's first answer.
COLLECT_AFTER = 50_000


def main() -> NoReturn:
    """Run the command, unless files of another project are among ours."""
    refuse()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    from netboot.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
