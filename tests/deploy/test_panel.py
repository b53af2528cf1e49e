"""The panel of a real server on a LAN of its own: its child, and one that follows it over HTTP."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.deploy.rig import Lan

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NETBOOT = [sys.executable, "-P", "-m", "netboot"]
SEATS = {f"52:54:00:12:34:{number:02x}": f"pc-{number:02}" for number in range(1, 13)}
PROFILE = f"""interface: br0
dhcp: {{mode: full, range: 192.168.78.50-192.168.78.60}}
groups: {{front: {{match: '52:54:00:12:34:01'}}}}
clients: {json.dumps({mac: {"hostname": name} for mac, name in SEATS.items()})}
room: {{plan: [[pc-01, '', pc-02], [pc-03]]}}
"""
GET = """
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(sys.argv[1], timeout=5).read().decode())
"""


@contextlib.contextmanager
def started(lan: Lan, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command on the LAN until the end of the test."""
    command = lan.command("env", f"PYTHONPATH={ROOT}", *NETBOOT, *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready" in line:
                break
        else:
            pytest.fail("it has ended; its reason is above")
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=30)


def get(lan: Lan, url: str) -> Any:
    """Return the JSON of a page; None if it does not answer."""
    words = lan.command(sys.executable, "-c", GET, url)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def until(lan: Lan, url: str, is_so: Callable[[Any], object]) -> Any:
    deadline = time.monotonic() + 60
    while (found := get(lan, url)) is None or not is_so(found):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_a_server_shows_its_room_by_itself_and_to_a_panel_elsewhere(
    lan: Lan, images: Path, tmp_path: Path
) -> None:
    (profile := tmp_path / "room.yaml").write_text(PROFILE)
    state, other = tmp_path / "state", tmp_path / "other"
    words = ["serve", "--json", "--state", str(state), "--profile", str(profile)]
    words += ["--images", str(images), "--set", "http.panel=local", "--user", "root"]
    with started(lan, *words):
        room = until(
            lan, "http://127.0.0.1:8081/api/v1/room", lambda room: len(room["seats"]) == 12
        )
        assert [seat["name"] for seat in room["seats"]] == list(SEATS.values())
        assert room["plan"] == [["pc-01", "", "pc-02"], ["pc-03"]]
        assert {seat["state"] for seat in room["seats"]} == {"unknown"}
        assert room["seats"][0]["groups"] == ["front"] and room["servers"][0]["connected"]

        status = lan.command("env", f"PYTHONPATH={ROOT}", *NETBOOT, "status", "--state", str(state))
        table = subprocess.check_output(status, text=True)
        assert "12 seats, 12 unknown" in table and "pc-12" in table

        words = ["panel", "--json", "--server", "192.168.78.250:8080", "--state", str(other)]
        words += ["--listen", "127.0.0.1:8082"]
        with started(lan, *words, "--key", str(state / "panel.key")):
            url = "http://127.0.0.1:8082/api/v1/room"
            again = until(lan, url, lambda room: len(room["seats"]) == 12)
            assert again["servers"][0]["name"] == room["servers"][0]["name"]
            assert again["plan"] == room["plan"]
