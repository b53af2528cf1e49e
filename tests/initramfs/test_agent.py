"""The swap agent (initramfs/agent) up to the kernel's part, against scripted servers on loopback.

What the kernel does with the sockets is seen in tests/vm: there is no NBD driver here.
"""

import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from netboot.images import compiler
from netboot.pages.nbd.export import Refused
from netboot.serve.leases import Granted, serialize
from tests import ROOT

SOURCES = sorted((ROOT / "initramfs/agent").glob("*.c"))
MAX_BYTES = 64 * 1024
WARNINGS = ("-std=gnu11", "-g", "-Wall", "-Wextra", "-Wmissing-prototypes", "-Werror")
SANITIZERS = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SIZE = 512 << 20

# proto.md
GREETING = b"NBDMAGIC" + b"IHAVEOPT" + struct.pack(">H", 3)  # FIXED_NEWSTYLE | NO_ZEROES
INFO, GO = 6, 7
REP_ACK, REP_INFO = 1, 3
ERR_UNSUP, ERR_POLICY, ERR_UNKNOWN, ERR_SHUTDOWN = (
    1 << 31 | 1,
    1 << 31 | 2,
    1 << 31 | 6,
    1 << 31 | 7,
)
HAS_FLAGS, READ_ONLY, TRIM, MULTI_CONN = 1, 2, 1 << 5, 1 << 8

OK, USAGE, CANNOT_CONNECT, REFUSED, KERNEL_REFUSED, BAD_PROTOCOL = 0, 2, 3, 4, 5, 6


def reply(kind: int, body: bytes = b"", *, option: int = GO) -> bytes:
    return struct.pack(">QIII", 0x3E889045565A9, option, kind, len(body)) + body


def export(
    size: int = SIZE, flags: int = HAS_FLAGS | TRIM | MULTI_CONN, *, option: int = GO
) -> bytes:
    return reply(REP_INFO, struct.pack(">HQH", 0, size, flags), option=option)


def blocks(minimum: int) -> bytes:
    return reply(REP_INFO, struct.pack(">HIII", 3, minimum, 4096, 32 << 20))


def build(folder: Path, *command: str) -> Path:
    subprocess.run([*command, "-o", str(folder / "agent"), *SOURCES], check=True)
    return folder / "agent"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the agent as the initramfs has it."""
    folder = tmp_path_factory.mktemp("agent")
    return build(folder, *compiler.native().command, *compiler.FLAGS, "-Werror")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the agent with gcc's checks of addresses and undefined behaviour; each is fatal."""
    return build(tmp_path_factory.mktemp("sanitized"), "gcc", *WARNINGS, *SANITIZERS)


@pytest.fixture(
    scope="module", params=["shipped", pytest.param("sanitized", marks=pytest.mark.system)]
)
def agent(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.mark.system
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_the_analyzer_finds_nothing(tmp_path: Path, level: str) -> None:
    command = ["gcc", *WARNINGS, level, "-fanalyzer", "-c", *map(str, SOURCES)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_has_no_function_that_allocates(tmp_path: Path) -> None:
    flags = [flag for flag in compiler.FLAGS if flag != "-s"]  # which would leave no names
    program = build(tmp_path, *compiler.native().command, *flags)
    done = subprocess.run(["nm", program], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in done.stdout.splitlines()}
    assert "main" in names
    assert not names & {"malloc", "calloc", "realloc", "free"}


PRINTS = r"""
#include <stdio.h>
#include <string.h>
int main(void)
{
    char text[128], large[1500];
    int length = snprintf(text, sizeof text, "%s|%.*s|%d|%u|%x|%02d|%zu|%lu|%llx", "abc", 2, "xyz", -5,
                          7u, 0xbeefu, 3, (size_t)9, 123ul, 0x123456789abcdefull);

    dprintf(1, "%d %s\n", length, text);
    dprintf(1, "%llu %lld %d %s%s\n", -1ull, -9223372036854775807ll - 1, -2147483647 - 1, "", "x");
    dprintf(1, "%.2f %.2f %.1f %.1f\n", 0.0, 1234567.456, 9.96, 0.25001);
    length = snprintf(text, 8, "%s", "123456789012");
    memset(large, 'q', sizeof large - 1);
    large[sizeof large - 1] = 0;
    dprintf(1, "%d %s %d\n", length, text, dprintf(1, "%s\n", large));
    return 0;
}
"""


def test_text_is_as_the_c_library_prints_it(tmp_path: Path) -> None:
    (source := tmp_path / "prints.c").write_text(PRINTS)
    printed = []
    for name, files in (("theirs", [source]), ("ours", [source, SOURCES[0].with_name("text.c")])):
        command = ["musl-gcc", "-static", "-w", "-o", str(tmp_path / name)]
        subprocess.run([*command, *files], check=True)
        printed.append(subprocess.run([tmp_path / name], capture_output=True, check=True).stdout)
    assert printed[0] == printed[1]


class Server:
    """A server that plays ``script`` to each client: bytes are sent, a number is read."""

    def __init__(self, *script: bytes | int, address: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script
        self.heard: list[bytes] = []  # all that each connection sent
        self._listener = socket.create_server((address, port))
        self.port = self._listener.getsockname()[1]
        self._talks: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._talks.append(threading.Thread(target=self._talk, args=(peer,)))
            self._talks[-1].start()

    def _talk(self, peer: socket.socket) -> None:
        heard = b""
        with peer, suppress(OSError):  # the agent may leave with our last bytes unread
            for step in self.script:
                if isinstance(step, bytes):
                    peer.sendall(step)
                else:
                    heard += peer.recv(step, socket.MSG_WAITALL)
            peer.shutdown(socket.SHUT_WR)
            while more := peer.recv(4096):
                heard += more
        self.heard.append(heard)

    def stop(self) -> None:
        """Wait until all bytes of the agent have arrived."""
        with suppress(OSError):  # stopped before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for talk in self._talks:
            talk.join()
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*script: bytes | int, **place: Any) -> Server:
        servers.append(Server(*script, **place))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def run(
    agent: Path,
    *line: str,
    token: str = "",
    beacon: str | None = None,
    lease: str | None = None,
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, NETBOOT_TOKEN=token)
    if beacon is not None:
        environment["NETBOOT_BEACON"] = beacon
    if lease is not None:
        environment["NETBOOT_LEASE"] = lease
    return subprocess.run(
        [agent, *line],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


def go(name: bytes, *, option: int = GO) -> bytes:
    """Return NBD_OPT_GO for ``name``, with NBD_INFO_BLOCK_SIZE and NBD_INFO_DESCRIPTION."""
    body = struct.pack(">I", len(name)) + name + struct.pack(">HHH", 2, 3, 2)
    return b"IHAVEOPT" + struct.pack(">II", option, len(body)) + body


FLAGS_AND_GO = 4 + len(go(b"seat-1"))


def asked(token: str = "cafe") -> int:
    """Return the length of an option for the export seat-1 with ``token`` and a set's number."""
    return len(go(f"seat-1@{token}.{time.monotonic_ns() // 1000000:x}".encode()))


# What a server without keys says to the question for one.
NO_KEY = export(option=INFO) + reply(REP_ACK, option=INFO)


def words(verb: str, port: str | int = 10809, **changes: str | int | None) -> list[str]:
    """Return the command line of ``verb``. Each of ``changes`` replaces a key; None leaves it out."""
    keys: dict[str, str | int | None] = {"host": "127.0.0.1", "port": port, "export": "seat-1"}
    if verb != "handshake":
        keys |= {"connections": 1, "timeout": 5, "patience": 600}
    if verb == "standby":
        keys["area"] = 2
    keys |= changes
    return [verb, *(f"{key}={value}" for key, value in keys.items() if value is not None)]


def test_fits(shipped: Path) -> None:
    assert shipped.stat().st_size < MAX_BYTES


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ([], "usage: agent attach"),
        (["help"], "usage: agent attach"),
        (["status", "now"], "usage: agent attach"),
        (["lease"], "usage: agent attach"),
        (["address", "eth0"], "usage: agent attach"),
        (["address", "eth0", "pc-1"], "'pc-1': expected an IPv4 address"),
        (
            ["address", "a" * 20, "10.0.0.5"],
            f"network card '{'a' * 20}': expected at most 15 letters",
        ),
        (["attach"], "missing key 'host'; needed: host port"),
        (words("attach", timeout=None), "missing key 'timeout'; needed: host port"),
        (words("standby", area=None), "missing key 'area'; needed: area host"),
        (words("handshake", export=None), "missing key 'export'; needed: host port export\n"),
        (words("attach", speed=9), "unknown key 'speed'; keys: host port"),
        (words("attach", hos="127.0.0.1"), "unknown key 'hos'; keys: host port"),
        (words("standby", use="root"), "unknown key 'use'; keys: area host"),
        (words("attach", layout="spread"), "layout=spread: expected mirror or any"),
        (
            words("attach", layout="any", host="127.0.0.1,127.0.0.2,127.0.0.3"),
            "host=127.0.0.2,127.0.0.3: expected an IPv4 address",
        ),
        (words("standby", wait="yes"), "unknown key 'wait'; keys: area host"),
        (words("handshake", timeout=5), "unknown key 'timeout'; keys: host port export\n"),
        ([*words("attach"), "encrypt"], "'encrypt': expected key=value; keys: host port"),
        ([*words("attach"), "host=127.0.0.2"], "key 'host' is given twice"),
        (words("attach", connections=0), "connections=0: expected a number, 1 to 16"),
        (words("attach", connections=17), "connections=17: expected a number, 1 to 16"),
        (words("attach", timeout=0), "timeout=0: expected a number, 1 to 3600"),
        (words("attach", patience="soon"), "patience=soon: expected a number, 1 to 1000000"),
        (words("attach", patience=""), "patience=: expected a number, 1 to 1000000"),
        (words("attach", patience="9" * 23), "patience=" + "9" * 23 + ": expected a number"),
        (words("attach", encrypt="yes"), "encrypt=yes: expected no or aes or adiantum"),
        (words("attach", discard=""), "discard=: expected yes or no"),
        (words("attach", use="disk"), "use=disk: expected swap or root or keep"),
        (
            words("attach", use="root", discard="no"),
            "use=root and use=keep cannot be combined with encrypt=",
        ),
        (words("attach", use="keep", encrypt="aes"), "use=root and use=keep cannot be combined"),
        (words("attach", verify="2:" + "a" * 64), "verify= needs use=root"),
        (words("attach", use="keep", verify="2:" + "a" * 64), "verify= needs use=root"),
        (
            words("attach", use="root", verify="2"),
            "verify=: expected BLOCKS:HASH, the hash with 64",
        ),
        (words("attach", use="root", verify="0:" + "a" * 64), "verify=: expected BLOCKS:HASH"),
        (words("attach", use="root", verify="2:" + "a" * 63), "verify=: expected BLOCKS:HASH"),
        (words("attach", use="root", verify="2:" + "g" * 64), "verify=: expected BLOCKS:HASH"),
        (words("attach", host="127.0.0.1,"), "host=: expected an IPv4 address"),
        (words("attach", host="127.0.0.1,127.0.0.2,127.0.0"), "host=127.0.0: exp"),
        (words("attach", host="127.0.0.1,127.0.0.2,,127.0.0.3"), "host=: exp"),
        (words("attach", host="127.0.0.1,127.0.0.2,x", use="root"), "host=127.0.0.2,x: exp"),
        (words("attach", host="127.0.0.1,127.0.0.2", use="keep"), "host=127.0.0.1,127.0.0.2: exp"),
        (words("standby", area=1), "area=1: expected a number, 2 to 4"),
        (words("standby", area=5), "area=5: expected a number, 2 to 4"),
        (words("standby"), "NETBOOT_LEASE is not set: standby asks there for a lease"),
        (["lease", "http://localhost:8080/lease"], "URL: expected an IPv4 address"),
        # Names need DNS, and DNS needs memory.
        (words("handshake", host="localhost"), "host=localhost: expected an IPv4 address"),
        (words("handshake", 0), "port=0: expected a number, 1 to 65535"),
        (words("handshake", 65536), "port=65536: expected a number, 1 to 65535"),
        (words("handshake", export="s" * 257), "export=: too long; at most 256 bytes"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_complaint(
    agent: Path, line: list[str], complaint: str
) -> None:
    done = run(agent, *line)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.startswith(complaint)
    assert complaint.startswith("usage") or done.stderr.count("\n") == 1


def describe(text: bytes) -> bytes:
    return reply(REP_INFO, struct.pack(">H", 2) + text)


def test_handshake_bytes(agent: Path, serve: Callable[..., Server]) -> None:
    name, generation = b"seat-1@cafe.0", b"0123456789abcdef" * 2
    description = describe(b"swap of seat 1, generation " + generation)
    script = (blocks(1), export(), description, reply(REP_ACK))
    server = serve(GREETING, 4 + len(go(name)), *script, 28)
    done = run(agent, *words("handshake", server.port), token="cafe")
    assert (done.returncode, done.stderr) == (OK, "")
    assert done.stdout == f"size={SIZE} flags=0x121 generation={generation.decode()}\n"
    server.stop()
    flags = struct.pack(">I", 3)
    disconnect = struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0)
    assert server.heard == [flags + go(name) + disconnect]


def test_only_flags_that_the_server_offers_are_sent_back(
    agent: Path, serve: Callable[..., Server]
) -> None:
    greeting = b"NBDMAGIC" + b"IHAVEOPT" + struct.pack(">H", 1)
    server = serve(greeting, FLAGS_AND_GO, export(), reply(REP_ACK), 28)
    assert run(agent, *words("handshake", server.port)).returncode == OK
    server.stop()
    assert server.heard[0][:4] == struct.pack(">I", 1)


@pytest.mark.parametrize(
    "text", [b"", b"swap of seat 1", b"generation ", b"generation cafe", b"generation " + b"a" * 33]
)
def test_a_description_without_a_generation_is_passed_over(
    agent: Path, serve: Callable[..., Server], text: bytes
) -> None:
    other = reply(REP_INFO, struct.pack(">H", 99) + b"not asked for")
    server = serve(GREETING, FLAGS_AND_GO, describe(text), other, export(), reply(REP_ACK), 28)
    done = run(agent, *words("handshake", server.port))
    assert done.returncode == OK
    assert done.stdout.endswith("generation=\n")


def test_nobody_there(agent: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = run(agent, *words("handshake", port))
    assert done.returncode == CANNOT_CONNECT
    assert done.stderr == f"127.0.0.1 port {port}: Connection refused\n"


@pytest.mark.parametrize(
    "script",
    [
        (),
        (GREETING[:10],),
        (GREETING, FLAGS_AND_GO),
        (GREETING, FLAGS_AND_GO, export()[:25]),
        (GREETING, FLAGS_AND_GO, export()),
        (GREETING, FLAGS_AND_GO, reply(ERR_SHUTDOWN, b"bye")),
    ],
)
def test_a_server_that_goes_away_is_worth_another_try(
    agent: Path, serve: Callable[..., Server], script: tuple[bytes | int, ...]
) -> None:
    done = run(agent, *words("handshake", serve(*script).port))
    assert done.returncode == CANNOT_CONNECT
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["handshake", "attach"])
def test_refused_with_the_servers_words(
    agent: Path, serve: Callable[..., Server], verb: str
) -> None:
    text = b"wrong token for export seat-1"
    option = INFO if verb == "attach" else GO
    length = asked("beef") if verb == "attach" else len(go(b"seat-1@beef.0"))
    server = serve(GREETING, 4 + length, reply(ERR_POLICY, text, option=option))
    done = run(agent, *words(verb, server.port), token="beef")
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr == "wrong token for export seat-1\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"", "refused without a reason (NBD error 6)\n"),
        (b"no\x1b[2J\nsuch", "no?[2J?such\n"),
        (b"\xff" * 4096, "?" * 300 + "\n"),
        (b"no export seat-1@beef, beef", "no export seat-1@****, ****\n"),  # as qemu-nbd does
        (b"x" * 298 + b"beef", "x" * 298 + "**\n"),
    ],
)
def test_the_servers_words_are_made_fit_for_a_console(
    agent: Path, serve: Callable[..., Server], text: bytes, shown: str
) -> None:
    server = serve(GREETING, FLAGS_AND_GO + 7, reply(ERR_UNKNOWN, text))
    done = run(agent, *words("handshake", server.port), token="beef")
    assert (done.returncode, done.stderr) == (REFUSED, shown)


@pytest.mark.parametrize(
    "script",
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",),
        (b"NBDMAGIC" + bytes.fromhex("00420281861253") + bytes(140),),  # oldstyle
        (b"NBDMAGIC" + b"IHAVEOPT" + bytes(2),),  # newstyle, not fixed
        (GREETING, FLAGS_AND_GO, b"\x00" * 20),
        (GREETING, FLAGS_AND_GO, reply(REP_ACK, option=6)),
        (GREETING, FLAGS_AND_GO, reply(REP_ACK)),  # before any NBD_INFO_EXPORT
        (GREETING, FLAGS_AND_GO, reply(2)),
        (GREETING, FLAGS_AND_GO, reply(REP_INFO, b"")),
        (GREETING, FLAGS_AND_GO, reply(REP_INFO, b"\x00\x00\x00")),
        (GREETING, FLAGS_AND_GO, struct.pack(">QIII", 0x3E889045565A9, GO, 1, 0xFFFFFFFF)),
        (GREETING, FLAGS_AND_GO, export(flags=0), reply(REP_ACK)),
        (GREETING, FLAGS_AND_GO, export(), blocks(8192)),
        (GREETING, FLAGS_AND_GO, reply(ERR_UNSUP)),
    ],
)
def test_what_is_not_nbd(
    agent: Path, serve: Callable[..., Server], script: tuple[bytes | int, ...]
) -> None:
    done = run(agent, *words("handshake", serve(*script).port))
    assert (done.returncode, done.stdout) == (BAD_PROTOCOL, "")
    assert done.stderr.count("\n") == 1


def test_a_read_only_export_is_no_swap(agent: Path, serve: Callable[..., Server]) -> None:
    answer = export(flags=HAS_FLAGS | READ_ONLY)
    server = serve(GREETING, FLAGS_AND_GO, answer, reply(REP_ACK), 28)
    done = run(agent, *words("attach", server.port))
    assert done.returncode == BAD_PROTOCOL
    assert "read-only" in done.stderr


def test_a_root_may_be_read_only(agent: Path, serve: Callable[..., Server]) -> None:
    answer = export(flags=HAS_FLAGS | READ_ONLY)
    server = serve(GREETING, FLAGS_AND_GO, answer, reply(REP_ACK), 28)
    done = run(agent, *words("attach", server.port, use="root"))
    assert done.returncode == KERNEL_REFUSED, done.stderr  # there is no NBD driver here


def test_one_connection_if_the_server_allows_no_more(
    agent: Path, serve: Callable[..., Server]
) -> None:
    answer = export(flags=HAS_FLAGS | READ_ONLY)  # read-only ends the run before the kernel's part
    server = serve(GREETING, FLAGS_AND_GO, answer, reply(REP_ACK), 28)
    done = run(agent, *words("attach", server.port, connections=4))
    server.stop()
    assert len(server.heard) == 1
    assert done.stderr.startswith("the server allows one connection only")


def test_as_many_connections_as_asked_for(agent: Path, serve: Callable[..., Server]) -> None:
    answer = export(flags=HAS_FLAGS | READ_ONLY | MULTI_CONN)
    server = serve(GREETING, FLAGS_AND_GO, answer, reply(REP_ACK))
    assert run(agent, *words("attach", server.port, connections=3)).returncode == 6
    server.stop()
    assert [heard[4:FLAGS_AND_GO] for heard in server.heard] == [go(b"seat-1")] * 3


def test_all_connections_of_a_set_have_its_number(
    agent: Path, serve: Callable[..., Server]
) -> None:
    answer = export(flags=HAS_FLAGS | READ_ONLY | MULTI_CONN)
    server = serve(GREETING, 4 + asked(), NO_KEY, asked(), answer, reply(REP_ACK))
    run(agent, *words("attach", server.port, connections=2), token="cafe")
    server.stop()
    found = re.findall(rb"seat-1@cafe\.([0-9a-f]+)", b" ".join(server.heard))
    assert len(found) == 4 and len(set(found)) == 1, "INFO and GO of two connections"
    assert int(found[0], 16) <= time.monotonic_ns() // 1000000


def test_without_a_token_the_server_is_asked_for_a_lease(
    agent: Path, serve: Callable[..., Server]
) -> None:
    question = b"GET /lease/t?ram=1&fresh=1 HTTP/1.0\r\n\r\n"
    granted = f"HTTP/1.0 200 OK\r\n\r\n{serialize(Granted(SIZE, 'cafe'))}\n".encode()
    lease = serve(len(question), granted)
    answer = export(flags=HAS_FLAGS | READ_ONLY)  # read-only ends the run before the kernel's part
    pages = serve(GREETING, 4 + asked(), NO_KEY, asked(), answer, reply(REP_ACK))
    run(agent, *words("attach", pages.port), lease=f"{lease.port}/lease/t?ram=1&fresh=1")
    for server in (lease, pages):
        server.stop()
    assert lease.heard == [question]
    assert b"seat-1@cafe." in pages.heard[0]


def test_no_lease_is_refused_with_the_servers_words(
    agent: Path, serve: Callable[..., Server]
) -> None:
    line = serialize(Refused("no room: 1 GiB asked"))
    lease = serve(f"HTTP/1.0 200 OK\r\n\r\n{line}\n".encode())
    done = run(agent, *words("attach", 1), lease=f"{lease.port}/lease/t")
    assert done.returncode == REFUSED
    assert done.stderr == "no lease: no room: 1 GiB asked\n"


def test_without_a_word_that_it_may_begin_it_ends(
    agent: Path, serve: Callable[..., Server]
) -> None:
    server = serve(GREETING)
    line = words("attach", server.port, wait="yes")
    done = subprocess.run([agent, *line], input=b"", capture_output=True, check=False, timeout=30)
    server.stop()
    assert server.heard == []
    # Without an NBD driver it is not even ready to wait.
    assert done.returncode in (USAGE, KERNEL_REFUSED)
    assert b"before the line `attach`" in done.stderr or b"no NBD driver" in done.stderr


def test_of_a_mirror_both_servers_are_asked(agent: Path, serve: Callable[..., Server]) -> None:
    answer = export(flags=HAS_FLAGS | READ_ONLY)
    server = serve(GREETING, FLAGS_AND_GO, answer, reply(REP_ACK))
    done = run(agent, *words("attach", server.port, host="127.0.0.1,127.0.0.1"))
    server.stop()
    assert len(server.heard) == 2
    assert done.returncode == BAD_PROTOCOL


def test_further_servers_stand_in_for_those_of_a_mirror_that_are_away(
    agent: Path, serve: Callable[..., Server]
) -> None:
    answer = export(flags=HAS_FLAGS | READ_ONLY)
    server = serve(GREETING, FLAGS_AND_GO, answer, reply(REP_ACK))
    hosts = "127.0.0.2,127.0.0.3,127.0.0.1,127.0.0.4,127.0.0.1"
    done = run(agent, *words("attach", server.port, host=hosts))
    server.stop()
    assert len(server.heard) == 2, "one for each leg"
    for away in (2, 3, 4):
        assert f"127.0.0.{away} port {server.port}: Connection refused" in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        *("https://10.0.0.1:8080/x", "http://server:8080/x", "http://10.0.0.1/x"),
        *("http://10.0.0.1:80", "http://10.0.0.1:65616/x", "http://10.0.0.1:80b/x"),
        *(
            "http://10.0.0.1,:80/x",
            "http://10.0.0.1,10.0.0.2,10.0.0.3:80/x",
            "http://,10.0.0.1:80/x",
        ),
    ],
)
def test_where_reports_cannot_go(agent: Path, url: str) -> None:
    done = run(agent, *words("handshake", 1), beacon=url)
    assert done.returncode == USAGE
    assert done.stderr.startswith("NETBOOT_BEACON: expected")


@pytest.mark.parametrize(
    ("answer", "code", "printed", "complaint"),
    [
        (b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nsize=4096", OK, "size=4096\n", ""),
        (
            b"HTTP/1.1 404 Not Found\r\n\r\nsize=1",
            REFUSED,
            "",
            "the boot server answers HTTP/1.1 404 Not Found\n",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nrefused=\x1b[2Jno", OK, "refused=?[2Jno\n", ""),
        (
            b"HTTP/1.0 403 \x1b[2J\0\r\n\r\n",
            REFUSED,
            "",
            "the boot server answers HTTP/1.0 403 ?[2J?\n",
        ),
        (b"HTTP/1.1 200 OK", CANNOT_CONNECT, "", "127.0.0.1 port PORT does not answer\n"),
    ],
)
def test_a_lease_is_asked_for(
    agent: Path,
    serve: Callable[..., Server],
    answer: bytes,
    code: int,
    printed: str,
    complaint: str,
) -> None:
    request = b"GET /lease/x?ram=1 HTTP/1.0\r\n\r\n"
    server = serve(len(request), answer)
    done = run(agent, "lease", f"http://127.0.0.1:{server.port}/lease/x?ram=1")
    complaint = complaint.replace("PORT", str(server.port))
    assert (done.returncode, done.stdout, done.stderr) == (code, printed, complaint)
    server.stop()
    assert server.heard == [request]


@pytest.mark.parametrize("first", ["away", "hangs up", "says nothing"])
def test_the_other_boot_server_is_asked_once_if_the_first_does_not_answer(
    agent: Path, serve: Callable[..., Server], first: str
) -> None:
    request = b"GET /lease/x HTTP/1.0\r\n\r\n"
    second = serve(len(request), b"HTTP/1.0 200 OK\r\n\r\nsize=4096")
    if first != "away":
        step = len(request) if first == "hangs up" else 1 << 20
        serve(step, address="127.0.0.2", port=second.port)
    done = run(agent, "lease", f"http://127.0.0.2,127.0.0.1:{second.port}/lease/x")
    assert (done.returncode, done.stdout, done.stderr) == (OK, "size=4096\n", "")
    second.stop()
    assert second.heard == [request]


def test_an_answer_of_the_first_boot_server_counts_and_of_none_the_last_one_is_told(
    agent: Path, serve: Callable[..., Server]
) -> None:
    second = serve()
    serve(1, b"HTTP/1.0 403 Forbidden\r\n\r\n", address="127.0.0.2", port=second.port)
    place = f"127.0.0.1:{second.port}"
    done = run(agent, "lease", f"http://127.0.0.2,{place}/lease/x")
    assert done.returncode == REFUSED and "403 Forbidden" in done.stderr
    second.stop()
    assert second.heard == []
    done = run(agent, "lease", f"http://127.0.0.3,{place}/lease/x")
    assert (done.returncode, done.stderr.count("\n")) == (CANNOT_CONNECT, 1)
    assert done.stderr == f"127.0.0.1 port {second.port} does not answer\n"


@pytest.mark.parametrize("first", ["away", "refuses", "says nothing"])
def test_a_root_is_read_from_the_other_server_if_the_first_fails(
    agent: Path, serve: Callable[..., Server], first: str
) -> None:
    answer = export(flags=HAS_FLAGS | READ_ONLY)
    second = serve(GREETING, FLAGS_AND_GO, answer, reply(REP_ACK), 28)
    if first == "refuses":
        script = (GREETING, FLAGS_AND_GO, reply(ERR_UNKNOWN, b"no such image"))
        serve(*script, address="127.0.0.2", port=second.port)
    elif first == "says nothing":
        serve(address="127.0.0.2", port=second.port)
    done = run(agent, *words("attach", second.port, host="127.0.0.2,127.0.0.1", use="root"))
    assert done.returncode == KERNEL_REFUSED, done.stderr  # there is no NBD driver here
    assert "127.0.0.2" not in done.stderr and "no such image" not in done.stderr
    second.stop()
    assert len(second.heard) == 1


def test_the_token_is_never_printed(agent: Path, serve: Callable[..., Server]) -> None:
    token = "0123456789abcdef" * 2
    for script in ((), (GREETING,), (b"HTTP/1.1 400 Bad Request\r\n",)):
        done = run(agent, *words("handshake", serve(*script).port), token=token)
        assert token not in done.stdout + done.stderr
