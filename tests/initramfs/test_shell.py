"""initramfs/lib.sh: command line, addresses, beacons; run by dash and, if there is one, busybox."""

import contextlib
import http.server
import os
import shlex
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from netboot.boot import cpio
from netboot.images import initramfs
from netboot.pages.nbd.export import Refused
from netboot.profile.roots import BY_NAME
from netboot.serve.http.beacon import parse_beacon
from netboot.serve.leases import Granted, serialize
from tests.support.shell import BEFORE, INITRAMFS, Lib


@pytest.mark.parametrize(
    ("command_line", "value"),
    [
        ("quiet netboot.swap=10.0.0.1:10809/seat-1 ro", "10.0.0.1:10809/seat-1"),
        ("netboot.swap=first netboot.swap=second", "second"),  # the last one has the last word
        ("netboot.swap=a netboot.swap=", ""),  # and may take it back
        ("netboot.swapx=1 xnetboot.swap=2", ""),
        ("", ""),
        ("netboot.swap=a=b=c", "a=b=c"),
        ("netboot.swap=/*", "/*"),  # a pattern is text
    ],
)
def test_argument_is_the_last_of_its_name(lib: Lib, command_line: str, value: str) -> None:
    assert lib.run('argument netboot.swap; echo "<$value>"', command_line) == f"<{value}>\n"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("10.0.0.5", True),
        ("255.255.255.255", True),
        ("0.0.0.0", True),
        ("10.0.0", False),
        ("10.0.0.5.6", False),
        ("10.0.0.256", False),
        ("10.0.0.", False),
        ("10..0.5", False),
        ("10.0.0.0x5", False),
        ("pc-1", False),
        ("", False),
    ],
)
def test_address(lib: Lib, text: str, good: bool) -> None:
    assert lib.run(f"address '{text}' && echo yes || echo no") == ("yes\n" if good else "no\n")


@pytest.mark.parametrize(
    ("netmask", "bits"),
    [
        ("255.255.255.0", "24"),
        ("255.255.240.0", "20"),
        ("255.255.255.252", "30"),
        ("255.255.255.255", "32"),
        ("0.0.0.0", "0"),
        ("255.0.255.0", "no"),
        ("255.128.128.0", "no"),
        ("255.255.253.0", "no"),
        ("24", "no"),
        ("", "no"),
    ],
)
def test_prefix(lib: Lib, netmask: str, bits: str) -> None:
    assert lib.run(f"prefix '{netmask}' && echo $value || echo no") == f"{bits}\n"


@pytest.mark.parametrize(
    ("command_line", "result"),
    [
        (
            "ip=10.0.0.5::10.0.0.1:255.255.255.0:pc-1::off",
            "10.0.0.5/24 via 10.0.0.1 named pc-1",
        ),
        # A room without a router: iPXE's ${gateway} is empty.
        ("ip=10.0.0.5:::255.255.0.0:pc-1::off", "10.0.0.5/16 via  named pc-1"),
        ("ip=10.0.0.5::10.0.0.1:255.255.255.0", "10.0.0.5/24 via 10.0.0.1 named "),
        # iPXE had no address: the settings are empty, and DHCP has to help.
        ("ip=::::pc-1::off", "no, named pc-1"),
        ("ip=10.0.0.5::10.0.0.1::pc-1::off", "no, named pc-1"),
        ("ip=dhcp", "no, named "),
        ("", "no, named "),
    ],
)
def test_static_address(lib: Lib, command_line: str, result: str) -> None:
    text = (
        'if static_address; then echo "$client/$bits via $gateway named $hostname"; '
        'else echo "no, named $hostname"; fi'
    )
    assert lib.run(text, command_line) == result + "\n"


def test_ram_is_what_is_plugged_in(lib: Lib) -> None:
    (lib.folder / "iomem").write_text(
        "00000000-00000fff : Reserved\n"
        "00001000-0009fbff : System RAM\n"
        "000a0000-000bffff : PCI Bus 0000:00\n"
        "00100000-0ffdffff : System RAM\n"
        "  01000000-01ffffff : Kernel code\n"
        "100000000-13fffffff : System RAM\n"
    )
    assert int(lib.run("read_ram; echo $ram")) == 0x9EC00 + 0xFEE0000 + 0x40000000


def test_beacons_wait_for_the_network_and_keep_order_and_time(lib: Lib) -> None:
    lib.run(BEFORE + "beacon init:start '256 MiB' ram_kib=262144")
    lib.uptime("12.31")  # text order would put this before 7.05
    lib.run(BEFORE + "beacon init:hardware eth0; beacon init:more x")
    assert lib.posted() == []
    lib.uptime("13.00")
    lib.run(BEFORE + "online=yes\nbeacon init:network up address=10.0.0.5")
    url = "http://10.0.0.1:8080/beacon/abc"
    assert lib.posted() == [
        f"{url}/init:start?uptime=7.05&sent=13.00 256 MiB ram_kib=262144 ",
        f"{url}/init:hardware?uptime=12.31&sent=13.00 eth0 ",
        f"{url}/init:more?uptime=12.31&sent=13.00 x ",
        f"{url}/init:network?uptime=13.00&sent=13.00 up address=10.0.0.5 ",
    ]
    assert list((lib.folder / "beacons").iterdir()) == []


def test_beacons_can_wait_although_there_is_a_network(lib: Lib) -> None:
    lib.run(BEFORE + "online=later\nbeacon init:network up; beacon init:lease granted")
    assert lib.posted() == []
    lib.run(BEFORE + 'online=later\nfor first in "$queue"/*; do send_beacon "$first"; break; done')
    assert [line.split()[1] for line in lib.posted()] == ["up"]
    lib.run(BEFORE + "online=yes\nbeacon swap on")
    assert [line.split()[1] for line in lib.posted()] == ["up", "granted", "on"]


def test_beacons_survive_a_server_that_is_away(lib: Lib) -> None:
    (lib.folder / "down").touch()
    assert (
        lib.run(BEFORE + "online=yes\nset -e; beacon swap one; beacon swap two; echo on") == "on\n"
    )
    (lib.folder / "down").unlink()
    lib.run(BEFORE + "online=yes\nbeacon swap three")
    assert [line.split()[1] for line in lib.posted()] == ["one", "two", "three"]


def test_a_beacon_that_another_program_sends_meanwhile_delays_no_other(lib: Lib) -> None:
    lib.run(BEFORE + "online=later\nbeacon one 1; beacon two 2; beacon three 3; beacon four 4")
    takes = 'takes() { rm "$queue"/*"_$1_"*; }\n'
    sends = """send_beacon() {
        case $1 in
        *_one_*) takes one && takes two ;;
        *_three_*) takes three && false ;; # taken while it was sent
        *) rm "$1" && echo "${1##*/}" ;;
        esac
    }\n"""
    sent = lib.run(BEFORE + takes + sends + "online=yes\nsend_beacons && echo done")
    assert sent == "100004_four_7.05\ndone\n"
    assert list((lib.folder / "beacons").iterdir()) == []


def test_nothing_is_asked_about_a_beacon_that_is_gone(lib: Lib) -> None:
    """Its length would be no number, which the server calls a malformed request."""
    nc = "nc() { cat >/dev/null; echo called; }\nmkfifo() { echo asked; }\n"
    asks = 'request POST /beacon/abc/one 2 "$queue/100001_one_7.05" || echo no'
    assert lib.run(f"{nc}{BEFORE}users=yes online=yes\n{asks}") == "no\n"


LOG = """\
[    0.00] Command line: BOOT_IMAGE=/boot/abc/vmlinuz netboot.ticket=abc netboot.token=beef quiet
[    0.01] Unknown kernel command line parameters "netboot.ticket=abc", will be passed to user space.
[    1.00] an old line
[    1.50] e1000 0000:00:03.0 eth0: Intel(R) PRO/1000 Network Connection
[    2.00] something=with an equals sign, and more of it than anybody wants to read on a page of a browser
[    2.50] agent: the token beef is refused
[    3.00] GET /boot/abc/vmlinuz
[    4.00] c
[    5.00] d
[    6.00] e
[    7.00] f
[    8.00] nbd0: g
"""


def test_a_failure_tells_the_last_lines_of_the_kernels_log_without_secrets(
    lib: Lib, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text(LOG)
    log = f"dmesg() {{ cat {tmp_path}/log; }}\n"
    fail = 'beacon failed:network "no link on eth0" "$(log_tail)"'
    lib.run(f"{log}{BEFORE}token=beef online=yes\n{fail}")
    (posted,) = lib.posted()
    (sent,) = posted.split("&sent=7.05 ")[1:]
    body = sent.replace(" console=", "\nconsole=")
    beacon = parse_beacon(body, "7.05", "7.05")
    assert beacon.message == "no link on eth0"
    lines = beacon.data["console"]
    assert len(lines) == 7 and max(map(len, lines)) == 96
    assert lines[-1] == "[    8.00] nbd0: g" and lines[0].endswith("PRO/1000 Network Connection")
    assert not [line for line in lines if "beef" in line or "abc" in line]
    lib.run(f"{log}server=http://10.0.0.1:8080\nonline=yes\n{fail}")
    assert "Command line" not in lib.posted()[-1] and "nbd0: g" in lib.posted()[-1]
    lib.run(f"dmesg() {{ :; }}\n{BEFORE}online=yes\n{fail}")
    assert lib.posted()[-1].split("&sent=7.05 ")[1].strip() == "no link on eth0"


def test_without_a_server_there_is_nothing_to_report_to(lib: Lib) -> None:
    assert lib.run("online=yes\nbeacon swap one; echo on") == "on\n"
    assert list((lib.folder / "beacons").iterdir()) == []


def test_conf_is_for_root_only_and_read_back(lib: Lib) -> None:
    lib.run(BEFORE + "online=yes token=secret\nsave_conf")
    path = lib.folder / "netboot.conf"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "secret" not in path.read_text()
    assert lib.run("load_conf; echo $server $ticket $online") == "http://10.0.0.1:8080 abc yes\n"


SECRETS = "netboot.ticket=abc netboot.token=def netboot.swap=10.0.0.1:10809/seat-1"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            f"quiet {SECRETS} netboot.root=nbd netboot.poweroff=1",
            "quiet netboot.root=nbd netboot.poweroff=1",
        ),
        # Of GRUB; and the archives of a boot whose path has the ticket.
        (f"BOOT_IMAGE=/boot/abc/vmlinuz {SECRETS} initrd=abc/x initrd=y", "initrd=y"),
        (f"a=/* {SECRETS} netboot.token=", "a=/*"),
    ],
)
def test_userland_sees_no_secret_on_the_command_line(lib: Lib, given: str, shown: str) -> None:
    (lib.folder / "sys/kernel").mkdir(parents=True)
    (lib.folder / "firmware/devicetree/base/chosen").mkdir(parents=True)
    (bootargs := lib.folder / "firmware/devicetree/base/chosen/bootargs").touch()
    mount = 'mount() { echo "$*"; }\n'
    said = lib.run(f"{mount}ticket=abc token=def\nhide_arguments", given)
    shown_file = lib.folder / "cmdline.shown"
    assert said == "".join(
        f"-o bind {shown_file} {file}\n" for file in (lib.folder / "cmdline", bootargs)
    )
    assert shown_file.read_text() == shown + "\n"
    assert (lib.folder / "sys/kernel/dmesg_restrict").read_text() == "1\n"


def test_a_boot_without_secrets_hides_no_word(lib: Lib) -> None:
    (lib.folder / "sys/kernel").mkdir(parents=True)
    assert lib.run("mount() { :; }\nhide_arguments", "quiet netboot.root=ram") == ""
    assert (lib.folder / "cmdline.shown").read_text() == "quiet netboot.root=ram\n"


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers as the boot server does, and notes what it was asked and which processes it saw."""

    asked: ClassVar[list[str]] = []
    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(f"{self.command} {self.path} {body.decode()}")
        words = b""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended
                words += path.read_bytes()
        assert b"nc" in words.split(b"\0") and b"TICKET-OF-A-PC" not in words
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"reboot" if self.command == "GET" else b"")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.skipif(not shutil.which("busybox"), reason="its nc is the one of PCs")
def test_no_process_of_userland_shows_the_ticket(tmp_path: Path) -> None:
    _Answers.asked.clear()
    lib = Lib(["busybox", "sh"], tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "netboot.conf").write_text(f"server={url}\nticket=TICKET-OF-A-PC\nonline=yes\n")
        userland = "unset -f timeout\nload_conf\n"
        text = "beacon pupil 'a line' key=1\nrequest GET /orders/$ticket 5; echo \" $?\""
        assert lib.run(userland + text) == "reboot 0\n"
        assert list((tmp_path / "beacons").iterdir()) == []
        _Answers.status = 404
        assert lib.run(f"{userland}request GET /orders/$ticket 5; echo $?") == "1\n"
        server.shutdown()
    _Answers.status = 200
    assert _Answers.asked[0].startswith(
        "POST /beacon/TICKET-OF-A-PC/pupil?uptime=7.05&sent=7.05 a line\nkey=1\n"
    )
    assert lib.run(f"{userland}request GET /orders/$ticket 5; echo $?") == "1\n", "no server"
    assert not list(tmp_path.glob("request.*"))


@pytest.mark.parametrize(
    ("answer", "done"),
    [
        ("echo reboot", "reboot -f"),
        ("echo poweroff", "poweroff -f"),
        ("echo 'rm -rf /'", "sleep 1"),
        ("true", "sleep 1"),
        ("false", "sleep 15"),
    ],
)
def test_an_order_is_carried_out(lib: Lib, answer: str, done: str) -> None:
    stubs = f"request() {{ {answer}; }}\nreport_off() {{ echo off $1; }}\n" + "".join(
        f"{name}() {{ echo {name} $1; exit; }}\n" for name in ("sleep", "reboot", "poweroff")
    )
    *before, last = lib.run(f"{stubs}{BEFORE}take_orders").splitlines()
    assert last == done
    ends = done.removesuffix(" -f") if done.endswith(" -f") else ""
    assert [line for line in before if line.startswith("off")] == ([f"off {ends}"] if ends else [])


def test_a_message_is_written_down_for_the_screen(lib: Lib, tmp_path: Path) -> None:
    order = tmp_path / "screen.order"
    words = "message save your work; it's 5 o'clock * $(reboot)"
    quoted = shlex.quote(words)
    stubs = (
        f"request() {{ echo $2 >>{tmp_path}/asked; printf %s {quoted}; }}\nsleep() {{ exit; }}\n"
    )
    shown = lib.run(f"{stubs}{BEFORE}take_orders")
    assert words in shown
    assert order.read_text() == f"67\n{words}\n"
    assert (tmp_path / "asked").read_text().strip().endswith("?can=message,identify")
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/hostname").write_text("pc-7\n")
    shown = lib.run(
        f"{BEFORE}proc={tmp_path}\nread_uptime() {{ uptime=7.05; }}\nshow_order identify"
    )
    assert "this is pc-7\a" in shown and order.read_text() == "27\nidentify\n"


def test_systemd_ends_what_it_runs(lib: Lib) -> None:
    (lib.folder / "systemd/system").mkdir(parents=True)
    stubs = "request() { echo reboot; }\nsystemctl() { echo systemd: $1; exit; }\n"
    assert lib.run(f"{stubs}{BEFORE}take_orders").splitlines()[-1] == "systemd: reboot"


@pytest.mark.parametrize(
    ("cpuinfo", "cipher"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 aes avx\nbugs\t: aes\n", "aes"),
        ("flags\t\t: fpu vaes sse2\n\nflags\t\t: fpu aes\n", "adiantum"),
        ("Features\t: fp asimd evtstrm aes pmull\n", "aes"),  # arm64
        ("Features\t: fp asimd evtstrm crc32 cpuid\n", "adiantum"),  # a Raspberry Pi 4
        ("", "adiantum"),
    ],
)
def test_the_cpu_decides_the_cipher(lib: Lib, cpuinfo: str, cipher: str) -> None:
    (lib.folder / "cpuinfo").write_text(cpuinfo)
    text = f". {INITRAMFS / 'swap.sh'}\nencrypt=1\nchoose_cipher\necho $encrypt\ncipher_modules"
    first, modules = lib.run(text).splitlines()
    assert first == cipher
    assert modules.startswith(f"dm-crypt {'xts' if cipher == 'aes' else 'adiantum'} ")


@pytest.mark.parametrize(
    ("settings", "tail"),
    [
        ("encrypt='' keep='' layout=''", ""),
        ("encrypt=adiantum keep='' layout=mirror", " encrypt=adiantum"),
        ("encrypt='' keep=yes layout=''", " discard=no"),
        ("encrypt='' keep='' layout=any", " layout=any"),
    ],
)
def test_the_agent_gets_key_value_words(lib: Lib, settings: str, tail: str) -> None:
    text = f". {INITRAMFS / 'swap.sh'}\n{BEFORE}{settings} swap=10.0.0.1,10.0.0.2:10809/seat-1\n"
    text += "token=cafe connections=2 timeout=3 patience=600 ram=1\nwith_agent echo 10.0.0.2"
    words = "cafe host=10.0.0.2 port=10809 export=seat-1 connections=2 timeout=3 patience=600"
    assert lib.run(text) == f"{words}{tail}\n"


@pytest.mark.parametrize(
    ("layout", "away", "servers"),
    [
        ("spread", "", "10.0.0.1,10.0.0.2,10.0.0.3"),
        ("spread", "10.0.0.1", "10.0.0.2,10.0.0.1,10.0.0.2,10.0.0.3"),
        ("mirror", "", "10.0.0.1,10.0.0.2,10.0.0.3"),
    ],
)
def test_a_further_area_goes_first_to_the_server_of_the_first_one(
    lib: Lib, layout: str, away: str, servers: str
) -> None:
    text = f". {INITRAMFS / 'swap.sh'}\nconsole() {{ :; }}\nwhy=away number=1 answer=x layout={layout}\n"
    text += f"with_agent() {{ [ $2 != '{away}' ]; }}\nswap_is_on() {{ total=1; }}\n"
    text += "swap=10.0.0.1,10.0.0.2,10.0.0.3:10809/seat-1\nstart_agents\necho $standby"
    assert lib.run(text) == f"{servers}\n"


@pytest.mark.parametrize(
    ("layout", "agents"),
    [
        ("any", "host=10.0.0.1,10.0.0.2 layout=any"),
        ("mirror", "host=10.0.0.1,10.0.0.2"),
        ("spread", "host=10.0.0.1"),
        ("stripe", "host=10.0.0.1\nhost=10.0.0.2"),
    ],
)
def test_a_layout_decides_which_servers_an_agent_is_told(
    lib: Lib, layout: str, agents: str
) -> None:
    text = f". {INITRAMFS / 'swap.sh'}\nconsole() {{ :; }}\nwhy=away number=1 layout={layout}\n"
    text += "swap=10.0.0.1,10.0.0.2:10809/seat-1 connections=2 timeout=3 patience=600\n"
    text += "token=t server='' encrypt='' keep='' answer=x code=0\n"
    text += "swap_is_on() { total=1; }\n"
    text += 'start_agent() { shift; echo "$*"; }\nstart_agents'
    told = [
        [w for w in line.split() if w[:4] in ("host", "layo")]
        for line in lib.run(text).splitlines()
    ]
    assert [" ".join(each) for each in told] == agents.splitlines()


def test_swap_comes_before_all_that_can_wait(lib: Lib) -> None:
    init = (INITRAMFS / "init").read_text()
    catch_up = init[init.index("catch_up() {") : init.index("# Keep process 1 alive")]
    text = f". {INITRAMFS / 'swap.sh'}\n{catch_up}\nswap=10.0.0.1:10809/seat-1 leased=yes\n"
    text += "follow_server() { :; }\nsend_beacons() { echo sent; }\n"
    text += "start_agents() { echo on; areas=/dev/nbd0 device=/dev/nbd0 size=4096 total=4; }\n"
    for name in ("tune_memory", "start_standbys", "keep_address"):
        text += f"{name}() {{ echo {name} $online; }}\n"
    text += "online=later\nstage_swap"
    (lib.folder / "swaps").touch()
    steps = ["on", "tune_memory later", "start_standbys later", "keep_address yes", "sent"]
    assert lib.run(text).splitlines() == steps


@pytest.mark.parametrize(("leased", "kept"), [("no", ""), ("yes", "kept\n")])
def test_a_boot_that_waits_keeps_the_address_that_it_has(lib: Lib, leased: str, kept: str) -> None:
    init = (INITRAMFS / "init").read_text()
    catch_up = init[init.index("catch_up() {") : init.index("# Keep process 1 alive")]
    text = f"{catch_up}\nkeep_address() {{ echo kept; }}\n"
    assert lib.run(f"{text}leased={leased}\ncatch_up") == kept


def test_one_process_keeps_the_address(lib: Lib) -> None:
    init = (INITRAMFS / "init").read_text()
    function = init[init.index("keep_address() {") : init.index("\nwait_for_link")]
    program = lib.folder / "agent"
    program.write_text('#!/bin/sh\necho "$*, $NETBOOT_BEACON" >>"$RUN/kept"\nexec sleep 60\n')
    program.chmod(0o755)
    function = function.replace("/sbin/agent", str(program))
    settings = f"{BEFORE}port=eth0 client=10.0.0.5\n{function}\nexec >/dev/null 2>&1\n"
    lib.run(f"{settings}known=52:54:00:00:00:01; keep_address; keep_address")
    _, first = (lib.folder / "keeper").read_text().split()
    assert not _ends(first, 0.1)
    # The second one dies, and its parent, which is init, notices that.
    dies = "until grep -q 0.6, $RUN/kept; do sleep 0.02; done; kill -9 $!; wait; keep_address"
    lib.run(f"{settings}client=10.0.0.6 known=; keep_address; {dies}; keep_address")
    assert _ends(first, 60.0), "one for each address"
    _, third = (lib.folder / "keeper").read_text().split()
    url = "http://10.0.0.1:8080/beacon/abc"
    again = f"address eth0 10.0.0.6, {url}"
    wanted = [f"address eth0 10.0.0.5 52:54:00:00:00:01, {url}", again, again]
    end = time.monotonic() + 60
    while (kept := (lib.folder / "kept").read_text().splitlines()) != wanted:
        assert time.monotonic() < end, kept
        time.sleep(0.01)
    os.kill(int(third), signal.SIGKILL)


def _ends(pid: str, seconds: float) -> bool:
    """Return whether a process ends within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def test_root_hooks_are_the_root_kinds() -> None:
    hooks = {row.hook for row in BY_NAME.values()}
    assert {path.name for path in (INITRAMFS / "root").iterdir()} == hooks


KEY = "0123456789abcdef"
DRIVER = "lib/modules/6.1.0/e1000.ko"


class Unpacked:
    """The unpacked initramfs for check.sh: the base, and a slice with a driver."""

    def __init__(self, lib: Lib) -> None:
        self.lib = lib
        self.base = [cpio.file("root/ram", b"#!/bin/sh"), cpio.file("init", b"init")]
        self.slice = [cpio.file(DRIVER, b"driver" * 1000)]
        self.unpack(initramfs.build_record(KEY), *self.base, *self.slice)
        self.unpack(initramfs.sums("initramfs-base.img", KEY, self.base))
        self.unpack(initramfs.sums("initramfs-e1000.img", KEY, self.slice))
        (lib.folder / "sys/kernel").mkdir(parents=True)
        (lib.folder / "sys/kernel/osrelease").write_text("6.1.0\n")

    def unpack(self, *records: cpio.Record) -> None:
        for record in records:
            path = self.lib.folder / record.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(record.content)

    def check(self, *slices: str) -> str:
        names = " ".join(f"initrd=initramfs-{name}.img" for name in ("base", *slices))
        text = f"cd {self.lib.folder}; . {INITRAMFS / 'check.sh'}; broken=''\n"
        text += 'check_images >console; stage_images || echo "$why"'
        return self.lib.run(text, f"{names} initrd=load.img")


@pytest.fixture
def unpacked(lib: Lib) -> Unpacked:
    return Unpacked(lib)


def test_what_was_built_is_what_a_pc_has(unpacked: Unpacked) -> None:
    assert unpacked.check("e1000") == ""
    assert (unpacked.lib.folder / "console").read_text() == ""


def test_a_damaged_driver_is_named_and_not_used(unpacked: Unpacked) -> None:
    (unpacked.lib.folder / DRIVER).write_bytes(b"Driver" * 1000)
    said = unpacked.check("e1000")
    assert said.startswith(f"damaged or missing in the initramfs: {DRIVER}; boot again")
    assert said.strip() in (unpacked.lib.folder / "console").read_text()
    assert not (unpacked.lib.folder / DRIVER).exists()


def test_an_archive_that_was_not_unpacked_is_named(unpacked: Unpacked) -> None:
    assert "initramfs: initramfs-phys.img; boot" in unpacked.check("e1000", "phys")
    assert unpacked.check("e1000", "phys") == "", "only once"
    (unpacked.lib.folder / "checked").unlink()
    (unpacked.lib.folder / "init").unlink()
    assert "initramfs: init; boot" in unpacked.check("e1000")


def test_archives_of_two_builds_are_told_apart(unpacked: Unpacked) -> None:
    unpacked.unpack(initramfs.sums("initramfs-e1000.img", "another", unpacked.slice))
    assert unpacked.check("e1000").startswith("kernel and initramfs are from different builds; ")
    assert (unpacked.lib.folder / DRIVER).exists()


def test_a_kernel_of_another_build_is_told(unpacked: Unpacked) -> None:
    (unpacked.lib.folder / "sys/kernel/osrelease").write_text("6.1.1\n")
    assert unpacked.check("e1000").startswith("kernel and initramfs are from different builds; ")


def test_much_damage_is_a_short_line(unpacked: Unpacked) -> None:
    many = [cpio.file(f"lib/modules/6.1.0/{number:04}.ko", b"driver") for number in range(100)]
    unpacked.unpack(initramfs.sums("initramfs-many.img", KEY, many))
    said = unpacked.check("many")
    assert " and 92 more; boot again" in said and len(said) < 600


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Granted(536870912), "512 MiB of swap granted|size=536870912"),
        (Refused("no room: 2 GiB asked"), "the server refused swap: no room: 2 GiB asked"),
    ],
)
def test_a_lease_is_read_as_the_server_writes_it(
    lib: Lib, answer: Granted | Refused, said: str
) -> None:
    given = f"swap=x server=x layout='' patience=1 answers=yes reply='{serialize(answer)}'\n"
    told = 'done_with() { echo "$1|$2"; }\nstage_lease || echo "$why"\n'
    assert lib.run(f". {INITRAMFS / 'swap.sh'}\n{given}{told}") == f"{said}\n"
