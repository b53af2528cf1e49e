"""What did not happen: each wait is told once, with its cause, and nothing is told without a cause."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from netboot.boot.client import PROBE_MAC, played_mac
from netboot.boot.events import BootEvent
from netboot.boot.limits import SILENCE_WAITS
from netboot.boot.plan import swap_export
from netboot.boot.silence import REPEAT_SECONDS, Silence, Silent
from netboot.boot.stages import BY_NAME
from netboot.boot.waits import SWAP_WAITS, WAITS, Step

MAC = "00:1e:37:11:22:33"
EXPORT = swap_export(MAC)


@dataclass
class Room:
    """A room with one PC and a clock; ``told`` is what was noticed."""

    proxy: bool = False
    left: bool = False
    mac: str = MAC
    now: float = 1000.0
    told: list[Silent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.silence = Silence(proxy=self.proxy, left=self.left, is_known=lambda mac: False)

    def see(self, name: str, message: str = "", /, **data: Any) -> None:
        self.silence.record(BootEvent(0.0, self.mac, name, message, data), self.now)

    def discover(self, arch: str = "bios", stage: str = "firmware") -> None:
        self.see("dhcp", type="DISCOVER", arch=arch, stage=stage)
        self.see("dhcp", type="OFFER", file="undionly.kpxe")

    def request(self, arch: str = "bios") -> None:
        if self.proxy:
            self.see("dhcp", type="REQUEST")
        else:
            self.see("dhcp", type="REQUEST", arch=arch, stage="firmware")
            self.see("dhcp", type="ACK", file="undionly.kpxe")

    def heard(self, step: Step) -> None:
        self.silence.heard(self.mac, step, self.now)

    def fetched(self, name: str) -> None:
        self.heard(Step.FETCHING)
        self.silence.fetched(self.mac, name, self.now)

    def boot(self) -> None:
        """Play a boot up to the request for the script, one step in a second."""
        self.discover()
        self.rest(1)
        self.request()
        self.rest(1)
        self.fetched("undionly.kpxe")
        self.rest(1)
        self.discover(stage="ipxe")
        self.request()
        self.fetched("bios.ipxe")
        self.rest(1)
        self.heard(Step.SCRIPT)

    def rest(self, seconds: int) -> list[Silent]:
        """Let time pass, with a look each second. Return what was noticed."""
        begin = len(self.told)
        for _ in range(seconds):
            self.now += 1
            self.told += self.silence.overdue(self.now)
        return self.told[begin:]

    def only(self, begin: Step, seconds: int = 600) -> Silent:
        """Let time pass. Exactly one wait must be told, in its time."""
        (silent,) = self.rest(seconds)
        assert silent.wait.begin is begin and silent.mac == MAC
        assert silent.wait.seconds <= silent.seconds <= silent.wait.seconds + 1
        return silent


def test_a_pc_that_is_offered_a_file_and_asks_for_nothing_is_told_once() -> None:
    room = Room()
    room.discover()
    room.rest(1)
    room.request()
    message = room.only(Step.ADDRESSED).message
    assert "UDP 69" in message and "netboot doctor" in message


@pytest.mark.parametrize("proxy", [False, True])
def test_each_part_of_the_dhcp_has_its_own_cause(proxy: bool) -> None:
    room = Room(proxy)
    room.discover()
    assert "DHCP snooping" in room.only(Step.OFFERED).message
    room = Room(proxy)
    room.discover("uefi-x64-http")
    room.request("uefi-x64-http")
    assert "HTTP port" in room.only(Step.ADDRESSED_HTTP).message
    room = Room(proxy)
    room.discover("uefi-x64")
    room.request("uefi-x64")
    room.see("pxe", type="REQUEST", arch="uefi-x64", stage="firmware")
    room.see("pxe", type="ACK", file="snponly.efi")
    assert "is UDP 69 open" in room.only(Step.BOOT_SERVER).message


def test_a_question_that_is_repeated_does_not_begin_a_new_wait() -> None:
    room = Room()
    for pause in (4, 8, 16, 32):  # PXE 2.1
        room.discover()
        room.rest(pause)
    (silent,) = room.told
    assert silent.wait.begin is Step.OFFERED and silent.seconds == 20


def test_a_pc_that_begins_anew_is_told_anew() -> None:
    room = Room()
    room.discover()
    room.rest(int(REPEAT_SECONDS))
    room.discover()
    room.rest(int(REPEAT_SECONDS))
    assert len(room.told) == 2


def test_every_later_step_that_does_not_come_is_told() -> None:
    for name, step in (
        ("undionly.kpxe", Step.LOADER),
        ("grubia32.efi", Step.LOADER),
        ("bios.ipxe", Step.CHAIN),
        ("i386-efi.cfg", Step.SCRIPT),
        ("amd64/vmlinuz", Step.IMAGES),
        ("arm64/linux.efi", Step.IMAGES),
        ("more.img", Step.IMAGES),
    ):
        room = Room()
        room.fetched(name)
        room.only(step)
    room = Room()
    room.fetched("failed.cfg")  # failed:loader has told it
    assert not room.rest(600)
    room.heard(Step.SCRIPT)
    room.only(Step.SCRIPT)


def test_a_kernel_that_says_nothing() -> None:
    room = Room()
    room.boot()
    room.fetched("amd64/vmlinuz")
    room.rest(30)
    room.heard(Step.FETCHING)
    room.rest(90)  # a slow download is no silence
    room.silence.fetched(MAC, "amd64/initramfs.img", room.now)
    assert "too little RAM" in room.only(Step.IMAGES).message


def test_a_whole_boot_is_not_told() -> None:
    room = Room()
    room.boot()
    room.fetched("amd64/vmlinuz")
    room.fetched("amd64/initramfs.img")
    room.rest(40)
    room.see("init:start", uptime=3)
    room.rest(20)
    room.see("lease", bytes_granted=1 << 20)
    room.rest(2)
    room.see("pages:attach", export=EXPORT, connections=1)
    room.see("swap")
    room.rest(10)
    room.see("init:root")
    room.rest(120)
    room.see("userland")
    assert not room.rest(3600) and not room.told and len(room.silence) == 0


def test_an_iPXE_of_2019_that_waits_for_an_IPv6_router_is_not_told() -> None:
    room = Room()
    room.discover(stage="ipxe")
    room.request()
    room.rest(17)
    room.fetched("bios.ipxe")
    assert not room.told


def test_a_turn_to_download_is_awaited_for_as_long_as_the_pc_was_told() -> None:
    room = Room()
    room.boot()
    room.see("wait", wait=60, before=20)
    assert not room.rest(75)
    room.rest(6)
    assert [each.wait.begin for each in room.told] == [Step.TURN]


def test_a_download_that_broke_off_is_awaited_again() -> None:
    room = Room()
    room.heard(Step.FETCHING)
    room.see("http", "amd64/vmlinuz: the PC closed the connection", file="amd64/vmlinuz")
    room.only(Step.SCRIPT)


def test_a_transfer_that_broke_off_in_the_middle_is_told() -> None:
    room = Room()
    room.heard(Step.FETCHING)
    room.rest(30)
    room.see("tftp", file="snponly.efi", bytes=100, seconds=30.0, broken=True)
    assert "has only a part of a boot file" in room.only(Step.BROKEN).message


def test_a_transfer_that_the_pc_has_begun_again_does_not_count() -> None:
    room = Room()
    room.heard(Step.FETCHING)
    room.rest(6)
    room.heard(Step.FETCHING)  # from another port
    room.rest(24)
    room.see("tftp", file="snponly.efi", bytes=100, seconds=30.0, broken=True)
    room.rest(60)
    room.fetched("snponly.efi")
    room.see("tftp", file="snponly.efi", bytes=100, seconds=0.0, broken=True)
    room.only(Step.LOADER)


def test_another_servers_clients_and_systems_on_disks_are_not_told() -> None:
    room = Room()
    room.discover()
    room.see("dhcp", "REQUEST: the client chose the DHCP server 10.0.0.9", type="REQUEST")
    assert not room.rest(600)
    room.discover()
    room.request()
    room.see("dhcp", "DISCOVER from a DHCP client", type="DISCOVER")  # Windows starts
    room.see("dhcp", type="OFFER", address="10.0.0.50")
    assert not room.rest(600)
    room.discover()
    room.see("dhcp", type="REQUEST", arch="bios", stage="firmware")
    room.see("dhcp", type="NAK")
    assert not room.rest(600)


@pytest.mark.parametrize("proxy", [False, True])
def test_a_renewal_is_no_boot(proxy: bool) -> None:
    room = Room(proxy)
    for data in ({}, {"arch": "bios", "stage": "firmware"}):  # udhcpc, or one that says PXEClient
        room.see("dhcp", "REQUEST", type="REQUEST", **data)
        room.see("dhcp", "ACK", type="ACK", address="10.0.0.50", file="undionly.kpxe")
        assert not room.rest(600) and len(room.silence) == 0


@pytest.mark.parametrize("mac", [PROBE_MAC, played_mac(7)])
def test_played_pcs_are_not_told(mac: str) -> None:
    room = Room(mac=mac)
    room.boot()
    room.see("lease", bytes_granted=4096)
    room.see("pages:detach", export=swap_export(mac), connections=0)
    assert not room.rest(600) and len(room.silence) == 0


def test_swap_that_is_granted_and_not_attached_is_told() -> None:
    room = Room()
    room.see("lease", bytes_granted=1 << 20)
    assert "10809" in room.only(Step.LEASE).message
    room.see("lease", bytes_granted=1 << 20)
    room.see("failed:lease")  # it tells the reason itself
    assert not room.rest(600)


def test_linux_that_hangs_is_told_and_one_that_fails_with_a_reason_is_not() -> None:
    room = Room()
    room.see("init:hardware", uptime=4)
    room.rest(80)
    room.see("init:network", uptime=84)
    room.only(Step.LINUX)
    room.see("init:root")
    room.only(Step.ROOT)
    room.see("init:root")
    room.see("failed:root")
    assert not room.rest(600)


def test_a_pc_whose_swap_is_away_is_shown_and_raises_no_alarm() -> None:
    room = Room()
    room.see("pages:detach", export=EXPORT, connections=1)
    assert not room.rest(60)
    room.see("pages:detach", export=EXPORT, connections=0)
    room.rest(10)
    room.see("pages:attach", export=EXPORT, connections=1)  # it came back
    assert not room.rest(600)
    room.see("pages:detach", export=EXPORT, connections=0)
    silent = room.only(Step.AWAY)
    assert silent.wait.stage == "pages:away" and not silent.wait.alarm
    room.see("pages:detach", export=EXPORT + "-2", connections=0)  # a further area, given back
    room.see("pages:detach", export="other", connections=0)  # a root image
    assert not room.rest(600)


def test_a_pc_that_said_that_it_is_shut_down_is_not_away() -> None:
    room = Room()
    room.see("off", "poweroff: the system ends", how="poweroff")
    room.rest(15)
    room.see("pages:detach", export=EXPORT, connections=0)
    assert not room.rest(600) and not len(room.silence)
    room.see("off", "reboot: the system ends", how="reboot")
    room.rest(15)
    room.see("pages:attach", export=EXPORT, connections=1)
    room.rest(60)
    room.see("pages:detach", export=EXPORT, connections=0)
    room.only(Step.AWAY)


def test_a_pc_that_boots_again_is_not_away() -> None:
    room = Room()
    room.see("pages:detach", export=EXPORT, connections=0)
    room.rest(10)
    room.discover()
    room.request()
    room.fetched("undionly.kpxe")
    room.rest(20)
    assert not room.told


def test_a_new_server_tells_nothing_of_what_it_did_not_see() -> None:
    room = Room()
    room.see("pages:attach", export=EXPORT, connections=1)
    room.see("agent:reattached")
    room.see("swap")
    room.see("load:written")
    room.request()  # of an offer that the server before made
    assert not room.rest(600)


def test_a_server_that_stood_still_does_not_count_that_time() -> None:
    room = Room()
    room.discover()
    room.rest(1)
    room.now += 300
    room.told += room.silence.overdue(room.now)
    room.discover()
    room.rest(5)
    room.request()
    room.fetched("undionly.kpxe")
    assert not room.told


def test_made_up_pcs_take_no_memory_and_no_place_of_a_known_pc() -> None:
    most = SILENCE_WAITS.in_total or 0
    silence = Silence(is_known=lambda mac: mac == MAC)
    for number in range(most + 100):
        silence.heard(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}", Step.OFFERED, 0.0)
    assert len(silence) == most
    silence.heard(MAC, Step.OFFERED, 0.0)
    assert len(silence) == most + 1
    assert MAC in {each.mac for each in silence.overdue(30.0)}
    silence.overdue(32.0)
    for second in range(33, 200):
        silence.overdue(float(second))
    assert len(silence) == 0


def test_the_table_has_one_row_for_each_wait_and_known_stages() -> None:
    rows = (*WAITS, *SWAP_WAITS)
    assert len({row.begin for row in rows}) == len(rows)
    assert all(row.stage in BY_NAME for row in rows)


def test_swap_is_a_sign_of_linux_before_the_first_report() -> None:
    room = Room()
    room.fetched("amd64/initramfs.img")
    room.rest(50)
    room.see("lease", bytes_granted=1 << 20)
    room.rest(20)
    room.see("pages:attach", export=EXPORT, connections=1)
    room.only(Step.LINUX)


def test_a_report_that_userland_has_overtaken_begins_no_wait() -> None:
    room = Room()
    room.see("init:root")
    room.see("userland")
    room.see("init:network", uptime=9)
    assert not room.rest(600)


def test_where_another_server_names_the_files_a_pc_that_fetches_none_is_told() -> None:
    room = Room(proxy=True, left=True)
    for seconds in (4, 8, 16, 32):  # firmware repeats its question
        room.see("dhcp", type="DISCOVER", arch="bios", stage="firmware")
        room.rest(seconds)
    silent = room.told[0]
    assert silent.wait.begin is Step.LEFT and "netboot dhcp-snippet" in silent.message
    room = Room(proxy=True, left=True)
    room.see("dhcp", type="DISCOVER", arch="bios", stage="firmware")
    room.rest(1)
    room.fetched("undionly.kpxe")
    room.rest(1)
    room.see("dhcp", type="DISCOVER", arch="bios", stage="ipxe")
    room.fetched("boot.ipxe")
    room.rest(1)
    room.heard(Step.SCRIPT)
    assert room.told == []
