"""Run one page worker: ``python -m netboot.pages.worker CONTROL [MEETING]``, two descriptors."""

import sys

from netboot.pages.worker.worker import main

main(*map(int, sys.argv[1:]))
