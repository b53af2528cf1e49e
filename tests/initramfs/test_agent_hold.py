"""The resident part of the swap agent, with a played kernel and a played server.

The kernel's NBD driver is played by a thread. It sends a request over each new set of connections, and
shuts the connections down if there is no answer in time, as the driver's timer does. md is played by
a variable. So the sockets, the handshakes and the decisions are the real ones.
"""

import http.server
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.initramfs.test_agent import (
    GO,
    GREETING,
    REP_ACK,
    REP_INFO,
    SANITIZERS,
    SOURCES,
    WARNINGS,
    export,
    reply,
)

pytestmark = pytest.mark.system

CONNECTIONS = 2
ERR_POLICY = 1 << 31 | 2
NEXT_HOST = "127.0.0.2"  # of a mirror's servers, after the leg's own

# The driver waits for timer_ms, mostly less than swap.timeout: the tests must not take so long.
KERNEL = r"""
#include "agent.h"
#include "area.h"
#include "device.h"
#include "hold.h"
#include "md.h"
#include "mirror.h"
#include "report.h"
#include "say.h"
#include "session.h"
#include "swap.h"
#include "types.h"
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/socket.h>
#include <unistd.h>

static int may_drop, missing, timer_ms;
static const char *further_host;

static void *drive(void *argument)
{
    int fd = dup(*(int *)argument);
    unsigned char request[28] = {0x25, 0x60, 0x95, 0x13}, answer[16];
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    request[27] = 1;
    free(argument);
    if (send(fd, request, sizeof request, MSG_NOSIGNAL) < 0 || poll(&wait, 1, timer_ms) != 1)
        shutdown(fd, SHUT_RDWR);
    else if (recv(fd, answer, sizeof answer, MSG_WAITALL) <= 0)
        shutdown(fd, SHUT_RDWR);
    close(fd);
    return NULL;
}

static int play(const struct area *area)
{
    int *fd = malloc(sizeof *fd);
    pthread_t thread;

    *fd = area->fds[0];
    pthread_create(&thread, NULL, drive, fd);
    pthread_detach(thread);
    return OK;
}

int device_open(void) { return OK; }
int device_connect(struct area *area) { area->index = 0; return play(area); }
int device_reconnect(const struct area *area) { return play(area); }
void device_disconnect(uint32_t index) { (void)index; }
void device_release(const char *name) { (void)name; }
int swap_on(struct area *area) { (void)area; return OK; }

int md_may_drop(const struct area *leg)
{
    missing = leg->leg && may_drop ? leg->leg : missing;
    return leg->leg && may_drop;
}

int md_is_whole(const struct area *leg) { return missing != leg->leg; }
int md_drop(const struct area *leg) { (void)leg; dprintf(1, "dropped\n"); return OK; }
int md_join(struct area *leg) { (void)leg; dprintf(1, "joined\n"); return OK; }
int64_t md_look(const struct area *leg) { (void)leg; return FOREVER; }
void md_note(const struct area *leg, int lost) { (void)leg; dprintf(1, "note %d\n", lost); }
const char *md_next_host(const struct area *leg) { return leg->leg ? further_host : NULL; }
int md_start(struct area *legs, uint64_t size) { (void)legs; (void)size; return OK; }
void md_stop(void) {}
void md_lock(void) {}
int md_open(void) { return OK; }
const char *md_host(const struct area *leg) { return leg->target.host; }

int klogctl(int type, char *text, int length) { (void)type; (void)text; (void)length; return 0; }

/* Give the area back after a line of the standard input. */
static void leave(struct area *area)
{
    int ends[2];

    if (pipe(ends) < 0)
        _exit(1);
    area->leaving = ends[0];
    area->swapoff = fork();
    if (area->swapoff == 0) {
        getchar();
        _exit(0);
    }
    close(ends[1]);
}

int main(int count, char **words)
{
    static struct area area = {.target = {.host = "127.0.0.1", .export = "seat-1", .token = ""},
                               .connections = 2, .number = 1, .leaving = -1};

    (void)count;
    area.target.port = words[1];
    report_to(words[2]);
    area.leg = atoi(words[3]);
    may_drop = atoi(words[4]);
    area.patience = (unsigned)atoi(words[5]);
    timer_ms = atoi(words[6]);
    further_host = words[8];
    area.target.timeout = (unsigned)atoi(words[9]);
    area.either = atoi(words[10]);
    area.target.other = area.either ? further_host : NULL;
    if (area_open(&area) != OK)
        return 1;
    device_connect(&area);
    strcpy(area.device, area.leg ? "md0" : "nbd0");
    if (atoi(words[7])) {
        area.number = 2;
        leave(&area);
        hold(&area);
        area.number = 1; /* asks no figures of this machine */
        if (area_open(&area) != OK || device_connect(&area) != OK)
            return 1;
        strcpy(area.device, "nbd0");
    }
    hold(&area);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hold")
    (folder / "kernel.c").write_text(KERNEL)
    played = {"agent.c", "device.c", "md.c", "swap.c"}
    sources = [source for source in SOURCES if source.name not in played]
    options = [*WARNINGS, *SANITIZERS, "-I", str(SOURCES[0].parent), "-o", str(folder / "hold")]
    subprocess.run(["gcc", *options, str(folder / "kernel.c"), *sources], check=True)
    return folder / "hold"


class Pages:
    """A page server that shakes hands.

    ``serve``: it "answers" requests or "nothing", or "closes" each set as it has read a request, or it
    "hangs up" on the first set, or on all later handshakes ("ends"). It may "refuse" these instead.
    """

    def __init__(self, serve: str, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.serve = serve
        self.linger = 0.05  # seconds until it notices the end of a connection
        self.sets: list[float] = []  # the times of the handshakes
        self.answers = 0
        self.refused = 0
        self._listener = socket.create_server(address)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, suppress(OSError, struct.error):  # the agent was killed
            if self.serve == "ends" and len(self.sets) >= CONNECTIONS:
                return
            refuses = self.serve == "refuses" and len(self.sets) >= CONNECTIONS
            peer.sendall(GREETING)
            peer.recv(4, socket.MSG_WAITALL)
            header = peer.recv(16, socket.MSG_WAITALL)
            option, length = struct.unpack(">II", header[8:])
            peer.recv(length, socket.MSG_WAITALL)
            assert option == GO
            if refuses:
                peer.sendall(reply(ERR_POLICY, b"this server is drained"))
                self.refused += 1
                return
            text = b"swap of seat 1, generation " + b"0123456789abcdef" * 2
            description = reply(REP_INFO, struct.pack(">H", 2) + text)
            self.sets.append(time.monotonic())  # before the agent can count from its end
            number = len(self.sets)
            peer.sendall(export() + description + reply(REP_ACK))
            if self.serve in ("hangs up", "ends", "refuses") and number <= CONNECTIONS:
                while len(self.sets) < CONNECTIONS:
                    time.sleep(0.01)
                time.sleep(0.05)  # in which the agent takes the set as whole
                return
            while request := peer.recv(28, socket.MSG_WAITALL):
                if self.serve == "closes":
                    return
                if self.serve != "nothing":
                    peer.sendall(struct.pack(">II", 0x67446698, 0) + request[8:16])
                    self.answers += 1
            time.sleep(self.linger)

    def gaps(self) -> list[float]:
        """Return the seconds between two sets."""
        begins = self.sets[::CONNECTIONS]
        return [after - before for before, after in pairwise(begins)]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Beacons:
    """The boot server: the stages and texts of all reports."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.news = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                stage = self.path.split("?")[0].rsplit("/", 1)[1]
                with outer.news:
                    outer.told.append((stage, body))
                    outer.news.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/beacon"

    def stages(self) -> list[str]:
        return [stage for stage, _ in self.told]

    def wait(self, done: Callable[[], bool], seconds: float = 60.0) -> None:
        with self.news:
            assert self.news.wait_for(done, seconds), self.told


class Pc:
    """The agent of a PC, one leg of a mirror if ``leg``.

    ``either``: NEXT_HOST has its pages, too. ``returns``: its area is given back after a line of its standard input, and attached again.
    """

    def __init__(
        self,
        program: Path,
        serve: str,
        *,
        leg: int = 0,
        other_is_healthy: bool = False,
        patience: int = 600,
        timer_ms: int = 150,
        returns: bool = False,
        timeout: int = 1,
        boot_servers: str = "127.0.0.1",
        either: bool = False,
    ) -> None:
        self.pages, self.beacons = Pages(serve), Beacons()
        self.next = Pages("answers", (NEXT_HOST, self.pages.port))
        url = self.beacons.url.replace("127.0.0.1", boot_servers)
        words = (
            *(self.pages.port, url, leg, int(other_is_healthy), patience, timer_ms),
            *(int(returns), NEXT_HOST, timeout, int(either)),
        )
        self.process = subprocess.Popen(
            [program, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._done: tuple[list[str], str] | None = None

    def wait_for(self, stage: str, count: int = 1) -> str:
        beacons = self.beacons
        beacons.wait(lambda: beacons.stages().count(stage) >= count)
        return [text for told, text in beacons.told if told == stage][count - 1]

    def end(self) -> tuple[list[str], str]:
        """Return what it did to md, and what was on the console."""
        if self._done is not None:
            return self._done
        self.process.kill()
        output, console = self.process.communicate()
        self.beacons.server.shutdown()
        self.beacons.server.server_close()
        self.pages.close()
        self.next.close()
        self._done = output.splitlines(), console
        return self._done


@pytest.fixture
def start(program: Path) -> Iterator[Callable[..., Pc]]:
    running: list[Pc] = []

    def begin(serve: str, **options: Any) -> Pc:
        running.append(Pc(program, serve, **options))
        running[-1].wait_for("agent:attached")
        return running[-1]

    yield begin
    for pc in running:
        pc.end()


def test_reports_go_to_the_other_boot_server_while_the_first_is_away(
    start: Callable[..., Pc],
) -> None:
    pc = start("answers", boot_servers="127.0.0.9,127.0.0.1")
    assert pc.beacons.stages() == ["agent:attached"], "none is sent twice"


def test_a_server_that_answers_nothing_is_told_twice_and_tried_more_and_more_rarely(
    start: Callable[..., Pc],
) -> None:
    """Swap fault 1.4: four lines every 3.5 s, for as long as the server's disk was full.

    A leg whose other server has the same fault is not dropped. It counts as lost until it serves:
    the other one must not be dropped either.
    """
    pc = start("nothing", leg=1, other_is_healthy=False)
    assert "no answer to a request in time" in pc.wait_for("agent:lost")
    again = pc.wait_for("agent:lost", 2)
    assert re.search(r"again, \d+\.\d s after", again) and "no answer to a request in time" in again
    while len(pc.pages.sets) <= 3 * CONNECTIONS:  # the set after the third loss has begun
        time.sleep(0.02)
    pc.pages.serve = "answers"
    back = pc.wait_for("agent:reattached", 2)
    assert int(re.findall(r"losses=(\d+)", back)[0]) >= 3
    done, console = pc.end()
    assert "dropped" not in done
    assert done.count("note 0") == 1 and done[-1] == "note 0"
    first, second, *_ = pc.pages.gaps()[1:]
    assert first >= 0.5 and second >= 1.0, "half of 1 s and of 2 s at least"
    assert pc.beacons.stages().count("agent:lost") == 2
    assert "closed" not in console
    assert len(console.splitlines()) == 4, console


def test_a_server_that_closes_each_set_without_an_answer_is_tried_more_and_more_rarely(
    start: Callable[..., Pc],
) -> None:
    """The end of its bytes is no answer: it was sent 270 sets in a second."""
    pc = start("closes", timer_ms=3000)
    end = time.monotonic() + 60
    while len(pc.pages.sets) < 4 * CONNECTIONS and time.monotonic() < end:
        time.sleep(0.02)
    first, second, *_ = pc.pages.gaps()[1:]
    assert first >= 0.5 and second >= 1.0, "half of 1 s and of 2 s at least"


def test_a_server_that_notices_the_end_at_once_is_called_silent_as_well(
    start: Callable[..., Pc],
) -> None:
    """Both sides have closed the connection when the agent looks."""
    pc = start("nothing", timer_ms=1000)
    pc.pages.linger = 0.0
    assert "no answer to a request in time" in pc.wait_for("agent:lost")


def test_a_server_that_hangs_up_is_not_called_silent(start: Callable[..., Pc]) -> None:
    pc = start("hangs up")
    pc.wait_for("agent:reattached")
    _, console = pc.end()
    assert re.search("lost 127.0.0.1, connection [12] of 2: (closed|Connection reset)", console)


def test_a_leg_whose_server_answers_nothing_is_dropped_at_once(start: Callable[..., Pc]) -> None:
    """Swap fault 1.4: a program stood still for 66 s beside a healthy server."""
    pc = start("nothing", leg=1, other_is_healthy=True, timeout=600)
    pc.wait_for("agent:degraded")  # long before swap.timeout is over
    done, _ = pc.end()
    assert done == ["note 1", "dropped"]
    assert pc.beacons.stages() == ["agent:attached", "agent:lost", "agent:degraded"]
    assert len(pc.pages.sets) == CONNECTIONS, "it is left alone for some seconds"


def test_a_dropped_leg_goes_on_to_the_next_server(start: Callable[..., Pc]) -> None:
    pc = start("nothing", leg=1, other_is_healthy=True)
    pc.wait_for("agent:renewed")
    done, console = pc.end()
    assert done[:3] == ["note 1", "dropped", "joined"]
    assert len(pc.pages.sets) == len(pc.next.sets) == CONNECTIONS
    assert "continues without 127.0.0.1" in console


def test_a_refused_leg_that_cannot_be_dropped_dials_again_soon(start: Callable[..., Pc]) -> None:
    """A server that is drained lets it in again after 2.5 s. Others wait 10 s after a refusal."""
    pc = start("refuses", leg=1, other_is_healthy=False)
    pc.wait_for("agent:refused")
    while pc.pages.refused < 3:
        time.sleep(0.01)
    pc.pages.serve = "answers"
    pc.wait_for("agent:reattached")
    done, _ = pc.end()
    assert "dropped" not in done
    assert pc.pages.gaps()[0] < 5.0, "with the next dial, less than a second later"


def test_a_refused_leg_is_dropped_at_once_if_the_other_one_is_whole(
    start: Callable[..., Pc],
) -> None:
    pc = start("refuses", leg=1, other_is_healthy=True)
    pc.wait_for("agent:degraded")
    done, _ = pc.end()
    assert done[:2] == ["note 1", "dropped"]
    assert pc.pages.refused <= 2, "the second one is of its fresh lease"


def test_a_leg_whose_server_hung_up_once_is_attached_again(start: Callable[..., Pc]) -> None:
    pc = start("hangs up", leg=2, other_is_healthy=True)
    pc.wait_for("agent:reattached")
    done, _ = pc.end()
    assert "dropped" not in done


def test_the_end_of_patience_is_told_with_its_cause(start: Callable[..., Pc]) -> None:
    """Swap fault 1.1: a server that hung up was called no server."""
    pc = start("ends", patience=2)
    told = pc.wait_for("failed:swap")
    pc.end()
    assert told.startswith("not attached for 2 s, the server closed the connection before ")


def test_a_further_area_that_is_attached_again_has_no_losses_yet(start: Callable[..., Pc]) -> None:
    """Its first loss was told as one more of its life before, and waited for a pause."""
    pc = start("hangs up", timer_ms=1000, returns=True)
    pc.wait_for("agent:reattached")
    while not pc.pages.answers:
        time.sleep(0.01)
    pc.pages.serve = "nothing"
    assert pc.process.stdin is not None
    pc.process.stdin.write("\n")
    pc.process.stdin.flush()
    assert "again, " not in pc.wait_for("agent:lost", 2)
    assert "losses=1" in pc.wait_for("agent:reattached", 2)


@pytest.mark.parametrize("serve", ["ends", "refuses", "nothing"])
def test_another_server_of_the_pool_takes_over_at_once(
    start: Callable[..., Pc], serve: str
) -> None:
    """A server that stands still is not asked first: it would take connections, and say nothing."""
    pc = start(serve, either=True)
    back = pc.wait_for("agent:reattached")
    assert f", by {NEXT_HOST}" in back and f"server={NEXT_HOST}" in back
    assert pc.next.sets and len(pc.pages.sets) == CONNECTIONS
    assert pc.next.sets[0] - pc.pages.sets[0] < 5, "without a pause of 10 s after a refusal"
    done, _ = pc.end()
    assert "dropped" not in done
