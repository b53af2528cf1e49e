"""A PC that is switched off says so, and never waits for its server."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.shell import BEFORE, INITRAMFS, Lib

UNITS = INITRAMFS / "systemd"
OFF = UNITS / "netboot-off@.service"
TARGETS = ["poweroff", "reboot", "halt", "kexec"]
SYSTEM_UNITS = Path("/lib/systemd/system")


@pytest.mark.parametrize(
    ("word", "url", "body"),
    [
        ("poweroff", "/beacon/abc/off?", "poweroff: the system ends how=poweroff"),
        ("reboot", "/beacon/abc/off?", "reboot: the system ends how=reboot"),
        ("", "/beacon/abc/off?", "shutdown: the system ends"),
    ],
)
def test_the_report_says_what_comes(lib: Lib, word: str, url: str, body: str) -> None:
    lib.run(f"{BEFORE}online=yes\nreport_off {word}")
    (posted,) = lib.posted()
    assert url in posted and posted.rstrip().endswith(body)


def test_a_server_that_is_away_is_no_failure(lib: Lib) -> None:
    (lib.folder / "down").touch()
    assert lib.run(f"{BEFORE}online=yes\nreport_off reboot; echo $?") == "0\n"


def test_the_unit_is_bounded_and_starts_with_the_shutdown() -> None:
    text = OFF.read_text()
    assert "TimeoutStartSec=1500ms" in text and "KillSignal=SIGKILL" in text
    assert "DefaultDependencies=no" in text and "Before=shutdown.target" in text
    assert "ExecStart=-" in text, "a report that fails is no failed unit"
    # An instance's own slice conflicts with the shutdown.
    assert "Slice=system.slice" in text
    for target in TARGETS:
        (wants,) = (UNITS / f"{target}.target.d").iterdir()
        assert wants.read_text() == f"[Unit]\nWants=netboot-off@{target}.service\n"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
@pytest.mark.parametrize("target", TARGETS)
def test_systemd_knows_the_keys_of_the_units(target: str) -> None:
    analyze = ["systemd-analyze", "verify", "--man=no", f"{target}.target"]
    path = f"{UNITS}:{SYSTEM_UNITS}"
    done = subprocess.run(
        analyze,
        env={**os.environ, "SYSTEMD_UNIT_PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "netboot" in line]
    assert (done.returncode, told) == (0, [])


@pytest.mark.parametrize("hangs", [False, True])
def test_busybox_goes_on_although_the_server_hangs(lib: Lib, tmp_path: Path, hangs: bool) -> None:
    program = tmp_path / "off"
    text = (INITRAMFS / "busybox/etc/off").read_text()
    library = tmp_path / "netboot.sh"
    said = tmp_path / "said"
    library.write_text(
        "load_conf() { :; }\n"
        f"report_off() {{ {'exec sleep 600' if hangs else 'echo off'} >{said}; }}\n"
    )
    text = text.replace("/etc/netboot.sh", str(library)).replace("/bin:/sbin", "$PATH")
    program.write_text(text)
    began = time.monotonic()
    subprocess.run([*lib.shell, program], check=False, timeout=60, stderr=subprocess.DEVNULL)
    assert not hangs or time.monotonic() - began > 1.2
    assert said.read_text() == ("" if hangs else "off\n")
    assert "::shutdown:/etc/off" in (INITRAMFS / "busybox/etc/inittab").read_text()
