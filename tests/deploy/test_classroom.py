"""`fab classroom.*` over real SSH, with recorded listings of firmware and a scratch GRUB.

A namespace has no boot variables and no boot loader of its own.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netboot.boot import ticket
from netboot.host.wake import magic_packet
from netboot.profile import file as profile_file
from tests import ROOT
from tests.deploy.rig import FAB, HERE, Lan, Pc
from tests.support.command import SERVE

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

DATA = Path(__file__).parent / "data"
MACS = {4: "52:54:00:78:00:16", 5: "52:54:00:77:00:02", 6: "52:54:00:77:00:03"}
# A card as sysfs shows it; "driver" is a link to the driver's folder.
HARDWARE = """set -e
mount -t tmpfs tmpfs /sys
card=/sys/class/net/enp1s0
mkdir -p $card/device /sys/bus/{driver}
echo {mac} > $card/address; echo 1 > $card/carrier
echo 0x020000 > $card/device/class
echo 0x8086 > $card/device/vendor; echo 0x100e > $card/device/device
ln -s /sys/bus/{driver} $card/device/driver
{more}"""
UEFI = """mkdir -p /sys/firmware/efi
cat > /usr/local/bin/efibootmgr <<'EOF'
#!/bin/sh
[ "$1" = -v ] && cat /var/lib/efi || echo "$@" >> /var/lib/efi.calls
EOF
chmod +x /usr/local/bin/efibootmgr"""
GRUB = """mkdir -p /boot/grub; echo 'set timeout=3' > /boot/grub/custom.cfg
for name in grub-probe grub-reboot grub-editenv; do
cat > /usr/local/bin/$name <<'EOF'
#!/bin/sh
case "$*" in *fs*) echo ext2 ;; *abstraction*) ;; *) echo "${0##*/} $*" >> /var/lib/grub.calls ;; esac
EOF
chmod +x /usr/local/bin/$name
done"""


@pytest.fixture(scope="module")
def secret(lan: Lan, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """Return the secret of a real server on the LAN, where seats report."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "room.yaml").write_text("swap: {capacity: 64MiB}\ninterface: br0\n")
    command = [
        sys.executable,
        "-m",
        *SERVE,
        "--state",
        str(folder),
    ]
    command += ["--profile", str(folder / "room.yaml"), "--images", str(images)]
    with subprocess.Popen(lan.command(*command), cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and b"ready" in server.stdout.readline()
        threading.Thread(target=server.stdout.read, daemon=True).start()
        yield (folder / "secret").read_bytes()
        server.terminate()


@pytest.fixture(scope="module")
def pcs(downloads: None, lan: Lan, secret: bytes) -> dict[int, Pc]:
    """Switch on a UEFI and a BIOS PC that return after a reboot, and one that does not."""
    found = {}
    for number, mac in MACS.items():
        pc = found[number] = lan.add(number)
        more, driver = (UEFI, "e1000") if number == 4 else (GRUB, "e1000")
        pc.run(HARDWARE.format(mac=mac, driver=driver, more=more))
        session = ticket.begin(secret, mac, b"nonce!", time.time())
        url = f"http://{HERE}:8080/beacon/{session}/userland"
        back = f"import urllib.request as u; u.urlopen('{url}', b'back')"
        script = f'/usr/bin/python3 -c "{back}"' if number != 6 else "true"
        pc.path("/usr/local/bin/reboot").write_text(f"#!/bin/sh\n{script}\n")
        pc.run("chmod +x /usr/local/bin/reboot")
    (found[4].path("/var/lib/efi")).write_bytes((DATA / "efibootmgr-17-ovmf.txt").read_bytes())
    return found


@pytest.fixture
def room(tmp_path: Path, images: Path) -> Path:
    """Write a profile, and a CSV as a teacher writes it."""
    rows = [f"row1-{n},{mac},192.168.78.1{n}" for n, mac in MACS.items()]
    (tmp_path / "room.csv").write_text("\n".join(["seat,mac,address", *rows, ""]))
    manifest = json.loads((images / "manifest.json").read_text())
    parts = {"amd64": {"modules": ["e1000", "nbd"]}}
    (images / "manifest.json").write_text(json.dumps({**manifest, "processors": parts}))
    (tmp_path / "room.yaml").write_text("# ours\nswap: {size: 1x}\n")
    return tmp_path


def test_adopt_writes_seats_and_says_what_will_not_work(
    lan: Lan, pcs: dict[int, Pc], room: Path, images: Path
) -> None:
    pcs[6].run("echo vendor: none > /mnt/cpu; mount --bind /mnt/cpu /proc/cpuinfo")
    words = ["--csv", str(room / "room.csv"), "--profile", str(room / "room.yaml")]
    with (room / "room.csv").open("a") as csv:
        csv.write("row1-7,52:54:00:77:00:07,192.168.78.17\n")
    status, text = lan.fab("classroom.adopt", *words, "--images", str(images))
    pcs[6].run("umount /proc/cpuinfo")
    assert status == 1 and "2 of 4 failed" in text, text
    assert re.search(r"row1-6 .*add i386 to boot.architectures", text)
    assert re.search(r"row1-7 .*does not answer", text)
    profile = profile_file.load(room / "room.yaml")
    assert [(mac, str(seat.address)) for mac, seat in profile.clients.items()] == [
        (MACS[4], "192.168.78.14"),
        (MACS[5], "192.168.78.15"),
    ]
    assert profile.seat_of(MACS[4]).hostname == "row1-4"
    assert (room / "room.yaml").read_text().startswith("# ours\nswap: {size: 1x}\n")


def test_netboot_reboots_in_waves_and_stops_when_too_many_fail(
    lan: Lan, pcs: dict[int, Pc], room: Path
) -> None:
    lines = (room / "room.csv").read_text().splitlines()
    (room / "room.csv").write_text("\n".join([lines[0], lines[3], lines[1], lines[2], ""]))
    words = ["--csv", str(room / "room.csv"), "--profile", str(room / "room.yaml")]
    words += ["--server", f"{HERE}:8080", "--wave", "1", "--failures", "0", "--timeout", "4"]
    status, text = lan.fab("classroom.netboot", *words)
    assert status == 1, text
    assert re.search(r"row1-6 .*no userland after 4 s; last: no request from it", text)
    assert len(re.findall("not touched: too many failures before", text)) == 2
    assert not pcs[4].path("/var/lib/efi.calls").exists()


def test_uefi_and_bios_are_turned_to_the_network_and_back(
    lan: Lan, pcs: dict[int, Pc], room: Path
) -> None:
    lines = (room / "room.csv").read_text().splitlines()
    (room / "room.csv").write_text("\n".join([*lines[:3], ""]))
    words = ["--csv", str(room / "room.csv"), "--profile", str(room / "room.yaml")]
    server = ["--server", f"{HERE}:8080", "--timeout", "15"]
    pcs[5].run("rm -f /var/lib/grub.calls")
    status, text = lan.fab("classroom.netboot", *words, *server, "--dry-run")
    assert status == 0 and "efibootmgr --quiet --bootnext 0003" in text, text
    assert not pcs[4].path("/var/lib/efi.calls").exists()
    assert pcs[5].path("/boot/grub/custom.cfg").read_text() == "set timeout=3\n"

    status, text = lan.fab("classroom.netboot", *words, *server, "--always")
    assert status == 0, text
    assert re.search(r"row1-4 .*UEFI: UEFI PXEv4 .*, in userland", text)
    assert re.search(r"row1-5 .*BIOS: GRUB loads iPXE, in userland", text)
    calls = pcs[4].path("/var/lib/efi.calls")
    assert calls.read_text() == "--quiet --bootorder 0003,0001,0000,0002,0004,0005,0006,0007\n"
    custom = pcs[5].path("/boot/grub/custom.cfg").read_text()
    assert custom.startswith("set timeout=3\n# netboot begins") and "set default=netboot" in custom
    loader = pcs[5].path("/boot/grub/netboot-ipxe.lkrn")
    assert loader.read_bytes()[0x202:0x206] == b"HdrS", "something that linux16 loads"

    listing = pcs[4].path("/var/lib/efi")
    listing.write_text(
        re.sub(
            "^BootOrder: .*",
            "BootOrder: 0003,0001,0000,0002,0004,0005,0006,0007",
            listing.read_text(),
            flags=re.MULTILINE,
        )
    )
    calls.unlink()
    status, text = lan.fab("classroom.restore", *words)
    assert status == 0, text
    assert calls.read_text() == "--quiet --bootorder 0001,0000,0002,0003,0004,0005,0006,0007\n"
    assert pcs[5].path("/boot/grub/custom.cfg").read_text() == "set timeout=3\n"
    assert not loader.exists()
    assert "grubenv unset next_entry" in pcs[5].path("/var/lib/grub.calls").read_text()
    status, text = lan.fab("classroom.restore", *words)
    assert status == 0 and text.count("nothing to undo") == 2, text


def test_reboot_and_poweroff_tell_each(lan: Lan, pcs: dict[int, Pc], room: Path) -> None:
    for pc in pcs.values():
        pc.path("/usr/local/bin/poweroff").write_text("#!/bin/sh\ntouch /var/lib/off\n")
        pc.run("chmod +x /usr/local/bin/poweroff")
    status, text = lan.fab("classroom.poweroff", "--csv", str(room / "room.csv"))
    assert status == 0 and text.count(" told\n") == 3, text
    for pc in pcs.values():
        pc.run("until [ -e /var/lib/off ]; do sleep 0.1; done")


def test_ctrl_c_ends_it_though_a_pc_is_waited_for(lan: Lan, pcs: dict[int, Pc], room: Path) -> None:
    words = ["classroom.netboot", "-H", f"root@{pcs[6].address}", "--server", f"{HERE}:8080"]
    words += ["--key", str(lan.key), "--known-hosts", str(lan.known_hosts)]
    words += ["--profile", str(room / "room.yaml")]
    # A test run in the background ignores SIGINT, and its children would inherit that.
    command = lan.command("env", "--default-signal=INT", *FAB, *words)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as fab:
        assert fab.stderr is not None
        assert any("BIOS: GRUB loads iPXE, rebooting" in line for line in fab.stderr)
        fab.send_signal(signal.SIGINT)
        _, said = fab.communicate(timeout=60)
    assert (fab.returncode, said) == (
        130,
        "interrupted; work that has begun on a machine goes on there\n",
    )
    status, text = lan.fab("classroom.restore", *words[1:3], *words[-2:])
    assert status == 0 and "GRUB's entry removed" in text, text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("netboot", "--wave", "no"), "--wave: expected a number of 1 or more, found 'no'"),
        (("reboot", "--wave", "0"), "--wave: expected a number of 1 or more, found '0'"),
        (("restore", "--csv", "nosuch.csv"), "nosuch.csv: cannot be read: No such file"),
        (
            ("wake", "--csv", "room.xlsx"),
            "room.xlsx: expected CSV, found a spreadsheet (.xlsx or .ods)",
        ),
        (("adopt", "--profile", "no.yaml"), "no.yaml: there is no such profile"),
        (("adopt", "-H", "pc", "--images", "."), "--images: . has no images"),
        (("adopt",), "no PCs given; use --csv FILE, -H ADDRESSES, or clients in the profile"),
    ],
)
def test_what_is_typed_wrong_is_a_line_and_status_2(
    room: Path, words: tuple[str, ...], complaint: str
) -> None:
    (room / "room.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    task, *rest = words
    if "--profile" not in rest:
        rest += ["--profile", "room.yaml"]
    if task == "adopt" and "--images" not in rest:
        rest += ["--images", str(room)]
    command = [*FAB, "--search-root", str(ROOT), f"classroom.{task}", *rest]
    done = subprocess.run(command, cwd=room, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and complaint in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_wake_sends_each_pc_its_packet(lan: Lan, room: Path) -> None:
    listen = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 9)); "
        "print('ready', flush=True); print(*{s.recv(200).hex() for _ in range(9)})"
    )
    with subprocess.Popen(
        lan.command(sys.executable, "-c", listen), stdout=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stdout is not None and listener.stdout.readline() == "ready\n"
        words = ("--csv", str(room / "room.csv"), "--broadcast", "192.168.78.255")
        done = lan.fab("classroom.wake", *words, keys=False)
        heard = set(listener.stdout.readline().split())
    assert done[0] == 0, done[1]
    assert heard == {magic_packet(mac).hex() for mac in MACS.values()}


def test_the_list_of_tasks_reads_as_a_manual(lan: Lan) -> None:
    status, text = lan.fab("--list", keys=False)
    assert status == 0
    tasks = [line for line in text.splitlines() if line.startswith("  ")]
    assert len(tasks) == 10 and all(re.fullmatch(r"  \S+ {2,}[A-Z].*\.", line) for line in tasks)
