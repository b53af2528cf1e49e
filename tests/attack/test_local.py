"""Attacks from inside: a local user of the server, a bug in a worker, a user of a seat."""

import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netboot.deploy import fleet, hardware, report
from netboot.deploy.roster import Host
from netboot.host import processes
from netboot.pages.stores.folder import KEPT_PREFIX
from netboot.pages.stores.memory import TMPFS
from netboot.serve.room_pages import pages_name
from tests import ROOT
from tests.support.command import SERVE, plain
from tests.support.images import write_manifest

NOBODY = pwd.getpwnam("nobody")
BIND_AND_RAW = f"{1 << 10 | 1 << 13:016x}"
NONE = f"{0:016x}"

# Namespaces for network and mounts, with one card whose cable leads nowhere. $1 is a folder: if it
# has a passwd, that is the machine's.
MACHINE = """set -e
ip link set lo up; ip link add lan0 type veth peer name end; ip link set end up
ip address add 10.99.0.1/24 dev lan0; ip link set lan0 up
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
[ ! -e "$1/passwd" ] || mount --bind "$1/passwd" /etc/passwd
[ ! -e "$1/before" ] || sh "$1/before"
shift; exec "$@"
"""


class Server:
    """A server that root starts in ``folder``, which all users can read."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = ["unshare", "--net", "--mount", "sh", "-c", MACHINE, "sh", str(folder)]
        command += [
            sys.executable,
            "-P",
            "-m",
            *SERVE,
        ]
        command += ["--profile", str(folder / "room.yaml"), "--images", str(folder / "images")]
        command += ["--state", str(folder / "state"), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def serves(self) -> bool:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return "ready" in (json.loads(line) if line else {})

    def end(self) -> str:
        """Stop the server; return its warnings."""
        self.process.terminate()
        return self.process.communicate(timeout=60)[1]

    def status(self, pid: int) -> dict[str, str]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}

    def workers(self) -> dict[str, list[int]]:
        """Return the process ids of the workers by the module that they run."""
        found: dict[str, list[int]] = {"netboot.pages.worker": [], "netboot.serve.tftp.worker": []}
        for pid in processes.tree(self.process.pid)[1:]:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            for module, pids in found.items():
                if module in words:
                    pids.append(pid)
        return found

    def pages(self) -> list[Path]:
        return list(Path(f"/proc/{self.process.pid}/root{TMPFS}").iterdir())


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="netboot-test-", dir="/tmp"))
    made.chmod(0o755)
    write_manifest(made / "images")
    (made / "room.yaml").write_text("swap: {capacity: 64MiB}\n")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def started(*options: str) -> Server:
        running.append(Server(folder, *options))
        return running[-1]

    yield started
    for server in running:
        if server.process.poll() is None:
            server.end()
        for stream in (server.process.stdout, server.process.stderr):
            assert stream is not None
            stream.close()


def add_user(folder: Path) -> None:
    """Give the machine a user ``netboot`` with the number of nobody, who can read this checkout."""
    lines = Path("/etc/passwd").read_text()
    made = f"netboot:x:{NOBODY.pw_uid}:{NOBODY.pw_gid}::/nonexistent:/usr/sbin/nologin\n"
    (folder / "passwd").write_text(made + lines)


def others_can_run_netboot() -> bool:
    words = ["setpriv", f"--reuid={NOBODY.pw_uid}", "--clear-groups", sys.executable, "-P", "-c"]
    done = subprocess.run(
        [*words, "import netboot.serve.services"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


needs_readable_checkout = pytest.mark.skipif(
    os.geteuid() != 0 or not others_can_run_netboot(), reason="other users cannot read the checkout"
)


def drop_seen(server: Server) -> dict[str, list[int]]:
    """Wait until the workers have given up their capabilities; return them."""
    deadline = time.monotonic() + 60
    while True:
        workers = server.workers()
        pids = [pid for each in workers.values() for pid in each]
        done = all(workers.values()) and all(server.status(p)["CapPrm"] == NONE for p in pids)
        if done or time.monotonic() > deadline:
            return workers
        time.sleep(0.05)


# A bug in a worker, which parses what strangers send.


@pytest.mark.root
@pytest.mark.parametrize("user", ["root", pytest.param("nobody", marks=needs_readable_checkout)])
def test_a_worker_has_no_capability_to_steal(start: Callable[..., Server], user: str) -> None:
    server = start("--user", user)
    assert server.serves()
    for module, pids in drop_seen(server).items():
        assert pids, module
        for pid in pids:
            sets = server.status(pid)
            assert {sets[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {NONE}
            assert sets["NoNewPrivs"] == "1", "a program that it runs as root gets none back"
    control = server.status(server.process.pid)
    if user == "nobody":
        assert control["CapEff"] == control["CapPrm"] == control["CapBnd"] == BIND_AND_RAW
        assert control["Uid"].split() == [str(NOBODY.pw_uid)] * 4
        assert control["Gid"].split() == [str(NOBODY.pw_gid)] * 4, "nobody's own group, nogroup"


# A bug in the control plane: it is not root's if there is a user for it.


@pytest.mark.root
@needs_readable_checkout
def test_root_becomes_the_user_netboot(start: Callable[..., Server], folder: Path) -> None:
    add_user(folder)
    server = start()
    assert server.serves()
    assert server.status(server.process.pid)["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert server.status(server.process.pid)["CapEff"] == BIND_AND_RAW
    assert (folder / "state").stat().st_uid == NOBODY.pw_uid
    assert stat.S_IMODE((folder / "state").stat().st_mode) == 0o700
    server.process.send_signal(signal.SIGHUP)
    assert server.serves(), "it replaces its program, and stays that user"
    assert server.status(server.process.pid)["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert server.end() == ""
    again = start()
    assert again.serves()
    assert again.end() == ""


@pytest.mark.root
@needs_readable_checkout
def test_an_installation_of_root_is_not_stranded(
    start: Callable[..., Server], folder: Path
) -> None:
    """A room that root served before there was a user: it is served on, and the remedy is told."""
    first = start()
    assert first.serves() and first.end() == ""
    secret = (folder / "state/secret").read_bytes()
    add_user(folder)
    second = start()
    assert second.serves()
    assert second.status(second.process.pid)["Uid"].split() == ["0"] * 4
    warning = second.end()
    assert warning.count("\n") == 1 and f"chown -R netboot: {folder / 'state'}" in warning
    assert (folder / "state/secret").read_bytes() == secret
    third = start("--user", "root")
    assert third.serves() and third.end() == "", "nobody is told twice who has decided"


@pytest.mark.root
@needs_readable_checkout
def test_what_that_user_cannot_read_is_told(start: Callable[..., Server], folder: Path) -> None:
    add_user(folder)
    (folder / "room.yaml").chmod(0o600)
    server = start()
    assert server.serves()
    warning = server.end()
    assert f"cannot read {folder / 'room.yaml'}" in warning and warning.count("\n") == 1


@pytest.mark.root
def test_a_secret_of_root_is_one_line_for_another_user(
    start: Callable[..., Server], folder: Path
) -> None:
    first = start()
    assert first.serves() and first.end() == ""
    second = start("--user", "nobody")
    said = plain(second.process.communicate(timeout=60)[1])
    assert second.process.returncode == 2
    assert f"{folder}/state/secret does not belong to nobody" in said
    assert f"chown -R nobody: {folder}/state" in said and said.count("\n") == 2


# A local user of the server.


@pytest.mark.root
def test_a_local_user_who_takes_the_folder_of_pages_blocks_nothing(
    start: Callable[..., Server], folder: Path
) -> None:
    taken = f"{KEPT_PREFIX}{pages_name(folder / 'state')}"
    take = f"setpriv --reuid={NOBODY.pw_uid} --regid={NOBODY.pw_gid} --clear-groups mkdir -m 777"
    (folder / "before").write_text(f"{take} {TMPFS / taken} {TMPFS / taken}_decoy\n")
    server = start()
    assert server.serves()
    ours = [path for path in server.pages() if path.stat().st_uid == 0]
    assert [path.name.startswith(f"{taken}_") for path in ours] == [True]
    assert stat.S_IMODE(ours[0].stat().st_mode) == 0o700
    assert all(not list(path.iterdir()) for path in server.pages() if path not in ours)
    assert f"{taken} belongs to user {NOBODY.pw_uid}" in server.end()


@pytest.mark.root
def test_a_local_user_who_fills_the_memory_for_pages_is_noticed(
    start: Callable[..., Server], folder: Path
) -> None:
    fill = "head -c 40M /dev/zero | setpriv --reuid=nobody --clear-groups tee /dev/shm/mine"
    (folder / "before").write_text(f"mount -o remount,size=64M {TMPFS}; {fill} >/dev/null\n")
    server = start()
    assert server.serves()
    warning = server.end()
    assert f"pages: {TMPFS} has room for 22 of 64 MiB that PCs may store; remove other" in warning


# As a local user: list the folders of pages, open each file below them, talk to each socket.
PRY = """
import pathlib, socket, sys
for name in sys.argv[1:]:
    for attempt in (
        lambda: open(name, "rb").read(1),
        lambda: list(pathlib.Path(name).iterdir()),
        lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(name),
        lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(name),
    ):
        try:
            print("open:", name, attempt())
        except PermissionError:
            print("denied")
"""


@pytest.mark.root
def test_a_local_user_neither_reads_pages_nor_speaks_to_workers(
    start: Callable[..., Server], folder: Path
) -> None:
    server = start()
    assert server.serves() and drop_seen(server)
    (pages,) = server.pages()
    (pages / "seat.pages").write_bytes(b"secret")
    names = [pages, *pages.iterdir()]
    assert [name for name in names if name.is_socket()], "of the workers"
    inside = [f"{TMPFS}/{name.relative_to(pages.parent)}" for name in names]
    words = ["nsenter", "-t", str(server.process.pid), "--mount", "setpriv", "--clear-groups"]
    words += [f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "/usr/bin/python3", "-c", PRY]
    done = subprocess.run([*words, *inside], capture_output=True, text=True, check=True)
    assert done.stdout == "denied\n" * 4 * len(names)
    # Sockets without a file have no owner to keep others out.
    theirs = Path(f"/proc/{server.process.pid}/net/unix").read_text()
    assert not re.search(r" @\S*$", theirs, re.MULTILINE)


# A user of a seat. tests/initramfs/test_shell.py has the words that are hidden, and the processes.

# Another proc of this machine, such as a chroot's, would let the kernel mount one more.
HIDE = f"""set -eu
mount --make-rprivate /
while read -r _ where kind _; do
    [ "$kind:$where" = proc:/proc ] || [ "$kind" != proc ] || umount -l "$where"
done </proc/self/mounts
mount -t tmpfs tmpfs /run
run=/run proc=/proc sys=/nonexistent
echo "quiet netboot.ticket=abc netboot.token=def netboot.swap=h:1/e BOOT_IMAGE=/abc" >/run/before
mount --bind /run/before /proc/cmdline
. {ROOT}/initramfs/lib.sh
mkdir /run/beacons; mount -t tmpfs tmpfs /proc/sys; mkdir /proc/sys/kernel
ticket=abc token=def
hide_arguments
exec setpriv --reuid={NOBODY.pw_uid} --regid={NOBODY.pw_gid} --clear-groups sh -c '
    cat /proc/cmdline
    umount /proc/cmdline 2>/dev/null && echo unmounted
    unshare --user --map-root-user --mount --pid --fork sh -c "
        mount -t proc proc /proc && cat /proc/cmdline; umount /proc/cmdline && echo unmounted" \
        2>/dev/null
    cat /run/netboot.conf 2>/dev/null
    exit 0'
"""


@pytest.mark.root
def test_a_user_of_a_seat_sees_no_secret_on_the_command_line() -> None:
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", HIDE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("quiet\n", "", 0)


# A compromised old PC, as fab meets it.

ANSWER = """hostname=bad\x1b[2Jname
ram_kib=60000
firmware=bios\x9b2J
card=eth0
mac=52:54:00:12:34:56
vendor=0x10ec\u202e
device=0x8168
driver=\x1b]0;owned\x07r8169
"""


def test_words_of_an_old_pc_reach_no_terminal_raw() -> None:
    found = hardware.parse(ANSWER)
    assert str(found).isprintable() and found.hostname.isprintable()
    wrong = hardware.problems(found, {"i386": {"r8169"}})
    assert wrong and all(line.isprintable() for line in wrong)
    result = "its last words: \x1b]0;owned\x07"
    shown = report.table([report.Outcome("pc\x1b[1m", "look", False, result, 0.1)])
    assert all(line.isprintable() for line in shown.splitlines())
    host = Host("pc", "10.0.0.1")
    assert fleet.complaint(host, fleet.Failed(f"{result}\n{result}")).isprintable()


def test_a_line_of_progress_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    fleet.tell(Host("pc", "10.0.0.1"), "\x1b]0;owned\x07")
    assert capsys.readouterr().err == "[pc] ?]0;owned?\n"


# Whoever attaches the root image, which every machine on the LAN can.

HASH = "$6$salt$" + 86 * "x"


def test_an_image_has_no_hash_key_or_machine_id(tmp_path: Path) -> None:
    """What a14_image.py printed from the image: /etc/shadow, of mode 0600 on the server."""
    root = tmp_path / "root"
    for name, text in {
        "etc/shadow": f"root:{HASH}:1:::\nold:!{13 * 'a'}:1\nempty::1\noff:*:1\nlocked:!*:1\n",
        "etc/shadow-": f"root:!{HASH}:1:::\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
        "etc/ssh/ssh_host_rsa_key": "PRIVATE",
        "etc/ssh/ssh_host_rsa_key.pub": "public",
        "etc/machine-id": 32 * "a",
        "var/lib/systemd/credential.secret": "secret",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "var/lib/dbus").mkdir()
    (root / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    (root / "etc/shadow").chmod(0o640)
    done = subprocess.run(
        [ROOT / "tools/strip-secrets", root], capture_output=True, text=True, check=True
    )
    assert (root / "etc/shadow").read_text() == (
        "root:*:1:::\nold:*:1\nempty::1\noff:*:1\nlocked:!*:1\n"
    )
    assert stat.S_IMODE((root / "etc/shadow").stat().st_mode) == 0o640
    assert (root / "etc/shadow-").read_text() == "root:*:1:::\n"
    assert (root / "etc/passwd").read_text() == "root:x:0:0:root:/root:/bin/bash\n"
    assert (root / "etc/machine-id").read_text() == ""
    assert (root / "var/lib/dbus/machine-id").is_symlink()
    assert not list(root.glob("etc/ssh/*")) and not list(root.glob("var/lib/systemd/*"))
    assert "ssh-keygen" in (root / "etc/systemd/system/ssh.service.d/netboot.conf").read_text()
    for item in ("hash of root old (/etc/shadow)", "ssh_host_rsa_key", "machine id", "credential"):
        assert item in done.stderr
    again = subprocess.run(
        [ROOT / "tools/strip-secrets", root], capture_output=True, text=True, check=True
    )
    assert again.stderr == ""
