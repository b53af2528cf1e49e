"""/metrics holds what the room is, and Prometheus' own programs accept it."""

import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netboot.feed.records import Event, Hello, SeatRow, ServerRow
from netboot.panel.boots import Boots
from netboot.panel.metrics import CONTENT_TYPE, Metrics
from netboot.panel.room import Room
from tests import ROOT
from tests.panel.feeding import MIB, a_report, a_room, a_seat, figures, mac_of
from tests.support.ports import free_port

NOW = 1_700_000_000.0
A, B = "a.sock", "10.0.0.2:8080"
DASHBOARD = ROOT / "docs/grafana/netboot.json"
NAME = re.compile(r"\b(?:netboot|process)_[a-z_]+")


class Played:
    """A room and its metrics, which take the same records."""

    def __init__(self, *, each_seat: bool = False) -> None:
        self.room = Room((A, B), clock=lambda: NOW)
        self.metrics = Metrics(self.room, NOW, each_seat=each_seat)
        self.boots = Boots((self.metrics.tally.take_boot,))

    def begin(self, link: str, name: str, *rows: SeatRow) -> None:
        self.connected(link, "")
        self.take(link, Hello(name, "0.2.0", "r", 1000.0, 1, 1))
        for row in rows:
            self.take(link, row)
        self.take(link, figures(NOW))

    def connected(self, link: str, reason: str) -> None:
        self.room.connected(link, reason)
        self.metrics.tally.connected(link, reason)

    def take(self, link: str, record: Any) -> None:
        self.room.take(link, record)
        self.metrics.tally.take(link, record)
        self.boots.take(link, record)

    def samples(self) -> dict[tuple[str, ...], float]:
        """Return each sample by its name and the values of its labels, in the order of their names."""
        self.room.publish()
        found = {}
        for family in text_string_to_metric_families(self.metrics.text().decode()):
            for sample in family.samples:
                labels = [value for _, value in sorted(sample.labels.items())]
                found[sample.name, *labels] = sample.value
        return found


def boot(played: Played, number: int, began: float, seconds: float) -> None:
    """Play a boot that comes to userland after so many seconds."""
    for at, stage in ((0.0, "kernel"), (9.0, "swap"), (seconds, "userland")):
        played.take(A, Event(1, began + at, mac_of(number), stage, "", {"uptime": at}))


def test_seats_are_counted_by_state_and_by_stage() -> None:
    played = Played()
    played.begin(A, "school", *a_room(20, NOW))
    found = played.samples()
    assert found["netboot_seat_states", "school", "running"] == 6
    assert found["netboot_seat_states", "school", "lost"] == 2
    assert found["netboot_seats", "school", "userland"] == 6
    assert sum(value for key, value in found.items() if key[0] == "netboot_seat_states") == 20


def test_a_server_that_is_away_tells_only_that() -> None:
    played = Played()
    played.begin(A, "school", *a_room(20, NOW))
    played.connected(A, "the connection broke")
    found = played.samples()
    assert found["netboot_feed_connected", "school"] == 0
    assert found["netboot_feed_interruptions_total", "school"] == 1
    assert ("netboot_pages_connections", "school") not in found
    assert ("netboot_seat_states", "school", "running") not in found


def test_rates_of_each_second_become_totals() -> None:
    played = Played()
    played.begin(A, "school")
    for second in (1, 2, 3, 60, 50):  # the panel was away for a while; a clock was set back
        played.take(A, figures(NOW + second, read_rate=10.0, write_rate=0.0))
    found = played.samples()
    assert found["netboot_pages_bytes_total", "read", "school"] == 80
    assert found["netboot_pages_bytes_total", "written", "school"] == 0
    assert found["netboot_server_cpu_seconds_total", "school"] == 2.0


def test_totals_of_servers_are_theirs_and_have_a_label() -> None:
    played = Played()
    played.begin(A, "school")
    found = played.samples()
    for key, value in {
        ("netboot_pages_requests_total", "read", "school"): 7000,
        ("netboot_pages_requests_total", "trim", "school"): 100,
        ("netboot_pages_delayed_seconds_total", "rate", "school"): 20.0,
        ("netboot_tftp_transfers", "school", "sending"): 4,
        ("netboot_tftp_transfers_ended_total", "broken", "school"): 1,
        ("netboot_http_sent_bytes_total", "school"): 5 << 30,
        ("netboot_http_downloads", "school"): 2,
        ("netboot_worker_cpu_seconds_total", "school"): 40.0,
        ("netboot_mirrors", "school", "degraded"): 2,
    }.items():
        assert found[key] == value
    played.take(A, figures(NOW + 1, requests={"read": 1}))
    assert played.samples()["netboot_pages_requests_total", "read", "school"] == 1, (
        "it started anew"
    )


def test_latency_is_a_histogram_in_seconds() -> None:
    played = Played()
    played.begin(A, "school")
    played.take(A, figures(NOW + 1, latency=(1, 0, 2, 1)))
    found = played.samples()
    assert found["netboot_pages_request_seconds_bucket", "4e-06", "school"] == 3
    assert found["netboot_pages_request_seconds_bucket", "+Inf", "school"] == 4
    assert found["netboot_pages_request_seconds_count", "school"] == 4


def test_boots_are_counted_once_with_the_seconds_of_their_stages() -> None:
    played = Played()
    played.begin(A, "school")
    boot(played, 1, NOW - 500, 40.0)
    assert ("netboot_boots_total", "running", "school") not in played.samples(), "of before"
    boot(played, 1, NOW, 40.0)
    boot(played, 2, NOW, 20.0)
    boot(played, 2, NOW, 20.0)
    found = played.samples()
    assert found["netboot_boots_total", "running", "school"] == 2
    assert found["netboot_boot_stage_seconds_sum", "school", "userland"] == 60
    assert found["netboot_boot_stage_seconds_sum", "school", "swap"] == 18
    assert found["netboot_boot_stage_seconds_bucket", "20.0", "school", "userland"] == 1


def test_a_boot_that_fails_and_one_that_begins_again_are_counted() -> None:
    played = Played()
    played.begin(A, "school")
    for at, stage in ((0.0, "kernel"), (60.0, "kernel"), (65.0, "failed:network")):
        played.take(A, Event(1, NOW + at, mac_of(1), stage, ""))
    found = played.samples()
    assert found["netboot_boots_total", "unfinished", "school"] == 1
    assert found["netboot_boots_total", "failed", "school"] == 1


def test_attachments_of_lost_swap_are_counted() -> None:
    played = Played()
    played.begin(A, "school", a_seat(1, NOW))
    for number in (1, 2):
        played.take(A, Event(number, NOW, mac_of(1), "agent:reattached", ""))
    assert played.samples()["netboot_seat_reattached_total", "school"] == 2


def test_memory_of_seats_is_a_sum_and_the_worst_of_them_unless_each_is_asked_for() -> None:
    rows = [
        replace(a_seat(each, NOW), report=a_report(NOW, used=each, some=each)) for each in (1, 40)
    ]
    played = Played()
    played.begin(A, "school", *rows, a_seat(3, NOW, "off"))
    found = played.samples()
    assert found["netboot_seat_swap_used_bytes", "school"] == 41 * MIB
    assert found["netboot_seat_memory_pressure_ratio", "school"] == 0.4
    assert mac_of(1) not in played.metrics.text().decode()
    each = Played(each_seat=True)
    each.begin(A, "school", *rows)
    found = each.samples()
    assert found["netboot_seat_swap_used_bytes", mac_of(40), "pc-040", "school"] == 40 * MIB
    assert found["netboot_seat_memory_pressure_ratio", mac_of(1), "pc-001", "school"] == 0.01


def test_two_servers_of_one_name_are_two_in_all_metrics() -> None:
    played = Played()
    played.begin(A, "school")
    played.begin(B, "school")
    played.take(B, figures(NOW + 1))
    servers = {key[-1] for key in played.samples() if key[0] == "netboot_pages_requests_total"}
    assert servers == {"school", f"school ({B})"}


def test_a_stage_of_another_release_is_no_series_of_its_own() -> None:
    played = Played()
    played.begin(A, "school", *(a_seat(each, NOW, "booting", f"new:{each}") for each in range(9)))
    found = played.samples()
    assert found["netboot_seats", "school", "other"] == 9
    assert len([key for key in found if key[0] == "netboot_seats"]) == 1


def test_text_of_a_stranger_cannot_add_a_line() -> None:
    played = Played(each_seat=True)
    played.begin(A, 'a"\nnetboot_evil 1', replace(a_seat(1, NOW), name='x"} 1\nnetboot_evil 1'))
    assert not any(key[0] == "netboot_evil" for key in played.samples())


def test_a_scrape_of_1000_seats_is_cheap() -> None:
    played = Played()
    played.begin(A, "school", *a_room(1000, NOW))
    played.room.publish()
    began = time.process_time()
    for _ in range(5):
        played.metrics.text()
    assert (time.process_time() - began) / 5 < 0.05, "about 4 ms; a scrape is in the event loop"


# Prometheus' own programs.


def full(*, each_seat: bool) -> Played:
    """Return a room that has each metric."""
    played = Played(each_seat=each_seat)
    played.begin(A, "school", *a_room(60, NOW))
    played.begin(B, "annexe", *(a_seat(200 + each, NOW) for each in range(5)))
    played.take(A, figures(NOW + 1))
    played.take(A, Event(9, NOW, mac_of(1), "agent:reattached", ""))
    boot(played, 99, NOW, 30.0)
    played.connected(B, "the connection broke")
    played.connected(B, "")
    played.room.publish()
    return played


@pytest.mark.system
@pytest.mark.parametrize("each_seat", (False, True))
def test_promtool_finds_nothing_to_say(each_seat: bool) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=full(each_seat=each_seat).metrics.text(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def exported() -> set[str]:
    return {key[0] for each in (False, True) for key in full(each_seat=each).samples()}


def queries() -> list[tuple[str, str]]:
    """Return the title and the expression of each query of the dashboard, and of its variables."""
    board = json.loads(DASHBOARD.read_text())
    found = [
        (each["name"], each["query"]) for each in board["templating"]["list"] if "query" in each
    ]
    for panel in board["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    return [(title, text) for title, text in found if text != "prometheus"]


def test_each_query_of_the_dashboard_names_only_metrics_that_exist() -> None:
    names = exported()
    assert len(queries()) > 20
    for title, query in queries():
        named = set(NAME.findall(query))
        assert named and named <= names, f"{title}: {query}"


def test_each_metric_of_seats_and_servers_is_on_the_dashboard() -> None:
    named = {name for _, query in queries() for name in NAME.findall(query)}
    left = {name for name in exported() if name.startswith("netboot_")} - named
    left = {name for name in left if not name.endswith(("_sum", "_count"))}
    assert left <= {"netboot_panel_build_info", "netboot_seat_io_pressure_ratio"}


def test_the_how_to_names_each_metric_of_seats_and_servers() -> None:
    names = set(NAME.findall((ROOT / "docs/howto/metrics.md").read_text()))
    bare = {re.sub("_(bucket|sum|count)$", "", name) for name in exported()}
    assert names <= bare
    assert {each for each in bare if each.startswith("netboot_")} - names <= {
        "netboot_panel_build_info"
    }


def test_the_dashboard_has_unique_panels_with_units_and_one_data_source() -> None:
    board = json.loads(DASHBOARD.read_text())
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["fieldConfig"]["defaults"]["unit"] and panel["description"]
    places = [
        (place["x"] + dx, place["y"] + dy)
        for place in (panel["gridPos"] for panel in board["panels"])
        for dx in range(place["w"])
        for dy in range(place["h"])
    ]
    assert len(places) == len(set(places)) and max(x for x, _ in places) < 24


@contextmanager
def scraped(played: Played) -> Iterator[int]:
    """Serve the metrics on a free port of loopback. Figures go on for each scrape."""
    second = 1.0

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal second
            second += 1
            played.take(A, figures(NOW + second))
            played.room.publish()
            content = played.metrics.text()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(port: int, path: str, **words: str) -> Any:
    query = urllib.parse.urlencode(words)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}?{query}", timeout=5) as answer:
        return json.load(answer)["data"]


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[int]:
    """Run Debian's Prometheus on loopback; it scrapes ``target`` each second."""
    port = free_port()
    job = {"job_name": "netboot", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    words = [
        *("prometheus", f"--config.file={folder}/prometheus.yml"),
        *(f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(words, cwd=folder, stdout=log, stderr=log) as process,
    ):
        try:
            yield port
        finally:
            process.terminate()


@pytest.mark.system
def test_promtool_takes_the_rules_of_the_how_to(tmp_path: Path) -> None:
    blocks = (ROOT / "docs/howto/metrics.md").read_text().split("```yaml\n")[1:]
    scrape, rules = (block.split("```")[0] for block in blocks)
    for name, content, kind in (("a.yml", scrape, "config"), ("b.yml", rules, "rules")):
        (tmp_path / name).write_text(content)
        words = ["promtool", "check", kind, str(tmp_path / name)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert set(NAME.findall(rules)) <= exported()


@pytest.mark.system
def test_prometheus_scrapes_a_played_room_and_answers_each_query(tmp_path: Path) -> None:
    played = full(each_seat=True)
    with scraped(played) as target, prometheus(tmp_path, target) as port:
        deadline = time.monotonic() + 100
        up: list[Any] = []
        while not up and time.monotonic() < deadline:
            try:
                words = {"query": "count_over_time(up[1m]) >= 4"}
                up = ask(port, "/api/v1/query", **words)["result"]
            except OSError:
                pass
            time.sleep(0.25)
        assert up, (tmp_path / "log").read_text()[-2000:]
        (found,) = ask(port, "/api/v1/targets")["activeTargets"]
        assert found["health"] == "up" and found["lastError"] == ""
        silent = []
        for title, query in queries():
            if query.startswith("label_values"):
                continue
            for variable, value in (
                ("$server", ".*"),
                ("$seat", ".*"),
                ("$__rate_interval", "10s"),
            ):
                query = query.replace(variable, value)
            if not ask(port, "/api/v1/query", query=query)["result"]:
                silent.append(f"{title}: {query}")
        assert silent == []
        assert isinstance(figures(NOW), ServerRow)
