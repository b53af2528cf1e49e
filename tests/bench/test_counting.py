"""Counts of ``perf stat``: its output, and an event that every machine has."""

import shutil
import subprocess
import sys

import pytest

from bench.counting import counted, is_counted, parse

NOT_SUPPORTED = "<not supported>,,instructions,0,100.00,,\n"
COUNTED = "# started on Mon Nov 30 06:25:20 2026\n\n1234567,,instructions:u,5000,100.00,1.20,insn per cycle\n"


def test_only_a_counted_event_has_a_value() -> None:
    assert parse(COUNTED, "instructions") == 1234567
    assert parse(NOT_SUPPORTED, "instructions") is None
    assert parse(COUNTED, "cycles") is None


@pytest.mark.system
@pytest.mark.skipif(shutil.which("perf") is None, reason="perf is not installed")
def test_a_process_is_counted_until_the_end_of_the_block() -> None:
    event = "task-clock"
    if not is_counted(event):
        pytest.skip("this user may not count")
    words = [sys.executable, "-c", "while True: print('turn', flush=True)"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        with counted([busy.pid], event) as count:
            for _ in range(1000):
                busy.stdout.readline()
        busy.kill()
    assert count.value is not None
    assert count.value > 0
