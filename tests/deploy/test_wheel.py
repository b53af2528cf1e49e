"""The wheel has all data files and equal bytes each time; the unit is as tight as documented."""

import asyncio
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer

from netboot import __version__
from netboot.cli.main import app
from netboot.deploy import bundle, layout, service
from netboot.host import notify

pytestmark = pytest.mark.system

MOST_BYTES = 1_250_000  # of the wheel without the panel's page (docs/measurements/weight.md)
PAGE = "netboot/panel/static/"
ZIP_HEADS = 30 + 46  # bytes for each file, in its place and in the list at the end (APPNOTE 4.3)
EXPOSURE = 1.6  # of systemd-analyze security, at most
# The rows that add to it; docs/howto/deploy.md explains each.
EXPOSED = {"PrivateNetwork", "RestrictAddressFamilies", "IPAddressDeny"}
EXPOSED |= {"PrivateUsers", "CapabilityBoundingSet", "AmbientCapabilities", "RemoveIPC"}
EXPOSED |= {"DeviceAllow", "RootDirectoryOrRootImage"}


def _files(folder: str) -> set[str]:
    root = bundle.CHECKOUT
    return {str(path.relative_to(root)) for path in (root / folder).rglob("*") if path.is_file()}


def _weight(wheel: Path) -> int:
    """Return the bytes of a wheel without the panel's page, as it would be packed without it."""
    page = [row for row in zipfile.ZipFile(wheel).infolist() if row.filename.startswith(PAGE)]
    return wheel.stat().st_size - sum(
        row.compress_size + ZIP_HEADS + 2 * len(row.filename) for row in page
    )


def test_the_wheel_has_every_file_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    wheels = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        wheels.append(bundle.wheel(tmp_path / name))
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    assert wheels[0].name.startswith(f"netboot_classroom-{__version__}-")
    names = zipfile.ZipFile(wheels[0]).namelist()
    data = {name.partition(".data/data/share/netboot/")[2] for name in names} - {""}
    folders = _files("initramfs") | _files("profiles") | _files("rootfs")
    assert data == folders | {"tools/strip-secrets"}
    assert any(name.endswith(".data/data/share/man/man1/netboot.1") for name in names)
    assert _weight(wheels[0]) < MOST_BYTES, "see what is new in it, and whether it belongs there"
    modules = {name for name in names if name.startswith("netboot/")}
    assert modules == {name for name in _files("netboot") if "__pycache__" not in name}


@pytest.mark.timeout(180)
def test_pipx_installs_command_manual_and_completion(tmp_path: Path) -> None:
    wheel = bundle.wheel(tmp_path)
    folders = {"PIPX_HOME": "home", "PIPX_BIN_DIR": "bin", "PIPX_MAN_DIR": "man"}
    environment = {**os.environ, **{name: str(tmp_path / it) for name, it in folders.items()}}
    # Hashes in a constraint file make pip ask for the hash of all, of our own wheel too.
    constraint = f"--constraint {bundle.CHECKOUT / 'requirements.lock'}"
    hashed = f"{wheel.as_uri()}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    command = [sys.executable, "-m", "pipx", "install", "--pip-args", constraint, hashed]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "man/man1/netboot.1").exists()
    asked = {"_NETBOOT_COMPLETE": "complete_bash", "COMP_WORDS": "netboot sta", "COMP_CWORD": "1"}
    netboot = [str(tmp_path / "bin/netboot")]
    done = subprocess.run(
        netboot, check=True, env={**environment, **asked}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["status"]
    # Outside the checkout: the packed profile.
    done = subprocess.run(
        [*netboot, "check", "--profile", "lab.yaml"],
        check=True,
        cwd="/",
        capture_output=True,
        text=True,
    )
    profile = next((tmp_path / "home").rglob("share/netboot/profiles/lab.yaml"))
    assert done.stderr == f"netboot: profile {profile}\n"


@pytest.mark.root
@pytest.mark.nightly
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_an_installed_wheel_builds_a_root_image(tmp_path: Path) -> None:
    """What a root image is made of is in the wheel; pip and its hashes make the environment."""
    wheel, python = bundle.wheel(tmp_path), tmp_path / "environment/bin/python"
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    lock = bundle.CHECKOUT / "requirements.lock"
    for words in (["--require-hashes", "-r", str(lock)], ["--no-deps", str(wheel)]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *words], check=True)
    netboot = [str(python), "-P", "-m", "netboot", "image"]
    roots = ["--roots", str(tmp_path / "roots"), "--json"]
    subprocess.run([*netboot, "build", "none", *roots], check=True, cwd="/", capture_output=True)
    listed = subprocess.run(
        [*netboot, "list", *roots], check=True, cwd="/", capture_output=True, text=True
    )
    assert [each["name"] for each in json.loads(listed.stdout)] == ["none"]


def test_equal_contents_have_the_same_name(tmp_path: Path) -> None:
    """The name decides whether a server needs a new release."""
    names = []
    for text in ("x", "x", "y"):
        (tmp_path / "a").write_text(text)
        names.append(bundle.name_of({"a": tmp_path / "a"}))
    assert names[0] == names[1] != names[2]


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    unit = tmp_path / "netboot.service"
    unit.write_text(layout.unit([Path("/srv/pages")]))
    analyze = ["systemd-analyze", "security", "--offline=yes", "--no-pager"]
    done = subprocess.run([*analyze, str(unit)], capture_output=True, text=True, check=True)
    score = re.search(r"exposure level for netboot.service: ([\d.]+)", done.stdout)
    assert score is not None and float(score[1]) <= EXPOSURE, done.stdout
    rows = subprocess.run([*analyze, "--json=short", str(unit)], capture_output=True, check=True)
    exposed = [row["json_field"] for row in json.loads(rows.stdout) if row["exposure"]]
    assert {name.partition("_")[0] for name in exposed} == EXPOSED
    page = (bundle.CHECKOUT / "docs/howto/deploy.md").read_text()
    for name in EXPOSED:
        assert f"`{name.removesuffix('OrRootImage')}`" in page
    assert "ReadWritePaths=/srv/pages\n" in unit.read_text()


def test_a_release_that_reads_the_boot_id_below_proc_gets_all_of_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "RELEASES", tmp_path)
    module = tmp_path / "new/venv/lib/python3.11/site-packages/netboot/host/boot.py"
    module.parent.mkdir(parents=True)
    module.touch()
    assert not service._needs_whole_proc("new") and service._needs_whole_proc("0.2.0")
    narrow, whole = layout.unit(), layout.unit(whole_proc=True)
    assert set(narrow.splitlines()) - set(whole.splitlines()) == {
        "ProcSubset=pid",
        "Environment=NETBOOT_BOOT_ID=%b",
    }


def test_systemd_hears_that_the_server_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify.ready()
        assert systemd.recv(100) == b"READY=1"


def test_systemd_hears_how_the_room_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(notify, "STATUS_SECONDS", 0.01)
    told = iter(["1 seat: 1 running", "1 seat: 1 running", "2 seats:\nREADY=1", "end"])

    async def run() -> None:
        asked = asyncio.Event()

        def text() -> str:
            found = next(told, "end")
            if found == "end":
                asked.set()
            return found

        notify.keep_status(text)
        await asyncio.wait_for(asked.wait(), 60)
        await asyncio.sleep(0.1)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        asyncio.run(run())
        lines = [systemd.recv(100) for _ in range(3)]
    assert lines == [b"STATUS=1 seat: 1 running", b"STATUS=2 seats: READY=1", b"STATUS=end"]


def test_the_manual_page_has_every_verb() -> None:
    page = (bundle.CHECKOUT / "docs/netboot.1").read_text()
    commands = typer.main.get_group(app).commands
    verbs = [name for name, command in commands.items() if not command.hidden]
    found = re.findall(r"^\.TP\n\.B ((?:\w|\\-)+)(?: \\fI\w+\\fR)?$", page, re.MULTILINE)
    assert sorted(name.replace("\\-", "-") for name in found) == sorted(verbs)


@pytest.mark.parametrize(("has_hashes", "modes"), [(False, (0o644, 0o644)), (True, (0o600, 0o640))])
def test_an_installed_profile_with_hashes_is_not_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_hashes: bool, modes: tuple[int, int]
) -> None:
    source, installed = tmp_path / "release.yaml", tmp_path / "profile.yaml"
    source.write_text("swap: {size: 1GiB}\n")
    source.chmod(0o644)
    monkeypatch.setattr(layout, "PROFILE", installed)
    service._put_profile(source, os.getgid(), has_hashes=has_hashes)
    assert installed.read_text() == source.read_text()
    assert (source.stat().st_mode & 0o777, installed.stat().st_mode & 0o777) == modes
