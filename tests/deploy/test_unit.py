"""A server under the restrictions of its unit, as far as they can be had without systemd."""

import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netboot.deploy import layout
from netboot.host import boot, processes
from netboot.host.privileges import command_as
from tests import ROOT
from tests.attack.test_local import needs_readable_checkout
from tests.support.command import SERVE
from tests.support.confined import settings
from tests.support.images import write_manifest

pytestmark = [pytest.mark.root, pytest.mark.timeout(120), needs_readable_checkout]

NOBODY = pwd.getpwnam("nobody")
MIB = 1 << 20
# What systemd does for PrivateDevices, ProtectSystem=strict, ProtectHome and ProcSubset=pid. $1 is
# the folder that may be written. The network has one card, and a PC at its other end.
MACHINE = """set -e
ip link set lo up; ip link add lan0 type veth peer name end; ip link set end up
ip address add 10.99.0.1/24 dev lan0; ip link set lan0 up
mount -t tmpfs -o mode=755 tmpfs /run; mkdir /run/netboot-dev; mount -t tmpfs -o mode=755 tmpfs /run/netboot-dev
for node in null zero full random urandom tty; do
    touch /run/netboot-dev/$node; mount --bind /dev/$node /run/netboot-dev/$node
done
mkdir /run/netboot-dev/shm; ln -s /proc/self/fd /run/netboot-dev/fd
mount --rbind /run/netboot-dev /dev
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount --bind "$1" "$1"
mount -o remount,bind,ro /
mount -t proc -o subset=pid,hidepid=invisible proc /proc
shift; exec "$@"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="netboot-test-", dir="/tmp"))
    shutil.chown(made, "nobody")
    made.chmod(0o700)
    (made / "images/amd64").mkdir(parents=True)
    write_manifest(made / "images")
    for name in ("undionly.kpxe", "amd64/vmlinuz", "amd64/initramfs.img"):
        (made / "images" / name).write_bytes(b"image")
    (made / "room.yaml").write_text(f"swap: {{capacity: 64MiB, store: 'disk:{made}/pages'}}\n")
    (made / "pages").mkdir(mode=0o700)
    (made / layout.UNIT.name).write_text(layout.unit([made / "pages"]))
    for path in made.iterdir():
        shutil.chown(path, "nobody")
    yield made
    shutil.rmtree(made)


def start(folder: Path) -> "subprocess.Popen[str]":
    unit = settings((folder / layout.UNIT.name).read_text())
    assert unit["CPUSchedulingPolicy"] == ["batch"] and unit["ProcSubset"] == ["pid"]
    (variable,) = unit["Environment"]
    assert variable == f"{boot.VARIABLE}=%b"
    files = min(int(unit["LimitNOFILE"][0]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    limits = [f"--nofile={files}", f"--data={_bytes(unit['LimitDATA'][0])}"]
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", MACHINE]
    words += ["sh", str(folder), "prlimit", *limits, "nice", "-n", unit["Nice"][0]]
    words += ["chrt", "--reset-on-fork", "--batch", "0"]
    python = [sys.executable, "-P", "-m"]
    serve = [
        *python,
        *SERVE,
        "--profile",
        str(folder / "room.yaml"),
    ]
    serve += ["--images", str(folder / "images"), "--state", str(folder / "state")]
    confined = [*python, "tests.support.confined", str(folder / layout.UNIT.name), *serve]
    words += command_as("nobody", NOBODY.pw_gid, confined)
    digits = boot.FILE.read_text().strip().replace("-", "")
    return subprocess.Popen(
        words,
        env={**os.environ, "PYTHONPATH": str(ROOT), boot.VARIABLE: digits},
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _bytes(text: str) -> int:
    assert text.endswith("G")
    return int(text[:-1]) << 30


def wait_until_it_serves(server: "subprocess.Popen[str]") -> None:
    assert server.stdout is not None and server.stderr is not None
    for text in server.stdout:
        if "ready" in json.loads(text):
            return
    pytest.fail(server.stderr.read())


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}


def nice(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def has_given_way(pid: int) -> bool:
    """Return whether a worker has the share of the CPU that it takes as it begins."""
    no_rights = int(status(pid)["CapPrm"], 16) == 0  # which it drops then
    return no_rights and (nice(pid), os.sched_getscheduler(pid)) == (0, os.SCHED_BATCH)


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def doctor(folder: Path, pid: int) -> dict[str, bool]:
    words = ["nsenter", "-t", str(pid), "--net", sys.executable, "-P", "-m", "netboot", "doctor"]
    done = subprocess.run(
        [*words, "--json", "--profile", str(folder / "room.yaml"), "--wait", "5"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {each["check"]: each["ok"] for each in json.loads(done.stdout)}


def test_the_server_works_under_the_restrictions_of_its_unit(folder: Path) -> None:
    server = start(folder)
    try:
        wait_until_it_serves(server)
        control, *others = processes.tree(server.pid)[1:]
        assert status(control)["Seccomp"] == "2" and status(control)["NoNewPrivs"] == "1"
        assert (nice(control), os.sched_getscheduler(control)) == (
            nice(0) - 10,
            os.SCHED_BATCH | os.SCHED_RESET_ON_FORK,
        )
        assert not Path(f"/proc/{control}/root/proc/sys").exists()
        assert others
        until(lambda: all(map(has_given_way, others)))
        for pid in others:
            assert int(status(pid)["CapPrm"], 16) == int(status(pid)["CapEff"], 16) == 0
        threads = [int(path.name) for path in Path(f"/proc/{control}/task").iterdir()]
        assert {nice(thread) for thread in threads if thread != control} <= {0}
        (written,) = folder.glob("pages/netboot-kept-*/state-boot")
        assert written.read_text() == boot.FILE.read_text(), "as a release without a unit writes it"
        before = doctor(folder, control)
        assert before["dhcp"] and before["pages"], before
        os.kill(control, signal.SIGHUP)
        wait_until_it_serves(server)
        assert nice(control) == nice(0) - 10
        for pid in others:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
        workers: list[int] = []

        def are_replaced() -> bool:
            workers[:] = processes.tree(server.pid)[2:]
            return len(workers) == len(others) and not set(workers) & set(others)

        until(are_replaced)
        until(lambda: all(map(has_given_way, workers)))
        assert doctor(folder, control)["pages"]
        own = max(int(status(pid)["VmData"].split()[0]) for pid in (control, *workers))
        assert own << 10 < 256 * MIB, "a quarter of LimitDATA"
        os.kill(control, signal.SIGTERM)
        warnings = server.communicate(timeout=60)[1]
    finally:
        for pid in processes.tree(server.pid)[:0:-1]:
            os.kill(pid, signal.SIGKILL)
        server.kill()
        server.communicate()
    # There is no DHCP server at the other end, which is told if all this takes 10 s.
    told = [line for line in warnings.splitlines() if "no DHCP server answers on lan0" not in line]
    (kept,) = told
    assert "of swap stay in" in kept, "an orderly stop tells where the pages are"
