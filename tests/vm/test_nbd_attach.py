"""nbd-attach with the kernel's driver: one PC with an area of each server at once."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.attached import HOST, Guest, Program, guest, servers

pytestmark = pytest.mark.nightly

AREA_MIB = 64  # of each server
MEMORY_MIB = 112
LOAD_MIB = 96  # the areas are of one priority, so all four get pages
DISK_MIB = 4


@pytest.fixture(scope="module")
def pc(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with guest(images, tmp_path_factory.mktemp("pc"), memory=MEMORY_MIB, more=[]) as machine:
        yield machine


def status(pc: Guest) -> dict[str, dict[str, Any]]:
    """Return what is attached, by device."""
    _, output = pc.begin("nbd-attach --status --json")(60)
    rows = json.loads(output[output.index("\n[") :])
    return {row["device"]: row for row in rows}


def await_state(pc: Guest, device: str, state: str, seconds: float = 60) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while (row := status(pc)[device])["state"] != state:
        assert time.monotonic() < end, row
        time.sleep(0.2)
    return row


def test_swap_of_four_servers_survives_their_restart(pc: Guest, tmp_path: Path) -> None:
    """All four are killed while the PC swaps to them, and started again; no page is wrong."""
    with servers(tmp_path, AREA_MIB) as running:
        for name, server in running.items():
            output = pc.run(f"nbd-attach --swap --timeout 3 {HOST}:{server.port}/area")
            assert f"server={HOST}:{server.port}" in output, name
        done = pc.begin(f"memload {LOAD_MIB << 20}")
        pc.wait(r"writing percent=60", 120)
        for server in running.values():
            server.stop()
        time.sleep(3)
        for server in running.values():
            server.start()
        code, output = done(180)
        assert code == 0, output
        assert "wrong=0" in output
        rows = status(pc)
        assert {row["state"] for row in rows.values()} == {"attached"}
        assert {row["use"] for row in rows.values()} == {"swap"}
        assert all(row["losses"] >= 1 for row in rows.values()), rows
        for device in rows:
            pc.run(f"nbd-attach --detach {device}", 120)
        assert status(pc) == {}
        assert "nbd" not in pc.run("cat /proc/swaps").partition("/proc/swaps")[2]


def test_a_server_without_the_pages_is_refused(pc: Guest) -> None:
    """A server in memory is started again: its pages are gone, and the PC does not read zeros."""
    server = Program("nbdkit", "-f", "-p", "{port}", "-i", "127.0.0.1", "memory", "64M")
    try:
        server.start()
        pc.run(f"nbd-attach --swap --patience 15 --timeout 2 {HOST}:{server.port}/")
        server.stop()
        server.start()
        row = await_state(pc, "/dev/nbd0", "failed")
        assert "the server no longer has the pages" in row["reason"]
        pc.run("nbd-attach --detach /dev/nbd0")
        assert status(pc) == {}
    finally:
        server.stop()


def test_a_disk_is_read_and_written_again_after_a_stall(pc: Guest, tmp_path: Path) -> None:
    """A server is stopped for longer than the timeout, then it goes on. Swap would replace its data."""
    with servers(tmp_path, DISK_MIB, only="nbd-server") as running:
        server = running["nbd-server"]
        place = f"{HOST}:{server.port}/area"
        pc.run(f"nbd-attach --disk --device /dev/nbd5 --timeout 2 {place}")
        pc.run("echo before | dd of=/dev/nbd5 bs=4096 conv=sync,fsync")
        server.signal(signal.SIGSTOP)
        pc.run("{ (echo after | dd of=/dev/nbd5 bs=4096 seek=1 conv=sync,fsync; echo rc''=$?) & }")
        await_state(pc, "/dev/nbd5", "lost")
        server.signal(signal.SIGCONT)
        pc.wait(r"^rc=0$", 120)
        await_state(pc, "/dev/nbd5", "attached")
        pc.run("nbd-attach --detach /dev/nbd5")
        assert server.file.read_bytes()[:7] == b"before\n"
        assert server.file.read_bytes()[4096:4102] == b"after\n"
        code, output = pc.begin(f"nbd-attach --swap {place}")(60)
        assert code == 4
        assert "the export begins with data that is no swap; --force replaces it" in output
        pc.run(f"nbd-attach --read-only --device /dev/nbd5 {place}")
        assert pc.begin("echo x > /dev/nbd5")(60)[0] != 0
        pc.run("nbd-attach --detach /dev/nbd5")


def test_pages_of_each_connection_are_refused(pc: Guest, tmp_path: Path) -> None:
    options = f"temporary = true\nfilesize = {DISK_MIB << 20}"
    with servers(tmp_path, DISK_MIB, only="nbd-server", options=options) as running:
        place = f"{HOST}:{running['nbd-server'].port}/area"
        code, output = pc.begin(f"nbd-attach --swap {place}")(60)
        assert code == 4
        assert "each connection has pages of its own" in output
        assert status(pc) == {}
