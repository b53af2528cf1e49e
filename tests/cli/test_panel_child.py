"""The panel beside the server, played by a script: started, restarted, handed on, ended."""

import asyncio
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from netboot.cli import panel_child, panel_command
from netboot.cli.panel_child import HANDED_ON, PanelProcess
from netboot.cli.panel_command import Panel, panel_of
from netboot.profile.file import parse
from netboot.profile.panel import without_password

PATIENCE = 60.0


def panel(program: str, *words: str, **environment: str) -> Panel:
    return Panel((sys.executable, "-c", program, *words), environment, None)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), PATIENCE))


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel_child, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(panel_child, "MISTAKE_SECONDS", 0.1)
    monkeypatch.setattr(panel_child, "HELD_SECONDS", 0.2)
    monkeypatch.delenv(HANDED_ON, raising=False)


WRITES = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(600)"


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_runs_without_rights_in_a_session_of_its_own_and_ends_with_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")

    async def work() -> None:
        process = PanelProcess(panel(WRITES, str(tmp_path / "pids"), SECRET="hush"), tmp_path)
        process.start()
        await until(lambda: len(pids(tmp_path / "pids")) == 1)
        (pid,) = pids(tmp_path / "pids")
        assert os.getsid(pid) == pid
        status = Path(f"/proc/{pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
        assert os.getpriority(os.PRIO_PROCESS, pid) >= panel_child.NICE
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"SECRET=hush" in environment and b"NOTIFY_SOCKET=/nowhere" not in environment
        assert b"hush" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert (tmp_path / "panel").stat().st_mode & 0o777 == 0o700
        monkeypatch.setattr(panel_child, "STOP_SECONDS", 2 * PATIENCE)  # the signal alone ends it
        await process.stop()
        assert not is_alive(pid)

    run(work)


def test_one_that_dies_is_started_again_and_one_line_tells_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        process = PanelProcess(panel(WRITES, str(tmp_path / "pids")), tmp_path)
        process.start()
        for number in (1, 2, 3):
            await until(lambda number=number: len(pids(tmp_path / "pids")) == number)  # type: ignore[misc]
            os.kill(pids(tmp_path / "pids")[-1], signal.SIGKILL)
        await until(lambda: len(pids(tmp_path / "pids")) == 4)
        await process.stop()

    run(work)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["no panel: killed by SIGKILL; retried in 0 s; the room is served"]


def test_a_mistake_is_one_line_however_often_it_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    says = "import sys; open(sys.argv[1], 'a').write('1\\n'); sys.exit(sys.argv[2])"
    mistake = f"{says.replace('sys.exit(sys.argv[2])', 'print(sys.argv[2]); sys.exit(2)')}"
    text = "cannot listen on port 8081: Address already in use\nhint: set http.panel_port"

    async def work() -> None:
        process = PanelProcess(panel(mistake, str(tmp_path / "pids"), text), tmp_path)
        process.start()
        await until(lambda: len(pids(tmp_path / "pids")) == 3)
        await process.stop()

    run(work)
    assert [record.getMessage() for record in caplog.records] == [
        (
            "no panel: cannot listen on port 8081: Address already in use; hint: set http.panel_port"
            "; retried in 0 s; the room is served"
        )
    ]


def test_what_it_says_is_logged_while_it_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    says = "import time; print('database \\x1b is full', flush=True); time.sleep(600)"

    async def work() -> None:
        process = PanelProcess(panel(says), tmp_path)
        process.start()
        await until(lambda: bool(caplog.records))
        await process.stop()

    run(work)
    assert [record.getMessage() for record in caplog.records] == ["panel: database ? is full"]


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    assert panel_child.STOP_SECONDS < 1.0, "the server stops in two seconds"
    deaf = f"import signal; signal.signal(15, signal.SIG_IGN); {WRITES}"

    async def work() -> None:
        process = PanelProcess(panel(deaf, str(tmp_path / "pids")), tmp_path)
        process.start()
        await until(lambda: len(pids(tmp_path / "pids")) == 1)
        await process.stop()
        assert not is_alive(pids(tmp_path / "pids")[0])

    run(work)


def test_an_upgrade_keeps_it_and_another_command_ends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = panel(WRITES, str(tmp_path / "pids"))

    async def begin() -> None:
        process = PanelProcess(mine, tmp_path)
        process.start()
        await until(lambda: len(pids(tmp_path / "pids")) == 1)
        process.hand_on()
        process.keep()
        assert HANDED_ON not in os.environ and not os.get_inheritable(process._output)
        process.hand_on()
        assert process._running is not None
        process._running.cancel()  # as the end of its program does

    async def go_on() -> None:
        process = PanelProcess(mine, tmp_path)
        process.start()
        await until(lambda: HANDED_ON not in os.environ)
        await asyncio.sleep(0.1)
        assert len(pids(tmp_path / "pids")) == 1 and is_alive(pids(tmp_path / "pids")[0])
        process.hand_on()
        assert process._running is not None
        process._running.cancel()

    async def change() -> None:
        other = PanelProcess(panel(WRITES, str(tmp_path / "pids"), "--listen"), tmp_path)
        other.start()
        await until(lambda: len(pids(tmp_path / "pids")) == 2)
        first, second = pids(tmp_path / "pids")
        assert not is_alive(first) and is_alive(second)
        other.hand_on()
        assert other._running is not None
        other._running.cancel()
        await asyncio.sleep(0)
        panel_child.end_former()
        await until(lambda: not is_alive(second))
        assert HANDED_ON not in os.environ

    for work in (begin, go_on, change):
        run(work)
    assert caplog.records == []


def test_a_panel_that_dies_during_an_upgrade_is_started_again_and_handed_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The dead one was taken over, and with its descriptor a pipe of the upgrade, which hung."""

    async def work() -> None:
        process = PanelProcess(panel(WRITES, str(tmp_path / "pids")), tmp_path)
        process.start()
        await until(lambda: len(pids(tmp_path / "pids")) == 1)
        process.hand_on()
        os.kill(pids(tmp_path / "pids")[0], signal.SIGKILL)
        await until(lambda: HANDED_ON not in os.environ)
        reading, writing = os.pipe()
        await until(lambda: len(pids(tmp_path / "pids")) == 2)
        assert os.environ[HANDED_ON].startswith(f"{pids(tmp_path / 'pids')[1]} ")
        os.write(writing, b"of the upgrade")
        assert os.read(reading, 100) == b"of the upgrade"
        process.keep()
        assert HANDED_ON not in os.environ
        await process.stop()
        os.close(reading)
        os.close(writing)

    run(work)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["no panel: killed by SIGKILL; retried in 0 s; the room is served"]


def test_it_does_not_outlive_a_server_that_was_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from netboot.cli.panel_child import *\n"
        f"panel = Panel((sys.executable, '-c', {WRITES!r}, sys.argv[1]), {{}}, None)\n"
        "async def run(): PanelProcess(panel, Path(sys.argv[2])).start(); await asyncio.sleep(60)\n"
        "asyncio.run(run())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "pids"), str(tmp_path)]
    server = subprocess.Popen(command)
    run(lambda: until(lambda: len(pids(tmp_path / "pids")) == 1))
    server.kill()
    server.wait()
    run(lambda: until(lambda: not is_alive(pids(tmp_path / "pids")[0])))


def test_the_profile_decides_which_panel_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def words(text: str) -> tuple[str, ...]:
        found = panel_of(parse(text, "f"), tmp_path)
        assert isinstance(found, Panel)
        return found.command[3:]

    own = ("netboot", "panel", "--feed", f"{tmp_path}/feed.sock", "--listen")
    kept = ("--state", f"{tmp_path}/panel")
    assert words("") == (*own, "0.0.0.0:8081", *kept)
    assert words("http: {panel: local, panel_port: 90}") == (*own, "127.0.0.1:90", *kept)
    url = "postgresql://netboot:hu%40sh@10.0.0.5/room"
    found = panel_of(parse(f"panel: {{database: '{url}'}}", "f"), tmp_path)
    assert isinstance(found, Panel) and "hu" not in " ".join(found.command) + repr(found)
    assert found.command[-2:] == ("--database", "postgresql://netboot@10.0.0.5/room")
    assert found.environment == {"PGPASSWORD": "hu@sh"}
    assert panel_of(parse("http: {panel: off}", "f"), tmp_path) == ""
    assert panel_of(parse("http: {port: 8081}", "f"), tmp_path) == ""
    monkeypatch.setattr(panel_command, "PACKAGES", ("json", "no_such_package"))
    reason = panel_of(parse("", "f"), tmp_path)
    assert isinstance(reason, str) and "no_such_package cannot be imported" in reason


@pytest.mark.parametrize(
    ("url", "without"),
    [
        ("postgresql://a@b/c", ("postgresql://a@b/c", "")),
        ("postgresql://a:b@c:5432/d?x=1", ("postgresql://a@c:5432/d?x=1", "b")),
        ("postgresql+psycopg://a:b:c@d/e", ("postgresql+psycopg://a@d/e", "b:c")),
        ("postgresql://a@b/c?password=d%40e&x=1", ("postgresql://a@b/c?x=1", "d@e")),
        ("postgresql://a:b@[::1]:5/c?password=d", ("postgresql://a@[::1]:5/c", "d")),
        ("", ("", "")),
    ],
)
def test_a_password_is_taken_out_of_its_url(url: str, without: tuple[str, str]) -> None:
    assert without_password(url) == without


def test_nobody_hears_of_a_panel_that_cannot_be_started_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_child, "MOST_SECONDS", 0.01)
    (tmp_path / "panel").write_text("a file in the place of its folder")

    async def work() -> None:
        process = PanelProcess(panel(WRITES), tmp_path)
        process.start()
        await asyncio.sleep(0.2)
        await process.stop()

    with caplog.at_level(logging.INFO):
        run(work)
    assert len(caplog.records) == 1 and "cannot be started" in caplog.records[0].getMessage()


@pytest.mark.root
def test_a_server_of_root_gives_its_panel_a_user_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(panel_command, "USER", "nobody")
    nobody = pwd.getpwnam("nobody")
    state = Path(tempfile.mkdtemp(dir="/dev/shm"))  # pytest's own folders are root's alone
    (state / "secret").write_bytes(b"s" * 32)
    (state / "secret").chmod(0o600)
    tries = (
        "import os, sys, time\n"
        "folder = sys.argv[sys.argv.index('--state') + 1]\n"
        "def may(path, how):\n"
        "    try: os.close(os.open(path, how)); return 'yes'\n"
        "    except OSError: return 'no'\n"
        "print(os.getuid(), os.getgid(), may(f'{folder}/../secret', os.O_RDONLY), "
        "may(f'{folder}/..', os.O_RDONLY), may(f'{folder}/new', os.O_CREAT), flush=True)\n"
        "time.sleep(60)"
    )
    found = panel_of(parse("", "f"), state)
    assert isinstance(found, Panel) and found.user == nobody
    assert panel_command.group_of(found) == nobody.pw_gid and panel_command.group_of("") == -1
    words = ("/usr/bin/python3", "-c", tries, *found.command[4:])
    mine = Panel(words, {}, found.user)

    async def work() -> None:
        process = PanelProcess(mine, state)
        process.start()
        await until(lambda: bool(caplog.records))
        await process.stop()

    try:
        run(work)
        assert caplog.messages == [f"panel: {nobody.pw_uid} {nobody.pw_gid} no no yes"]
        assert state.stat().st_mode & 0o777 == 0o710
    finally:
        shutil.rmtree(state)


@pytest.mark.root
def test_a_new_user_of_the_panel_gets_what_root_has_kept(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    folder, secret = tmp_path / "panel", tmp_path / "secret"
    secret.touch()
    folder.mkdir(mode=0o700)
    (folder / "panel-accounts.json").touch(mode=0o600)
    (folder / "link").symlink_to(secret)
    panel_command.open_state(Panel(("true",), {}, nobody), tmp_path)
    owners = {path.name: path.lstat().st_uid for path in (folder, *folder.iterdir())}
    assert owners == dict.fromkeys(("panel", "panel-accounts.json", "link"), nobody.pw_uid)
    assert secret.stat().st_uid == 0
    (folder / "roots").touch()  # from here on root changes nothing that the user may have put there
    panel_command.open_state(Panel(("true",), {}, nobody), tmp_path)
    assert (folder / "roots").stat().st_uid == 0
