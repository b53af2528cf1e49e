"""nbd-attach up to the kernel's part: its command line, strangers' servers, its package.

What it does with the kernel's driver is seen in tests/vm/test_nbd_attach.py.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netboot import __version__
from tests import ROOT
from tests.initramfs.test_includes import graph, includes
from tests.support.ports import free_port
from tools import nbd_attach

OK, FAILED, USAGE, CANNOT_CONNECT, REFUSED = 0, 1, 2, 3, 4
WARNINGS = ("-std=gnu11", "-g", "-Wall", "-Wextra", "-Wmissing-prototypes", "-Werror")
SANITIZERS = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SIZE = 16 << 20
MAX_BYTES = 96 << 10


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nbd_attach.program(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program with gcc's checks of addresses and undefined behaviour."""
    target = tmp_path_factory.mktemp("checked") / "nbd-attach"
    command = ["gcc", *WARNINGS, *SANITIZERS, *nbd_attach.words(), "-o", str(target)]
    # The sanitizers need the C library's printf.
    sources = [path for path in nbd_attach.sources() if path.stem != "text"]
    subprocess.run([*command, *map(str, sources)], check=True)
    return target


def run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_same_sources_give_the_same_bytes(program: Path, tmp_path: Path) -> None:
    assert nbd_attach.program(tmp_path).read_bytes() == program.read_bytes()
    assert program.stat().st_size <= MAX_BYTES


def test_its_modules_are_the_agents_but_for_those_that_it_replaces() -> None:
    own = {path.stem for path in nbd_attach.OWN.glob("*.c")}
    agents = {path.stem for path in nbd_attach.AGENT.glob("*.c")}
    assert set(nbd_attach.SHARED) <= agents - own
    # Each header that the shared modules include has a module here: the agent's or its own.
    reached = graph(nbd_attach.AGENT)
    for name in nbd_attach.SHARED:
        assert reached[name] <= {*nbd_attach.SHARED, "same", "status", "need"}, name
    assert {"same.h", "status.h", "need.h"} <= {
        header for name in own for header in includes(nbd_attach.OWN / f"{name}.c")
    }


@pytest.mark.system
def test_the_analyzer_finds_nothing(tmp_path: Path) -> None:
    own = [str(path) for path in sorted(nbd_attach.OWN.glob("*.c"))]
    command = ["gcc", *WARNINGS, "-O2", "-fanalyzer", *nbd_attach.words(), "-c", *own]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "no server: expected HOST[:PORT]/EXPORT; see nbd-attach --help"),
        (("127.0.0.1/a",), "expected one of --swap, --disk and --read-only: --swap replaces"),
        (("--swap", "--disk", "127.0.0.1/a"), "expected one of --swap, --disk and --read-only"),
        (("--swap", "127.0.0.1"), "'127.0.0.1': expected HOST[:PORT][,HOST[:PORT]...]/EXPORT"),
        (("--swap", "127.0.0.1:0/a"), "port '0' of 127.0.0.1: expected a number, 1 to 65535"),
        (("--swap", ":10809/a"), "':10809' is no server: expected HOST or HOST:PORT"),
        (("--swap", "::1/a"), "'::1' is no server"),
        (("--swap", "127.0.0.1,/a"), "'' is no server"),
        (("--swap", "127.0.0.1/" + "a" * 257), "the export's name is longer than 256 bytes"),
        (("--swap", "a" * 256 + "/a"), "the name of a server is longer than 255 bytes"),
        (("--swap", ",".join(["127.0.0.1"] * 9) + "/a"), "more than 8 servers: name fewer"),
        (("--disk", "127.0.0.1,127.0.0.2/a"), "--disk takes one server"),
        (("--read-only", "127.0.0.1:1,127.0.0.2:2/a"), "--read-only takes one or two servers"),
        (("--swap", "--timeout", "0", "127.0.0.1/a"), "--timeout 0: expected a number, 1 to 3600"),
        (("--swap", "--timeout"), "option --timeout: its value is missing"),
        (("--swap=yes", "127.0.0.1/a"), "option --swap takes no value"),
        (("--swap", "--connections=17", "127.0.0.1/a"), "--connections 17: expected a number"),
        (("--swap", "--device", "/dev/sda", "127.0.0.1/a"), "'/dev/sda' is no NBD device"),
        (("--swap", "127.0.0.1/a", "b"), "'b' after '127.0.0.1/a': expected one server"),
        (("--swop", "127.0.0.1/a"), "unknown option '--swop': see nbd-attach --help"),
        (("--disk", "--force", "127.0.0.1/a"), "--force: only --swap replaces"),
        (("--check", "--json", "127.0.0.1/a"), "--json: only --status has it"),
        (("--check", "--status"), "--check, --status and --detach exclude each other"),
        (("--detach",), "--detach: expected the device"),
        (("--detach", "/dev/nbd300"), "'/dev/nbd300' is no NBD device"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    program: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = run(program, *words)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.startswith(complaint), done.stderr
    assert done.stderr.count("\n") == 1


def test_help_has_examples_and_the_version_is_netboots(program: Path) -> None:
    shown = run(program, "--help")
    assert (shown.returncode, shown.stderr) == (OK, "")
    assert "Examples:\n  nbd-attach --check" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100
    assert run(program, "--version").stdout == f"nbd-attach {__version__}\n"
    assert f"nbd-attach {__version__}" in (nbd_attach.OWN / "nbd-attach.8").read_text()


def test_the_manual_has_every_option(program: Path) -> None:
    manual = (nbd_attach.OWN / "nbd-attach.8").read_text().replace("\\-", "-")
    options = set(re.findall(r"--[a-z-]+", run(program, "--help").stdout))
    assert {option for option in options if option not in manual} == set()


def test_the_manual_is_without_mistakes() -> None:
    if shutil.which("groff") is None:
        pytest.skip("no groff")
    command = ["groff", "-man", "-ww", "-z", "-Tutf8", str(nbd_attach.OWN / "nbd-attach.8")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_answers(program: Path) -> None:
    done = run(program, "--check", f"127.0.0.1:{free_port()}/a")
    assert done.returncode == CANNOT_CONNECT
    assert "Connection refused\nhint: is the server running" in done.stderr


def test_nothing_is_attached_here(program: Path) -> None:
    if Path("/run/nbd-attach").exists():
        pytest.skip("something is attached here")
    shown, listed = run(program, "--status"), run(program, "--status", "--json")
    assert (shown.returncode, shown.stdout) == (OK, "nothing is attached\n")
    assert (listed.returncode, json.loads(listed.stdout)) == (OK, [])
    done = run(program, "--detach", "/dev/nbd7")
    assert done.returncode == FAILED
    assert done.stderr == "/dev/nbd7 is not held by nbd-attach: see nbd-attach --status\n"


# Each serves one file, to several clients at once. nbd-server alone goes into the background.
SERVERS = {
    "nbdkit": "nbdkit -f -p {port} -i 127.0.0.1 file {file}",
    "nbd-server": "nbd-server -C {config} -p {pid}",
    "qemu-nbd": "qemu-nbd -t -b 127.0.0.1 -p {port} -x area -e 4 -f raw --discard=unmap {file}",
    "qemu-storage-daemon": (
        "qemu-storage-daemon --blockdev driver=file,node-name=area,filename={file},discard=unmap "
        "--nbd-server addr.type=inet,addr.host=127.0.0.1,addr.port={port},max-connections=4 "
        "--export type=nbd,id=area,node-name=area,name=area,writable=on"
    ),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Start a stranger's server; return its name and port."""
    name, port = request.param, str(free_port())
    if shutil.which(name) is None:
        pytest.skip(f"no {name}")
    file, config, pid = tmp_path / "file", tmp_path / "config", tmp_path / "pid"
    file.touch()
    os.truncate(file, SIZE)
    lines = ["[generic]", f"port = {port}", "listenaddr = 127.0.0.1", "allowlist = true"]
    lines += ["[area]", f"exportname = {file}", "trim = true", "flush = true", ""]
    config.write_text("\n".join(lines))
    command = SERVERS[name].format(port=port, file=file, config=config, pid=pid).split()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 5):
            break
        time.sleep(0.05)
    yield name, port
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGTERM)
    process.terminate()
    process.wait()


@pytest.mark.system
def test_every_servers_export_can_be_attached(
    program: Path, checked: Path, server: tuple[str, str]
) -> None:
    name, port = server
    for each in (program, checked):
        done = run(each, "--check", f"nbd://127.0.0.1:{port}/area")
        assert (done.returncode, done.stderr) == (OK, "")
        assert f"size={SIZE} flags=0x" in done.stdout
        assert "read_only=no connections=many generation=none" in done.stdout
    if name != "nbdkit":  # which serves the same file by any name
        done = run(program, "--check", f"127.0.0.1:{port}/other")
        assert done.returncode == REFUSED
        assert "hint: ask the server for its exports" in done.stderr


@pytest.fixture(scope="module")
def deb(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nbd_attach.package(program, tmp_path_factory.mktemp("package"))


@pytest.mark.system
def test_the_package_has_what_its_reader_expects(deb: Path, program: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-R", deb, tmp_path], check=True)
    assert (tmp_path / "usr/sbin/nbd-attach").read_bytes() == program.read_bytes()
    assert os.access(tmp_path / "usr/sbin/nbd-attach", os.X_OK)
    assert (tmp_path / "usr/share/man/man8/nbd-attach.8.gz").is_file()
    assert (tmp_path / "DEBIAN/conffiles").read_text() == "/etc/nbd-attach.d/README\n"
    control = (tmp_path / "DEBIAN/control").read_text()
    assert f"Version: {__version__}\n" in control
    assert "@" not in control.replace("maintainers@netboot", "")
    assert nbd_attach.package(program, tmp_path / "again").read_bytes() == deb.read_bytes()
    done = subprocess.run(
        ["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=tmp_path, check=False
    )
    assert done.returncode == 0


@pytest.mark.system
def test_the_unit_is_without_mistakes(tmp_path: Path) -> None:
    unit = tmp_path / "nbd-attach@.service"
    text = (nbd_attach.OWN / unit.name).read_text()
    unit.write_text(text.replace("/usr/sbin/nbd-attach", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "nbd-attach@a.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "nbd-attach" in line] == []


def test_the_changelog_has_this_version() -> None:
    assert f"nbd-attach ({__version__}) " in nbd_attach.CHANGELOG.read_text()
    assert (ROOT / "nbd-attach/README.md").is_file()
