"""bench/nbd_load.c: short runs on our page server, on nbdkit and on the floor. No time is asserted."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import fio, load
from bench.load import LoadError
from bench.report import OURS
from bench.rows import FLOOR, Row
from bench.servers import HERE, compile_c, running

WARNINGS = ("-std=gnu11", "-g", "-Wall", "-Wextra", "-Wmissing-prototypes", "-Werror")
SIZE = 8 << 20
ROW = Row("randrw", 4096, 32, 4)
HELLO = b"NBDMAGICIHAVEOPT\0\3"
REPLY = bytes.fromhex("0003e889045565a9") + b"\0\0\0\7"
INFO = REPLY + b"\0\0\0\3" + b"\0\0\0\x0c" + b"\0\0" + SIZE.to_bytes(8) + b"\0\1"
ACK = REPLY + b"\0\0\0\1" + bytes(4)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(HERE / "nbd_load.c", tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module", params=[OURS, "nbdkit"])
def uri(
    request: pytest.FixtureRequest, program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the address of a server whose pages were written, and read back."""
    with running(request.param, SIZE, tmp_path_factory.mktemp("server")) as server:
        load.fill(program, server.uri(), SIZE, verify=True)
        yield server.uri()


def _run(program: Path, *words: str) -> tuple[int, str]:
    """Return status and complaint of a run."""
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_pinned_load_is_bound_to_its_cpu() -> None:
    words = load.command(Path("nbd_load"), "nbd://x", ROW, SIZE, 1.0, cpu=0)
    assert words[:4] == ["taskset", "-c", "0", "nbd_load"]


@pytest.mark.system
@pytest.mark.parametrize("name", ["nbd_load", "floor"])
def test_the_compiler_and_its_analyzer_find_nothing(tmp_path: Path, name: str) -> None:
    words = ["gcc", *WARNINGS, "-O0", "-fanalyzer", "-c", str(HERE / f"{name}.c")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.system
def test_all_connections_work_and_the_figures_fit_each_other(program: Path, uri: str) -> None:
    got = load.run(load.command(program, uri, ROW, SIZE, 0.3, cpu=None))
    assert 0 < got.p50_us <= got.p99_us <= got.max_us
    assert got.iops > 0
    assert got.mb_per_s == pytest.approx(got.iops * 4096 / 1e6, rel=0.01)
    assert got.cpu_us > 0
    assert got.requests >= got.iops * 0.3


@pytest.mark.system
def test_a_number_of_requests_is_done_exactly(program: Path, uri: str) -> None:
    words = [str(program), "--mode=randread", "--depth=8", "--connections=3", "--requests=1000"]
    assert load.run([*words, uri]).requests == 1000


@pytest.mark.system
def test_contents_are_verified_in_any_mode(program: Path, uri: str) -> None:
    load.fill(program, uri, SIZE, verify=True)  # other tests write what they like
    words = ["--requests=2000", "--verify", "--depth=16", "--connections=4"]
    assert _run(program, "--mode=randrw", *words, uri) == (0, "")


@pytest.mark.system
def test_wrong_contents_end_a_run(program: Path, tmp_path: Path) -> None:
    """Our server alone: nbdkit 1.32.5 aborts in one of ten runs that end amid requests."""
    words = ["--mode=randread", "--seed=1", "--requests=2000", "--verify", "--connections=4"]
    with running(OURS, SIZE, tmp_path) as server:
        load.fill(program, server.uri(), SIZE, verify=False)
        status, complaint = _run(program, *words, server.uri())
    assert (status, complaint.count("\n")) == (1, 1)
    assert "wrong contents at offset" in complaint


@pytest.mark.system
@pytest.mark.parametrize("kind", ["address,undefined", "thread"])
def test_it_makes_no_mistake_with_memory_or_between_threads(
    uri: str, tmp_path: Path, kind: str
) -> None:
    program = tmp_path / "sanitized"
    words = ["gcc", *WARNINGS, "-O1", "-pthread", f"-fsanitize={kind}", "-fno-sanitize-recover=all"]
    subprocess.run([*words, "-o", program, HERE / "nbd_load.c"], check=True)
    load.fill(program, uri, SIZE, verify=True)
    words = ["--verify", "--depth=16", "--connections=4", "--block=8192"]
    assert _run(program, "--mode=rw", "--requests=500", *words, uri) == (0, "")
    assert _run(program, "--mode=randread", "--seconds=0.2", "--depth=32", uri) == (0, "")


@pytest.mark.system
def test_the_floor_answers_both_generators(program: Path, tmp_path: Path) -> None:
    with running(FLOOR, SIZE, tmp_path) as server:
        assert load.run(load.command(program, server.uri(), ROW, SIZE, 0.2, cpu=None)).iops > 0
        row = Row("randrw", 4096, 8, 2)  # fio wants structured replies
        assert fio.parse(fio.run(fio.command(server.uri(), row, SIZE, 0.2, cpu=None))).iops > 0


@pytest.mark.system
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "expected one URI, nbd://HOST:PORT/EXPORT, found 0"),
        (("--requests=1", "http://x"), "expected nbd://HOST:PORT/EXPORT, found 'http://x'"),
        (("nbd://x:1/a",), "expected either --seconds or --requests"),
        (("--mode=trim", "nbd://x:1/a"), "--mode: expected read, write, randread"),
        (("--depth=513", "nbd://x:1/a"), "--depth: expected a number from 1 to 512, found '513'"),
        (("--seconds=nan", "nbd://x:1/a"), "--seconds: expected seconds from 0 to 3600"),
        (("--batch=5", "--depth=8", "nbd://x:1/a"), "--batch: expected at most half of --depth"),
        (("--speed=1", "nbd://x:1/a"), "unknown option or no value: '--speed=1'; see --help"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    program: Path, words: tuple[str, ...], complaint: str
) -> None:
    status, said = _run(program, *words)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith(f"nbd_load: {complaint}")


@pytest.mark.system
@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        (b"", "connection 0: handshake: closed by the server"),
        (
            b"SSH-2.0-dropbear" + bytes(2),
            "connection 0: handshake: not a fixed newstyle NBD server",
        ),
        (
            HELLO + REPLY + b"\x80\0\0\6" + b"\0\0\0\3bye",
            "connection 0: the server refuses export 'a'",
        ),
        (HELLO + INFO + ACK, "connection 0: closed by the server"),
        (HELLO + INFO + ACK + bytes(16), "connection 0: not a simple reply: magic 00000000"),
        (
            HELLO + INFO + ACK + bytes.fromhex("67446698 00000005") + bytes(8),
            "connection 0: read at offset",
        ),
        (
            HELLO + INFO + ACK + bytes.fromhex("67446698 00000000") + bytes([1] * 8),
            "connection 0: reply to no request",
        ),
    ],
)
def test_a_connection_that_fails_fails_the_run(
    program: Path, answers: bytes, complaint: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(answers)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass

        server = threading.Thread(target=answer)
        server.start()
        words = [str(program), "--requests=1", f"nbd://127.0.0.1:{listener.getsockname()[1]}/a"]
        with pytest.raises(LoadError) as caught:
            load.run(words)
        server.join()
    assert str(caught.value).startswith(f"nbd_load: {complaint}")
