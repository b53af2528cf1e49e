"""Other projects' NBD clients against ``netboot pages``: tools of libnbd and QEMU, nbdsh, fio.

The clients negotiate structured replies and ``base:allocation``, over every store with pages.
"""

import filecmp
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netboot.pages.static_exports import StaticExports
from netboot.pages.stores.store import make_store
from netboot.profile.stores import BY_NAME, STORE_KINDS, parse_store
from tests.support.page_server import running

pytestmark = pytest.mark.system

MIB = 1 << 20
SIZE = 64 * MIB
BIG = 1024 * MIB
TIER = "16MiB"  # less than most tests write
KEEPING = [row.name for row in STORE_KINDS if row.name != "null" and not row.remote]


def run(*command: str) -> str:
    """Run a client to its end and return its output. Skip the test if it is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    # The guess of nbdinfo at the content is not always text.
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=50, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(params=KEEPING)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URI of an empty export ``a`` of 64 MiB. The server also has ``big``, 1 GiB."""
    form = BY_NAME[request.param].form.replace("DIR", str(tmp_path / "pages"))
    spec = parse_store(form.replace("SIZE", TIER))
    with closing(make_store(spec)) as store:
        exports = StaticExports(store, {"a": SIZE, "big": BIG})
        with running(exports) as server:
            yield f"nbd://127.0.0.1:{server.address[1]}/a"


def write_image(path: Path, size: int, data_at: Iterator[int]) -> Path:
    """Write a file of holes with 1 MiB of random data at each of ``data_at`` (MiB)."""
    with path.open("wb") as file:
        file.truncate(size)
        for at in data_at:
            file.seek(at * MIB)
            file.write(os.urandom(MIB))
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return an image of 64 MiB with 5 MiB of data."""
    return write_image(tmp_path / "image", SIZE, iter((0, 10, 11, 40, 63)))


def test_nbdinfo_sees_the_export(uri: str) -> None:
    (export,) = json.loads(run("nbdinfo", "--json", uri))["exports"]
    assert export["export-size"] == SIZE
    assert export["block_size_preferred"] == 4096
    assert export["block_size_maximum"] == 32 * MIB
    for ability in ("multi_conn", "flush", "fua", "trim", "zero", "fast_zero", "df", "cache"):
        assert export[f"can_{ability}"] is True
    assert export["is_read_only"] is False
    assert export["contexts"] == ["base:allocation"]


def test_nbdinfo_lists_static_exports(uri: str) -> None:
    listed = json.loads(run("nbdinfo", "--json", "--list", uri.removesuffix("a")))
    assert [export["export-name"] for export in listed["exports"]] == ["a", "big"]


def test_nbdinfo_maps_what_was_written(uri: str, image: Path) -> None:
    run("nbdcopy", str(image), uri)
    extents = json.loads(run("nbdinfo", "--json", "--map", uri))
    data = [(each["offset"], each["length"]) for each in extents if each["type"] == 0]
    # A store may report more pages than were written, never fewer.
    for at in (0, 10, 11, 40, 63):
        assert any(begin <= at * MIB < begin + length for begin, length in data), extents
    assert sum(each["length"] for each in extents) == SIZE
    assert sum(length for _, length in data) < SIZE // 2
    assert {each["type"] for each in extents} == {0, 3}
    run("qemu-io", "-f", "raw", "-c", f"discard 0 {SIZE}", uri)
    (hole,) = json.loads(run("nbdinfo", "--json", "--map", uri))
    assert (hole["length"], hole["type"]) == (SIZE, 3)


def test_nbdcopy_of_a_gibibyte_both_ways_is_identical(uri: str, tmp_path: Path) -> None:
    """192 MiB of data: half of the first quarter, and parts of the rest."""
    places = (*range(0, 256, 2), *range(256, 1024, 12))
    image = write_image(tmp_path / "big", BIG, iter(places))
    big, back = uri.removesuffix("a") + "big", tmp_path / "back"
    run("nbdcopy", "--connections=4", "--flush", str(image), big)
    run("nbdcopy", "--connections=4", big, str(back))
    assert filecmp.cmp(image, back, shallow=False)


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


@pytest.fixture
def image_uri(image: Path) -> Iterator[str]:
    """Yield the URI of ``image``, served read-only."""
    exports = StaticExports(make_store(parse_store("null")), {}, {"root": image})
    with running(exports) as server:
        yield f"nbd://127.0.0.1:{server.address[1]}/root"


def test_an_image_is_read_only_shared_and_identical(
    image_uri: str, image: Path, tmp_path: Path
) -> None:
    (export,) = json.loads(run("nbdinfo", "--json", image_uri))["exports"]
    assert export["export-size"] == SIZE
    assert export["is_read_only"] is export["can_multi_conn"] is True
    for ability in ("trim", "zero", "fast_zero"):
        assert export[f"can_{ability}"] is False
    run("nbdcopy", "--connections=4", image_uri, str(tmp_path / "copied"))
    assert filecmp.cmp(image, tmp_path / "copied", shallow=False)
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), image_uri)
    run("qemu-img", "convert", "-f", "raw", "-O", "raw", image_uri, str(tmp_path / "converted"))
    assert filecmp.cmp(image, tmp_path / "converted", shallow=False)


def test_an_image_is_mapped_by_its_holes(image_uri: str) -> None:
    extents = json.loads(run("nbdinfo", "--json", "--map", image_uri))
    data = [(each["offset"], each["length"]) for each in extents if each["type"] == 0]
    assert data == [(0, MIB), (10 * MIB, 2 * MIB), (40 * MIB, MIB), (63 * MIB, MIB)]
    assert sum(each["length"] for each in extents) == SIZE


IMAGE_NBDSH = """
import errno
h.connect_uri(%r)
h.set_strict_mode(0)
for call in (
    lambda: h.pwrite(bytes(3 << 20), 0),
    lambda: h.trim(4096, 0),
    lambda: h.zero(4096, 0),
):
    try:
        call()
        raise SystemExit("no error")
    except nbd.Error as failure:
        assert failure.errnum == errno.EPERM, failure
assert len(h.pread(4096, 0)) == 4096
h.shutdown()
"""


def test_nbdsh_cannot_change_an_image(image_uri: str) -> None:
    if shutil.which("nbdsh") is None:
        pytest.skip("nbdsh is not installed")
    run("/usr/bin/python3", "-m", "nbd", "-c", IMAGE_NBDSH % image_uri)


NBDSH = """
import errno, os
h.add_meta_context("base:allocation")
h.connect_uri(%r)
assert h.get_structured_replies_negotiated()
data = os.urandom(1 << 20)
h.pwrite(data, 4095)
assert h.pread(1 << 20, 4095) == data
h.zero(4096, 8192, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
assert h.pread(4096, 8192) == bytearray(4096)
h.cache(1 << 20, 4096)
h.zero(4096, 8192, nbd.CMD_FLAG_FAST_ZERO)
chunks = []
h.pread_structured(1 << 20, 32 << 20, lambda data, at, kind, error: chunks.append((at, kind)))
assert chunks == [((32 << 20) + n * (128 << 10), nbd.READ_HOLE) for n in range(8)], chunks
chunks.clear()
h.pread_structured(
    1 << 20, 4095, lambda data, at, kind, error: chunks.append((at, kind)), nbd.CMD_FLAG_DF)
assert chunks == [(4095, nbd.READ_DATA)], chunks
extents = []
h.block_status(1 << 20, 0, lambda name, at, found, error: extents.append((name, found)))
((name, found),) = extents
assert name == "base:allocation" and sum(found[::2]) <= 1 << 20 and 0 in found[1::2], extents
h.block_status(
    1 << 20, 0, lambda name, at, found, error: extents.append((name, found)), nbd.CMD_FLAG_REQ_ONE)
assert len(extents[-1][1]) == 2, extents
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
    (lambda: h.zero(512, 0, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO), errno.ENOTSUP),
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
    # The binding of libnbd belongs to Debian's Python, which need not be the first one in PATH.
    run("/usr/bin/python3", "-m", "nbd", "-c", NBDSH % uri)


def test_fio_verifies_eight_connections(uri: str) -> None:
    """Each job writes its own 4 MiB in random order and verifies them by checksums."""
    out = run(
        "fio", "--name=verify", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k",
        "--iodepth=32", "--numjobs=8", "--size=4m", "--offset_increment=4m",
        "--verify=crc32c", "--do_verify=1", "--verify_state_save=0", "--output-format=json",
    )  # fmt: skip
    jobs = json.loads(out[out.index("{") :])["jobs"]
    assert len(jobs) == 8
    for job in jobs:
        assert (job["error"], job["write"]["io_kbytes"], job["read"]["io_kbytes"]) == (
            0,
            4096,
            4096,
        )
