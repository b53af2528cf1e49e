"""A bounded run of the fuzzer: NETBOOT_FUZZ_SECONDS, by default 60 s in CI and 5 s elsewhere."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests import ROOT
from tests.fuzz.seeds import seeds

pytestmark = pytest.mark.system

SECONDS = int(
    os.environ.get("NETBOOT_FUZZ_SECONDS") or (60 if os.environ.get("CI") == "true" else 5)
)
# The code, its modules and libFuzzer's corpus take about 130 MB, for a run of any length.
MEMORY_MB = 300
HANG_SECONDS = 5


@pytest.mark.timeout(SECONDS + 120)
def test_fuzzed_nbd_neither_crashes_nor_hangs_nor_grows(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: make setup")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for seed in seeds():
        (corpus / sha256(seed).hexdigest()).write_bytes(seed)
    # Started by a shell: a program that we execute ourselves inherits our peak of memory
    # (fs/exec.c, setmax_mm_hiwater_rss), and libFuzzer's limit applies to the peak.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "tests.fuzz.nbd_target"]
    command += [str(corpus)]
    command += [f"-artifact_prefix={tmp_path}/", "-max_len=2048", f"-max_total_time={SECONDS}"]
    command += [f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    assert "stat::number_of_executed_units" in done.stderr
