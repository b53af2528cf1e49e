"""Strangers' NBD clients against ``netboot pages``: libnbd's tools, QEMU's, nbdsh."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netboot.pages.exports import StaticExports
from netboot.pages.memory import MemoryStore
from tests.support.page_server import running

MIB = 1 << 20
SIZE = 64 * MIB


def run(*command: str) -> str:
    """Runs a client to its end; its output. Skips if it is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    # nbdinfo's guess at the content is not always text.
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=50, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def uri() -> Iterator[str]:
    """Of an empty export ``a`` of 64 MiB."""
    with closing(MemoryStore()) as store, running(StaticExports(store, {"a": SIZE})) as server:
        yield f"nbd://127.0.0.1:{server.address[1]}/a"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file of random data with holes."""
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(SIZE)
        for at in (0, 10, 11, 40, 63):
            file.seek(at * MIB)
            file.write(os.urandom(MIB))
    return path


def test_nbdinfo_sees_the_export(uri: str) -> None:
    (export,) = json.loads(run("nbdinfo", "--json", uri))["exports"]
    assert export["export-size"] == SIZE
    assert export["block_size_preferred"] == 4096
    assert export["block_size_maximum"] == 32 * MIB
    for ability in ("multi_conn", "flush", "fua", "trim", "zero"):
        assert export[f"can_{ability}"] is True
    assert export["is_read_only"] is False


def test_nbdinfo_lists_static_exports(uri: str) -> None:
    listed = json.loads(run("nbdinfo", "--json", "--list", uri.removesuffix("a")))
    assert [export["export-name"] for export in listed["exports"]] == ["a"]


def test_nbdcopy_both_ways_is_identical(uri: str, image: Path, tmp_path: Path) -> None:
    run("nbdcopy", "--connections=4", "--flush", str(image), uri)
    run("nbdcopy", "--connections=4", uri, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == image.read_bytes()


def test_qemu_img_both_ways_is_identical(uri: str, image: Path, tmp_path: Path) -> None:
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), uri)
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), uri)
    run("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == image.read_bytes()


def test_qemu_io_writes_trims_and_zeroes(uri: str) -> None:
    steps = [
        "write -P 0x5a 4k 8k",
        "write -f -P 0x7e 32M 16M",
        "read -P 0x5a 4k 8k",
        "read -P 0 0 4k",
        "write -z 4k 4k",
        "read -P 0 4k 4k",
        "write -z -u 8k 4k",
        "read -P 0 8k 4k",
        "discard 32M 16M",
        "read -P 0 32M 16M",
        "flush",
    ]
    words = [word for step in steps for word in ("-c", step)]
    out = run("qemu-io", "-f", "raw", *words, uri)
    assert "verification failed" not in out
    assert "failed" not in out


NBDSH = """
import errno, os
h.connect_uri(%r)
data = os.urandom(1 << 20)
h.pwrite(data, 4095)
assert h.pread(1 << 20, 4095) == data
h.zero(4096, 8192, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
assert h.pread(4096, 8192) == bytearray(4096)
h.trim(1 << 20, 0)
h.flush()
buffers = [nbd.Buffer.from_bytearray(bytearray([n]) * 4096) for n in range(200)]
for n, buffer in enumerate(buffers):
    h.aio_pwrite(buffer, n * 4096)
while h.aio_in_flight():
    h.poll(-1)
for n in range(200):
    assert h.pread(4096, n * 4096) == bytearray([n]) * 4096
h.set_strict_mode(0)
for call, error in (
    (lambda: h.pread(2, h.get_size() - 1), errno.EINVAL),
    (lambda: h.pwrite(b"xx", h.get_size() - 1), errno.ENOSPC),
    (lambda: h.trim(2, h.get_size() - 1), errno.EINVAL),
    (lambda: h.cache(2, h.get_size() - 1), errno.EINVAL),
):
    try:
        call()
        raise SystemExit("no error")
    except nbd.Error as failure:
        assert failure.errnum == error, failure
assert h.pread(4096, 4096) == bytearray([1]) * 4096
h.shutdown()
"""


def test_nbdsh_commands_and_errors(uri: str) -> None:
    if shutil.which("nbdsh") is None:
        pytest.skip("nbdsh is not installed")
    # libnbd's binding belongs to Debian's Python, which need not be the first one in PATH.
    run("/usr/bin/python3", "-m", "nbd", "-c", NBDSH % uri)
