"""`fab deploy` and its kin, over real SSH to machines without systemd."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netboot.boot import ticket
from tests import ROOT
from tests.deploy.rig import HERE_MAC, Lan, Pc

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

OFF = "192.168.78.12"
TAKEN = 9999  # a port that another program uses


@pytest.fixture(scope="module")
def server(downloads: None, lan: Lan) -> Pc:
    return lan.add(1)


def _profile(folder: Path, text: str) -> str:
    path = folder / "room.yaml"
    path.write_text(f"swap: {{capacity: 64MiB}}\n{text}")
    return str(path)


def _deploy(lan: Lan, images: Path, profile: str, *addresses: object) -> tuple[int, str]:
    hosts = ",".join(f"root@{address}" for address in addresses)
    return lan.fab("deploy", "-H", hosts, "--profile", profile, "--images", str(images))


def _status(pc: Pc) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        pc.run("/opt/netboot/current/venv/bin/python -m netboot service status")
    )
    return found


def test_a_first_deploy_serves_as_a_user_of_its_own(
    lan: Lan, server: Pc, images: Path, tmp_path: Path
) -> None:
    status, text = _deploy(lan, images, _profile(tmp_path, ""), server.address)
    assert status == 0, text
    assert re.search(r"192\.168\.78\.11 +deploy +[\d.]+ +release [0-9a-f]{12} serves\n", text)
    found = _status(server)
    assert found["serves"] and all(each["ok"] for each in found["findings"])  # type: ignore[attr-defined]
    process = server.path(f"/proc/{found['pid']}")
    lines = dict(line.split(":\t") for line in (process / "status").read_text().splitlines())
    owner = server.run("id -u netboot")
    assert lines["Uid"].split() == [owner] * 4 and owner != "0"
    bind_and_raw = f"{1 << 10 | 1 << 13:016x}"
    assert {lines["CapEff"], lines["CapBnd"]} == {bind_and_raw}
    assert lines["NoNewPrivs"] == "1"
    assert (
        server.path("/etc/netboot/profile.yaml").read_text() == (tmp_path / "room.yaml").read_text()
    )


def test_the_installed_wheel_has_the_sources_of_images(server: Pc) -> None:
    """Outside the checkout `netboot build` finds its sources, and `check` the example profile."""
    script = "from netboot.images import resources as r; print(r.folder('initramfs'), r.folder('profiles'))"
    initramfs, profiles = server.run(
        f'cd / && /opt/netboot/current/venv/bin/python -c "{script}"'
    ).split()
    assert "/opt/netboot/" in initramfs
    assert server.path(f"{initramfs}/agent/agent.c").is_file()
    assert server.path(f"{profiles}/lab.yaml").is_file()


def test_nothing_new_changes_nothing(lan: Lan, server: Pc, images: Path, tmp_path: Path) -> None:
    before = _status(server)
    status, text = _deploy(lan, images, _profile(tmp_path, ""), server.address)
    assert status == 0 and "nothing new" in text, text
    assert _status(server)["pid"] == before["pid"]


def test_an_upgrade_keeps_a_seats_swap(lan: Lan, server: Pc, images: Path, tmp_path: Path) -> None:
    before = _status(server)
    secret = server.path("/var/lib/netboot/state/secret").read_bytes()
    words = [str(server.address), ticket.issue(secret, HERE_MAC)]
    with subprocess.Popen(
        lan.command(sys.executable, "-m", "tests.deploy.holder", *words),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as seat:
        assert seat.stdout is not None and seat.stdout.readline() == "attached\n"
        profile = _profile(tmp_path, "boot: {arguments: quiet}\n")
        status, text = _deploy(lan, images, profile, server.address)
        said, _ = seat.communicate("")
    assert status == 0, text
    assert int(said.split()[0]) > 10, "the seat went on reading on the same connection"
    after = _status(server)
    assert (after["pid"], after["previous"]) == (before["pid"], before["release"])
    assert after["release"] != before["release"]


def test_one_that_fails_half_way_goes_back_and_stops_no_other(
    lan: Lan, server: Pc, images: Path, tmp_path: Path
) -> None:
    """Three failures in one run: an upgrade cannot start, a machine is off, a key is strange."""
    impostor = lan.add(3)
    lines = lan.known_hosts.read_text().splitlines()
    stranger = lines[0].split()[-1]  # the first PC's
    lines[-1] = f"{impostor.address} ssh-ed25519 {stranger}"
    lan.known_hosts.write_text("\n".join(lines) + "\n")
    before = _status(server)
    other = server.start(f"exec python3 -m http.server --bind 0.0.0.0 {TAKEN} >/dev/null 2>&1")
    try:
        profile = _profile(tmp_path, f"http: {{port: {TAKEN}}}\n")
        status, text = _deploy(lan, images, profile, server.address, OFF, impostor.address)
    finally:
        other.kill()
        other.wait()
    assert status == 1 and "3 of 3 failed" in text, text
    assert re.search(r"78\.11 .*rolled back to " + str(before["release"]), text)
    assert re.search(r"78\.12 .*does not answer", text)
    assert re.search(r"78\.13 .*host key is not the known one", text)
    assert not impostor.path("/opt/netboot").exists()
    after = _status(server)
    assert after["serves"] and after["release"] == before["release"]
    assert str(TAKEN) not in server.path("/etc/netboot/profile.yaml").read_text()


def test_a_second_deploy_waits_its_turn(lan: Lan, server: Pc, images: Path, tmp_path: Path) -> None:
    """The first one may have been interrupted: it goes on at the server."""
    lock = "exec 9>/run/netboot-deploy.lock; flock 9; echo $$ >/run/first; exec sleep 60"
    first = server.start(lock)
    try:
        server.run("until [ -s /run/first ]; do sleep 0.05; done")
        for text in ("", "boot: {arguments: other}\n"):  # it would activate, and it would install
            status, said = _deploy(lan, images, _profile(tmp_path, text), server.address)
            assert status == 1 and "another deploy runs here" in said, said
    finally:
        server.run("kill $(cat /run/first)")
        first.wait()


def test_a_seat_without_disk_is_told_by_its_server(
    lan: Lan, server: Pc, images: Path, tmp_path: Path
) -> None:
    """One of two seats waits for its order, as the initramfs does; the other is off."""
    macs = ("52:54:00:12:34:56", "52:54:00:12:34:57")
    rows = [f"seat-{n},{mac},192.168.78.20{n}" for n, mac in enumerate(macs)]
    (tmp_path / "room.csv").write_text("\n".join(["seat,mac,address", *rows, ""]))
    secret = server.path("/var/lib/netboot/state/secret").read_bytes()
    session = ticket.begin(secret, macs[0], b"nonce!", time.time())
    url = f"http://{server.address}:8080/orders/{session}"
    wait = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
    with subprocess.Popen(
        lan.command(sys.executable, "-c", wait), stdout=subprocess.PIPE, text=True
    ) as seat:
        words = ("--csv", str(tmp_path / "room.csv"), "--profile", _profile(tmp_path, ""))
        status, text = lan.fab(
            "classroom.reboot", *words, "--via", f"root@{server.address}", "--wave", "2"
        )
        assert seat.communicate(timeout=60)[0] == "reboot\n", text
    assert status == 1 and "1 of 2 failed" in text, text
    assert re.search(r"  seat-0 .* told by the server\n! seat-1 .*does not answer", text), text


def test_a_dry_run_prints_and_changes_nothing(
    lan: Lan, server: Pc, images: Path, tmp_path: Path
) -> None:
    before = _status(server)
    profile = _profile(tmp_path, "boot: {arguments: dry}\n")
    status, text = lan.fab(
        *("deploy", "-H", f"root@{server.address}", "--profile", profile),
        *("--images", str(images), "--dry-run"),
    )
    assert status == 0 and "service activate" in text and "tar -xf" in text, text
    assert _status(server)["release"] == before["release"]
    assert len(os.listdir(server.path("/opt/netboot/releases"))) <= 3


def test_rollback_status_and_uninstall(lan: Lan, server: Pc) -> None:
    before = _status(server)
    where = ("-H", f"root@{server.address}")
    status, text = lan.fab("rollback", *where)
    assert status == 0 and f"release {before['previous']} serves" in text, text
    status, text = lan.fab("status", *where)
    assert status == 0 and f"release {before['previous']} serves" in text, text
    status, text = lan.fab("uninstall", *where)
    assert status == 0 and "uninstalled; /etc/netboot/profile.yaml stays" in text, text
    gone = ("/opt/netboot", "/var/lib/netboot", "/var/log/netboot.log", "/run/netboot.pid")
    assert not any(server.path(path).exists() for path in gone)
    assert (
        server.run(
            "getent passwd netboot netboot-panel || true; pgrep -f '[n]etboot serve' || true"
        )
        == ""
    )
    for task in ("status", "rollback", "uninstall"):
        status, text = lan.fab(task, *where)
        assert status == 1 and "netboot is not installed there; remedy: fab deploy" in text, text
