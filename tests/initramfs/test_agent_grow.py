"""A further area on one of several servers, or on two as a mirror, with a played kernel, played figures and played servers.

The need for swap comes and goes with letters on the standard input.
"""

import http.server
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netboot.pages.nbd.export import Refused
from netboot.serve.leases import Ended, Granted, serialize
from tests.initramfs.test_agent import SANITIZERS, SIZE, SOURCES, WARNINGS
from tests.initramfs.test_agent_hold import Beacons, Pages

pytestmark = pytest.mark.system

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
LEASE = "/lease/t?ram=1&area=2"
FULL = Refused("no room: 512 MiB asked")

KERNEL = r"""
#include "agent.h"
#include "area.h"
#include "device.h"
#include "grow.h"
#include "md.h"
#include "need.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "status.h"
#include "swap.h"
#include "types.h"
#include "words.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

static int needed;

int device_open(void) { return OK; }
int device_connect(struct area *area) { area->index = 0; return OK; }
int device_reconnect(const struct area *area) { (void)area; return OK; }
void device_disconnect(uint32_t index) { (void)index; }
void device_release(const char *name) { (void)name; }
int swap_on(struct area *area) { (void)area; return OK; }
int md_may_drop(const struct area *leg) { (void)leg; return 0; }
int md_is_whole(const struct area *leg) { (void)leg; return 1; }
int md_drop(const struct area *leg) { (void)leg; return OK; }
int md_join(struct area *leg) { (void)leg; return OK; }
int64_t md_look(const struct area *leg) { (void)leg; return FOREVER; }
void md_note(const struct area *leg, int lost) { (void)leg; (void)lost; }
const char *md_next_host(const struct area *leg) { (void)leg; return NULL; }

int md_start(struct area *legs, uint64_t size)
{
    (void)size;
    for (uint32_t at = 0; at < LEGS; at++)
        legs[at].index = at;
    return OK;
}

void md_stop(void) {}
void md_lock(void) {}
int md_open(void) { return OK; }
const char *md_host(const struct area *leg) { return leg->target.host; }
int klogctl(int type, char *text, int length) { (void)type; (void)text; (void)length; return 0; }

/* Read the letters that are there until the time `until`: n, swap is short; i, it is not. */
static void listen_to_test(int64_t until)
{
    struct pollfd waits[2] = {{.fd = 0, .events = POLLIN}};
    char letter;

    if (await(waits, 1, until)) {
        if (read(0, &letter, 1) != 1)
            exit(0);
        needed = letter == 'n';
    }
}

void read_swap(uint64_t *total, uint64_t *unused) { *total = *unused = 0; }
int is_needed(const struct area *area) { (void)area; return needed; }

void wait_for_need(const struct area *area)
{
    (void)area;
    while (!needed)
        listen_to_test(FOREVER);
}

void leave_if_idle(struct area *area)
{
    int ends[2];

    listen_to_test(now_ms());
    if (needed || area->leaving >= 0)
        return;
    if (pipe(ends) < 0)
        exit(1);
    area->leaving = ends[0];
    area->swapoff = fork();
    if (area->swapoff == 0)
        _exit(0);
    close(ends[1]);
}

int main(int count, char **words)
{
    static struct area areas[LEGS + 1];
    int mirror;

    if (count == 1)
        return status_show();
    if (read_words(FOR_STANDBY, words + 1, areas, &mirror) != OK)
        return 1;
    for (int at = 0; at < LEGS; at++)
        areas[at].target.trades = 0; /* for a key: these servers have none */
    status_open(areas, STANDBY);
    stand_by(areas);
}
"""


class Leases:
    """The part of a server that grants leases. ``heard`` has its questions."""

    def __init__(self, answer: Granted | Refused, address: tuple[str, int]) -> None:
        self.heard: list[str] = []
        self.news = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with outer.news:
                    outer.heard.append(f"{self.command} {self.path}")
                    outer.news.notify_all()
                line = serialize(Ended() if self.command == "DELETE" else answer)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(f"{line}\n".encode())

            do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(address, Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for_question(self, count: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: len(self.heard) >= count, 60.0), self.heard

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Pc:
    """A PC's standby agent, and its servers: ``answers`` to who asks for a lease, None if it is off.

    ``pages``: the numbers of the servers that keep pages.
    """

    def __init__(
        self,
        program: Path,
        answers: tuple[Granted | Refused | None, ...],
        pages: tuple[int, ...],
        *,
        mirror: bool = False,
    ) -> None:
        self.program = program
        self.beacons = Beacons()
        self.leases: dict[int, Leases] = {}
        self.pages: dict[int, Pages] = {}
        port = pages_port = 0
        for number, answer in enumerate(answers):
            if answer is not None:
                self.leases[number] = Leases(answer, (HOSTS[number], port))
                port = self.leases[number].port
            if number in pages:
                self.pages[number] = Pages("answers", (HOSTS[number], pages_port))
                pages_port = self.pages[number].port
        line = {
            "area": 2,
            "host": ",".join(HOSTS[: len(answers)]),
            "port": pages_port,
            "export": "seat-1-2",
            "connections": 2,
            "timeout": 5,
            "patience": 600,
        } | ({"mirror": "yes"} if mirror else {})
        self.process = subprocess.Popen(
            [program, *(f"{key}={value}" for key, value in line.items())],
            env={"NETBOOT_LEASE": f"{port}{LEASE}", "NETBOOT_BEACON": self.beacons.url},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # with the processes of both legs
        )

    def type(self, letter: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(letter)
        self.process.stdin.flush()

    def status(self) -> list[str]:
        """Return what `agent status` prints for people."""
        command = [self.program]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
        return [line for line in done.stdout.splitlines() if " for " in line]

    def wait_for(self, stage: str, count: int = 1) -> str:
        beacons = self.beacons
        beacons.wait(lambda: beacons.stages().count(stage) >= count, 60.0)
        return [text for told, text in beacons.told if told == stage][count - 1]

    def end(self) -> str:
        """Return what was on the console."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        _, console = self.process.communicate()
        self.beacons.server.shutdown()
        self.beacons.server.server_close()
        for leases in self.leases.values():
            leases.close()
        for pages in self.pages.values():
            pages.close()
        return console


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grow")
    (folder / "kernel.c").write_text(KERNEL)
    played = {"agent.c", "device.c", "md.c", "need.c", "swap.c"}
    sources = [source for source in SOURCES if source.name not in played]
    options = [
        *WARNINGS,
        *SANITIZERS,
        f'-DSTATUS_FILE="{folder}/status"',
        "-I",
        str(SOURCES[0].parent),
        "-o",
        str(folder / "grow"),
    ]
    subprocess.run(["gcc", *options, str(folder / "kernel.c"), *sources], check=True)
    return folder / "grow"


@pytest.fixture
def start(program: Path) -> Iterator[Callable[..., Pc]]:
    running: list[Pc] = []

    def begin(
        *answers: Granted | Refused | None, pages: tuple[int, ...], mirror: bool = False
    ) -> Pc:
        program.with_name("status").unlink(missing_ok=True)
        running.append(Pc(program, answers, pages, mirror=mirror))
        return running[-1]

    yield begin
    for pc in running:
        if pc.process.returncode is None:
            pc.end()


def test_a_further_area_is_on_the_first_server_that_answers_and_has_room(
    start: Callable[..., Pc],
) -> None:
    pc = start(None, FULL, Granted(SIZE, "cafe"), pages=(2,))
    pc.type("n")
    assert f"of {HOSTS[2]}, 2 connections" in pc.wait_for("agent:attached")
    assert pc.beacons.stages()[0] == "agent:grown", "nothing is refused"
    pc.type("i")
    pc.wait_for("agent:returned")
    pc.type("n")
    pc.wait_for("agent:attached", 2)
    console = pc.end()
    question, end = f"GET {LEASE}", f"DELETE {LEASE}"
    # The second one was asked once: the area comes to the server that had it last.
    assert pc.leases[1].heard == [question]
    assert pc.leases[2].heard in ([question, end, question], [question, question])
    assert "does not answer" not in console and "no room" not in console


def test_a_server_that_grants_a_lease_and_has_no_pages_delays_no_growth(
    start: Callable[..., Pc],
) -> None:
    pc = start(Granted(SIZE, "cafe"), Granted(SIZE, "beef"), pages=(1,))
    pc.type("n")
    assert f"of {HOSTS[1]}, " in pc.wait_for("agent:attached")
    assert len(pc.leases[0].heard) == 1
    pc.end()


def test_the_last_refusal_is_told_once_and_all_are_asked_again(start: Callable[..., Pc]) -> None:
    pc = start(FULL, None, FULL, pages=(0,))
    pc.type("n")
    assert pc.wait_for("agent:refused").startswith(f"area 2: no lease: {FULL.reason}")
    pc.leases[2].wait_for_question(3)
    assert pc.beacons.stages() == ["agent:refused"]
    assert len(pc.leases[0].heard) >= 3
    pc.end()


def test_a_further_mirror_is_on_two_servers_and_goes_with_both_its_legs(
    start: Callable[..., Pc],
) -> None:
    pc = start(None, Granted(SIZE, "cafe"), Granted(SIZE, "beef"), pages=(1, 2), mirror=True)
    pc.type("n")
    pc.wait_for("agent:attached", 2)
    servers = [text.split(",")[0] for told, text in pc.beacons.told if told == "agent:attached"]
    assert sorted(servers) == [f"holds /dev/md1 of {host}" for host in HOSTS[1:]]
    assert pc.beacons.stages().count("agent:grown") == 1
    # The third server has the first leg, because the first one is away.
    ports = {number: pages.port for number, pages in pc.pages.items()}
    shown = [line.rsplit(" ", 1)[1] for line in pc.status()]
    assert shown == [f"{HOSTS[1]}:{ports[1]}", f"{HOSTS[2]}:{ports[2]}"]
    pc.type("i")
    pc.wait_for("agent:returned")
    for number in (1, 2):
        pc.leases[number].wait_for_question(2)
        assert pc.leases[number].heard == [f"GET {LEASE}", f"DELETE {LEASE}"]
    assert [line.split(" for ")[0] for line in pc.status()] == ["a further area stands by"]
    pc.type("n")
    pc.wait_for("agent:attached", 4)
    assert pc.beacons.stages().count("agent:attached") == 4, "no process has its parent's reports"
    assert "refused" not in " ".join(pc.beacons.stages())
    pc.end()


def test_a_mirror_that_one_server_refuses_is_no_area_and_the_other_gets_its_lease_back(
    start: Callable[..., Pc],
) -> None:
    pc = start(Granted(SIZE, "cafe"), FULL, pages=(0,), mirror=True)
    pc.type("n")
    assert pc.wait_for("agent:refused").startswith(f"area 2: no lease: {FULL.reason}")
    pc.leases[0].wait_for_question(4)
    assert pc.leases[0].heard[:4] == [f"GET {LEASE}", f"DELETE {LEASE}"] * 2
    assert set(pc.leases[1].heard) == {f"GET {LEASE}"}
    assert pc.beacons.stages() == ["agent:refused"], "told once"
    pc.end()
