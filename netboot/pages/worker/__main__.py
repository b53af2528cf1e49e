"""Run a page worker: ``python -m netboot.pages.worker CONTROL [MEETING]``, both descriptors."""

import sys

from netboot.pages.worker.worker import main

main(*map(int, sys.argv[1:]))
