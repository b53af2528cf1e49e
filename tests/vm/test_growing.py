"""Further swap areas: attached in time, each survives its server, given back with all memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.vm.conftest import LAB_SECONDS, PROJECT
from tests.vm.growing import AREA_BYTES

MIB = 1 << 20


def test_swap_grows_under_load_and_shrinks_after_it(images: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.vm.growing", tmp_path, images],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LAB_SECONDS,
        check=False,
    )
    assert done.stdout, "no report"
    report = json.loads(done.stdout)
    assert report["failure"] == "", report
    found: dict[str, list[dict[str, Any]]] = {}
    for event in report["events"]:
        found.setdefault(event["stage"], []).append(event["data"])
    grown = found["agent:grown"]
    assert [each["area"] for each in grown] == [2, 3]
    assert all(each["left"] > 0 for each in grown), "in time"
    assert all(each["size"] == AREA_BYTES for each in grown)
    (verified,) = found["load:verified"]
    assert verified["wrong"] == 0
    assert len(found["agent:lost"]) == len(found["agent:reattached"]) == 3
    assert [each["area"] for each in found["agent:returned"]] == [3, 2]
    assert report["stored"]["full"] > 2 * AREA_BYTES
    assert report["stored"]["empty"] < AREA_BYTES
