"""Old PCs with a Debian on disk become diskless seats over `fab`, and get their disks back."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from netboot.profile import file as profile_file
from tests import ROOT
from tests.deploy.disk import Disk, OldPc
from tests.deploy.rig import HERE, NETWORK, Lan
from tests.support.kept import forget_pages

pytestmark = [pytest.mark.root, pytest.mark.vm, pytest.mark.nightly, pytest.mark.timeout(900)]

NETBOOT = (sys.executable, "-m", "netboot")
PROFILE = f"""interface: br0
dhcp: {{mode: full, range: {NETWORK}.100-{NETWORK}.120}}
swap: {{capacity: 2GiB}}
boot: {{arguments: console=ttyS0 no_timer_check}}
"""
# `fab` may change the boot order, and must restore it. The firmware writes the rest.
BOOT = """cd /boot; find . -type f -print0 | sort -z | xargs -0 sha256sum
efibootmgr 2>/dev/null | grep ^BootOrder || true"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the whole `netboot build`."""
    folder = tmp_path_factory.mktemp("built")
    command = [*NETBOOT, "build", "-p", "profiles/lab.yaml", "-o", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


@contextmanager
def serving(lan: Lan, profile: Path, images: Path) -> Iterator[None]:
    """Start a server on the LAN."""
    command = [
        *NETBOOT,
        "serve",
        "--json",
        "--set",
        "http.panel=off",
        "--profile",
        str(profile),
        "--images",
        str(images),
    ]
    command += ["--state", str(profile.parent / "state")]
    with subprocess.Popen(lan.command(*command), cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and b"ready" in server.stdout.readline()
        threading.Thread(target=server.stdout.read, daemon=True).start()
        try:
            yield
        finally:
            server.terminate()
            server.wait()
            forget_pages(profile.parent / "state")


def stages(lan: Lan) -> dict[str, list[str]]:
    """Return the stages that each seat has reported, by MAC."""
    asked = lan.command(*NETBOOT, "status", "--json")
    done = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True)
    seats: list[dict[str, Any]] = json.loads(done.stdout)["seats"]
    return {seat["mac"]: [event["stage"] for event in seat["events"]] for seat in seats}


def test_pcs_with_disks_become_seats_and_go_back(
    downloads: None, lan: Lan, disk: Disk, built: Path, tmp_path: Path
) -> None:
    room = tmp_path / "room.yaml"
    room.write_text(PROFILE)
    lan.key = disk.key
    with ExitStack() as stack:
        pcs = [OldPc(lan, disk, 21, "bios"), OldPc(lan, disk, 22, "uefi")]
        for pc in pcs:
            stack.callback(pc.switch_off)
        boots = [pc.wait_for_ssh() for pc in pcs]
        before = [pc.run(BOOT) for pc in pcs]
        rows = [f"old-{number},{pc.mac},{pc.address}" for number, pc in enumerate(pcs, 1)]
        (tmp_path / "room.csv").write_text("\n".join(["seat,mac,address", *rows, ""]))
        csv = ("--csv", str(tmp_path / "room.csv"), "--profile", str(room))
        status, text = lan.fab("classroom.adopt", *csv, "--images", str(built))
        assert status == 0 and f"{room}: 2 new seats" in text, text
        assert re.search(r"old-1 .* MiB, bios, amd64, 1af4:1000 virtio_net", text), text
        assert re.search(r"old-2 .* MiB, uefi, amd64, 1af4:1000 virtio_net", text), text
        assert set(profile_file.load(room).clients) == {pc.mac for pc in pcs}

        stack.enter_context(serving(lan, room, built))
        profile = ("--profile", str(room))
        status, text = lan.fab(
            "classroom.netboot", *profile, "--server", f"{HERE}:8080", "--timeout", "300"
        )
        assert status == 0 and "BIOS: GRUB loads iPXE, in userland" in text, text
        assert "UEFI: UEFI PXEv4" in text
        for pc in pcs:
            told = stages(lan)[pc.mac]
            assert told.index("swap") < told.index("userland")
            assert not pc.answers_ssh()

        order = [*NETBOOT, "order", "reboot", *(pc.mac for pc in pcs)]
        subprocess.run(lan.command(*order, "--state", str(tmp_path / "state")), check=True)
        boots = [pc.wait_for_ssh(boot) for pc, boot in zip(pcs, boots, strict=True)]
        status, text = lan.fab("classroom.restore", *profile)
        assert status == 0 and "BIOS: GRUB's entry removed" in text, text
        assert [pc.run(BOOT) for pc in pcs] == before
        status, text = lan.fab("classroom.reboot", *profile)
        assert status == 0, text
        for pc, boot in zip(pcs, boots, strict=True):
            pc.wait_for_ssh(boot)
        assert [told.count("userland") for told in stages(lan).values()] == [1, 1]
