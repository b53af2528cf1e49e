"""A Ceph cluster for tests: one monitor, one manager, three OSDs in memory, all on loopback.

It starts in 6 s on an idle machine and takes 460 MB when empty. All its files are in one folder, and its
processes end with ``stop`` or with this process. ``python -m tests.support.ceph DIR`` runs one until
it is interrupted.

Needs Debian's ceph-mon, ceph-mgr, ceph-osd and ceph-common (52 MB to fetch, 216 MB on disk).
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests import ROOT
from tests.support.ports import free_port

PROGRAMS = ("ceph-authtool", "ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "rbd", "monmaptool")
POOL = "swap"
FOLDER = ROOT / "tests/ceph"  # of the tests that need a cluster
START_SECONDS = 120.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

# Grace and intervals are a quarter of Ceph's: an OSD that was killed is noticed within 6 s.
_CONF = """\
[global]
fsid = {fsid}
mon host = {address}:{port}
public addr = {address}
cluster addr = {address}
ms bind ipv6 = false
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
mon data = {folder}/mon
mgr data = {folder}/mgr
osd data = {folder}/osd.$id
mon allow pool delete = true
mon osd min down reporters = 1
mon osd adjust heartbeat grace = false
osd heartbeat grace = 6
osd heartbeat interval = 1
osd objectstore = memstore
memstore device bytes = 536870912
osd memory target = 939524096
osd pool default size = 2
osd pool default min size = 1
osd crush chooseleaf type = 0
osd scrub load threshold = 0
mgr initial modules =
mon warn on insecure global id reclaim allowed = false

[mon.a]
mon addr = {address}:{port}

[client]
keyring = {folder}/$name.keyring
log file =
admin socket =
"""


def is_installed() -> bool:
    """Return whether this machine has Ceph's programs."""
    return all(shutil.which(program) for program in PROGRAMS)


class Cluster:
    """A running cluster with the pool POOL, which has two copies of each object."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        """Start it in an empty ``folder``, at an address of this machine.

        Raises TimeoutError; all processes are ended then.
        """
        self._address = address
        self.folder = folder
        self.conf = folder / "ceph.conf"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        fsid, port = str(uuid.uuid4()), free_port()
        self.conf.write_text(_CONF.format(fsid=fsid, address=address, port=port, folder=folder))
        try:
            self._make(fsid, port)
        except BaseException:
            self.stop()
            raise

    def _make(self, fsid: str, port: int) -> None:
        monmap, place = str(self.folder / "monmap"), f"{self._address}:{port}"
        _run(["monmaptool", "--create", "--add", "a", place, "--fsid", fsid, monmap])
        keys, admin = str(self.folder / "keys"), str(self.folder / "client.admin.keyring")
        all_of = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
        new = ["ceph-authtool", "--create-keyring", "--gen-key"]
        _run([*new, admin, "-n", "client.admin", *all_of])
        _run([*new, keys, "-n", "mon.", "--cap", "mon", "allow *"])
        _run(["ceph-authtool", keys, "--import-keyring", admin])
        mkfs = ["--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keys]
        _run(["ceph-mon", *self._common, *mkfs])
        self.start("mon.a")
        (self.folder / "mgr").mkdir()
        self._allow("mgr.x", "mgr/keyring", "mon", "allow profile mgr", "osd", "allow *")
        self.start("mgr.x")
        for number in range(3):
            made = str(uuid.uuid4())
            self.ceph("osd", "new", made)
            (self.folder / f"osd.{number}").mkdir()
            osd = ("mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *")
            self._allow(f"osd.{number}", f"osd.{number}/keyring", *osd)
            _run(["ceph-osd", *self._common, "-i", str(number), "--mkfs", "--osd-uuid", made])
            self.start(f"osd.{number}")
        self.wait_for_osds(3)
        self.ceph("osd", "pool", "create", POOL, "16", "16")
        self.ceph("osd", "pool", "application", "enable", POOL, "rbd")
        self.rbd("create", "--size", "1", f"{POOL}/first")  # waits for the pool's OSDs
        self.rbd("remove", "--no-progress", f"{POOL}/first")
        # As docs/howto/page-stores.md says.
        rights = ("mon", "profile rbd", "osd", f"profile rbd pool={POOL}")
        self._allow("client.netboot", "client.netboot.keyring", *rights)

    def _allow(self, name: str, keyring: str, *rights: str) -> None:
        """Make a user with a key of its own."""
        self.ceph("auth", "get-or-create", name, *rights, "-o", str(self.folder / keyring))

    @property
    def _common(self) -> Sequence[str]:
        return ("-c", str(self.conf))

    def ceph(self, *words: str) -> str:
        """Run ``ceph`` with these words; return its output. Raises CalledProcessError."""
        return _run(["ceph", *self._common, "--connect-timeout", "60", *words])

    def rbd(self, *words: str) -> str:
        """Run ``rbd`` with these words; return its output. Raises CalledProcessError."""
        return _run(["rbd", *self._common, *words])

    def start(self, name: str) -> None:
        """Start ``mon.a``, ``mgr.x`` or ``osd.N``. An OSD that was killed comes back empty."""
        kind, _, number = name.partition(".")
        with (self.folder / f"{name}.out").open("ab") as output:
            self._running[name] = subprocess.Popen(
                [f"ceph-{kind}", *self._common, "-i", number, "-f"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call
            )

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process; wait for its end if it is SIGKILL."""
        process = self._running[name]
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait()

    def memory_bytes(self) -> int:
        """Return the resident memory of all processes together."""
        found = 0
        for process in self._running.values():
            status = Path(f"/proc/{process.pid}/statm").read_text()
            found += int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return found

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the OSDs have used."""
        ticks = 0
        for name, process in self._running.items():
            if name.startswith("osd"):
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def wait_for_osds(self, count: int) -> None:
        """Wait until ``count`` OSDs are up. Raises TimeoutError."""
        deadline = time.monotonic() + START_SECONDS
        while f"{count} up" not in self.ceph("osd", "stat"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster has no {count} OSDs: see {self.folder}/*.out")
            time.sleep(0.5)

    def stop(self) -> None:
        """End all processes. Nothing is kept."""
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()
        self._running.clear()


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=90
    )
    return done.stdout


def main() -> None:
    """Run a cluster in the folder of the command line until SIGINT."""
    cluster = Cluster(Path(sys.argv[1]).absolute())
    sys.stdout.write(f"CEPH_CONF={cluster.conf} rbd --pool {POOL} list\n")
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
