"""Print queues of a seat for printers with a URI: rootfs/screen/usr/lib/netboot/printers."""

import os
import subprocess
from pathlib import Path

from tests import ROOT

SCRIPT = ROOT / "rootfs/screen/usr/lib/netboot/printers"
# The second printer is off at first.
LPADMIN = """#!/bin/sh
echo "$*" >>{folder}/words
case "$*" in *10.0.0.8*) [ -e {folder}/on ] || {{ touch {folder}/on; exit 1; }} ;; esac
"""


def test_each_uri_is_a_queue_and_the_first_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "lpadmin").write_text(LPADMIN.format(folder=tmp_path))
    (tmp_path / "lpadmin").chmod(0o755)
    script = tmp_path / "printers"
    script.write_text(SCRIPT.read_text().replace("/usr/lib/netboot/", f"{SCRIPT.parent}/"))
    (tmp_path / "list").write_text("# made\nipp://10.0.0.9/ipp/print\n\nipp://10.0.0.8/ipp/print\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PAUSE": "0"}
    subprocess.run(["sh", script, tmp_path / "list"], env=environment, check=True)
    server = "-h /run/cups/cups.sock"
    second = f"{server} -p printer2 -E -v ipp://10.0.0.8/ipp/print -m everywhere"
    assert (tmp_path / "words").read_text().splitlines() == [
        f"{server} -p printer1 -E -v ipp://10.0.0.9/ipp/print -m everywhere",
        f"{server} -d printer1",
        second,
        second,
    ]
