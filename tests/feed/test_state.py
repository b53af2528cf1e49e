"""The row of a seat says what became of it, whatever order its events come in."""

import time
from collections import Counter
from typing import Any

import pytest

from netboot.boot.client import PROBE_MAC, played_mac
from netboot.boot.limits import (
    FEED_EVENTS,
    FEED_EVENTS_OF_STRANGERS,
    FEED_STRANGERS,
    FEED_UNNAMED,
)
from netboot.boot.stages import BY_NAME
from netboot.feed import judging
from netboot.feed.life import REPEAT_SECONDS
from netboot.feed.records import STATES, Event, Hardware, Pages, Pressure, Report
from netboot.feed.seat import Known
from netboot.feed.state import STALL_SECONDS, RoomState, Standing
from netboot.feed.troubles import OTHERS_SECONDS
from tests import ROOT
from tests.feed.playing import BEGIN, MAC, Played


def test_a_seat_of_the_profile_is_unknown_until_it_is_seen() -> None:
    seat = Played()
    assert (seat.row.name, seat.row.groups, seat.row.named) == ("row1-1", ("row1",), True)
    assert (seat.state, seat.row.since, seat.row.seen, seat.row.trouble) == ("unknown", 0, 0, None)
    seat.rest(10_000)
    assert seat.state == "unknown"


@pytest.mark.parametrize("proxy", [False, True])
def test_a_boot_from_power_on_to_a_lesson(proxy: bool) -> None:
    seat = Played()
    seat.rest(100)
    seat.discover()
    began = seat.now
    assert (seat.state, seat.row.since, seat.row.booted) == ("booting", began, began)
    assert seat.row.hardware == Hardware(arch="bios")
    seat.load(proxy=proxy)
    assert (seat.state, seat.row.booted, seat.row.stage) == ("booting", began, "http")
    assert seat.row.address == ("" if proxy else "10.0.0.5")
    boot = seat.row.boot
    seat.linux()
    assert seat.state == "booting" and seat.row.address == "10.0.0.5"
    assert seat.row.hardware == Hardware(512 << 20, "", "e1000", "bios", "6.12.57+deb13-amd64")
    seat.userland()
    assert (seat.state, seat.row.since, seat.row.stage) == ("running", seat.now, "userland")
    seat.rest(3600, reports=True)
    assert seat.state == "running" and seat.row.trouble is None
    assert (seat.row.booted, seat.row.boot) == (began, boot) and boot
    assert seat.row.seen >= seat.now - 10
    assert seat.row.report is not None and seat.row.report.when == seat.row.seen


def test_a_reboot_is_another_boot() -> None:
    seat = Played()
    seat.boot()
    seat.rest(600, reports=True)
    first = seat.row
    seat.see("order", "reboot")
    seat.rest(4)
    seat.detach("closed by the client")
    assert seat.state == "booting", "an order explains that it is gone"
    seat.rest(12)
    seat.boot()
    assert seat.state == "running"
    assert seat.row.boot not in ("", first.boot) and seat.row.booted > first.booted + 600


def test_a_reset_that_nobody_ordered_is_another_boot() -> None:
    seat = Played()
    seat.boot()
    seat.rest(600, reports=True)
    first = seat.row.boot
    seat.rest(15)
    seat.load()
    assert seat.state == "booting" and seat.row.boot != first
    seat.rest(30)
    seat.linux()
    seat.detach("its lease has ended")  # the old connections end when the new ones come
    seat.userland()
    assert seat.state == "running"
    seat.rest(600, reports=True)
    assert seat.state == "running" and not seat.trouble


def test_a_seat_whose_swap_is_cut_is_lost_until_it_is_attached_again() -> None:
    seat = Played()
    seat.boot()
    seat.attach(connections=2)
    seat.rest(100, reports=True)
    seat.detach(left=1)
    assert seat.state == "running", "one connection is left"
    seat.detach()
    assert (seat.state, seat.row.since) == ("lost", seat.now)
    assert seat.trouble == "lost" and "swap" in str(seat.row.trouble)
    seat.rest(20, reports=True)
    assert seat.state == "lost", "it reports, but its programs wait for pages"
    seat.see("pages:away", "has no connection to its swap any more for 20 s", seconds=20)
    assert seat.trouble == "pages:away"
    lost = seat.now - 20
    seat.rest(10)
    seat.attach()
    seat.say("agent:lost", "10.0.0.1: no answer", ago=seat.now - lost, device="/dev/nbd0")
    seat.say("agent:reattached", "after 30 s", device="/dev/nbd0", seconds=30.0, losses=1)
    assert seat.state == "running" and not seat.trouble
    assert seat.row.stage == "agent:reattached"


def test_a_seat_whose_swap_went_to_another_server_of_its_pool_runs() -> None:
    seat = Played()
    seat.boot()
    seat.rest(10, reports=True)
    seat.attach()
    seat.rest(10, reports=True)
    data: dict[str, Any] = {"device": "/dev/nbd0", "losses": 1, "server": "10.0.0.2"}
    seat.say("agent:reattached", "after 3 s, by 10.0.0.2", seconds=3.0, **data)
    seat.detach()
    assert seat.state == "running", "this server notices the end of its connection late"
    seat.see("pages:away", "has no connection to its swap any more for 20 s", seconds=20)
    seat.rest(20, reports=True)
    assert seat.state == "running" and not seat.trouble
    seat.attach()
    seat.say("agent:reattached", "after 1 s, by 10.0.0.1", seconds=1.0, **data)
    seat.detach()
    assert seat.state == "lost", "it was here again"


def test_a_further_area_and_the_root_image_come_and_go_while_the_seat_runs() -> None:
    seat = Played()
    seat.boot()
    seat.rest(10, reports=True)
    for export in ("seat-001e37112233-2", "desktop"):
        seat.attach(export)
        seat.detach("disconnected by the client", export)
        assert seat.state == "running"


def test_a_seat_without_swap_is_lost_with_its_root_image() -> None:
    seat = Played()
    seat.load()
    seat.attach("desktop", 37)  # of all seats together
    seat.attach("desktop", 38)
    seat.say("userland")
    assert seat.state == "running"
    seat.detach(export="desktop", left=40)
    assert seat.state == "running"
    seat.detach(export="desktop", left=39)
    assert seat.state == "lost"


def test_a_seat_that_says_nothing_is_lost_and_off_at_last() -> None:
    seat = Played()
    seat.boot()
    seat.rest(100, reports=True)
    seat.rest(30)
    assert seat.state == "running"
    seat.rest(1)
    assert (seat.state, seat.row.since) == ("lost", seat.now)
    assert seat.trouble == "lost" and seat.row.trouble is not None and seat.row.trouble.remedy
    seat.rest(1800)
    assert seat.state == "off" and not seat.trouble
    seat.rest(100_000)
    assert seat.state == "off"
    seat.boot()
    assert seat.state == "running"


def test_a_power_cut_ends_at_the_next_boot() -> None:
    seat = Played()
    seat.boot()
    seat.rest(100, reports=True)
    seat.rest(20)
    seat.load()  # before anything was noticed of the cut
    seat.detach("no answer to keep-alive probes")
    assert seat.state == "booting"
    seat.linux()
    assert seat.state == "booting" and not seat.trouble
    seat.userland()
    assert seat.state == "running"


def test_connections_of_the_boot_before_that_end_late_are_no_trouble() -> None:
    seat = Played()
    seat.boot()
    seat.rest(60, reports=True)
    seat.load()
    for _ in range(3):
        seat.detach("Connection timed out")
    seat.see("pages:away", "has no connection to its swap any more for 20 s", seconds=20)
    assert (seat.state, seat.trouble) == ("booting", "")


@pytest.mark.parametrize("swap", [True, False])
def test_a_seat_that_was_ordered_off_is_off(swap: bool) -> None:
    seat = Played()
    seat.load()
    if swap:
        seat.linux()
    seat.userland()
    seat.rest(60, reports=swap)
    seat.room.asked_orders(MAC, seat.now)
    seat.see("order", "poweroff")
    assert seat.state == "running"
    seat.rest(8)
    if swap:
        seat.report()
        seat.rest(21)
    else:
        seat.rest(13)
    assert seat.state == "off"
    seat.rest(2)
    seat.say("agent:lost", "was on its way")
    seat.rest(60)
    assert seat.state == "off"
    seat.detach()
    seat.rest(10_000)
    assert seat.state == "off" and not seat.trouble


@pytest.mark.parametrize(("how", "state"), [("poweroff", "off"), ("", "off"), ("halt", "off")])
@pytest.mark.parametrize("swap", [True, False])
def test_a_seat_that_its_user_switches_off_is_off(how: str, state: str, swap: bool) -> None:
    seat = Played()
    seat.load()
    if swap:
        seat.linux()
    seat.userland()
    seat.rest(60, reports=swap)
    seat.say("off", f"{how}: the system ends", how=how)
    assert seat.state == "running", "its services end, and that may take a while"
    seat.rest(30, reports=swap)
    assert seat.state == ("running" if swap else state)
    seat.rest(21)
    assert (seat.state, seat.trouble) == (state, "")
    if swap:
        seat.detach()
    seat.rest(10_000)
    assert (seat.state, seat.trouble) == ("off", "")
    seat.discover()
    assert seat.state == "booting"


@pytest.mark.parametrize("how", ["reboot", "kexec"])
def test_a_seat_that_its_user_reboots_boots(how: str) -> None:
    seat = Played()
    seat.boot()
    seat.rest(60, reports=True)
    seat.say("off", f"{how}: the system ends", how=how)
    seat.rest(21)
    assert (seat.state, seat.trouble) == ("booting", "")
    seat.boot()
    assert (seat.state, seat.trouble) == ("running", "")


def test_a_shutdown_that_does_not_end_is_no_excuse_for_long() -> None:
    seat = Played()
    seat.boot()
    seat.say("off", "poweroff: the system ends", how="poweroff")
    seat.rest(600, reports=True)
    assert seat.state == "running"
    seat.rest(31)
    assert seat.state == "lost"


def test_a_seat_that_is_switched_off_before_its_userland_runs_is_off() -> None:
    seat = Played()
    seat.load()
    seat.linux()
    seat.say("off", "poweroff: the system ends", how="poweroff")
    assert seat.state == "booting"
    seat.rest(21)
    assert (seat.state, seat.trouble) == ("off", "")


def test_an_ended_lease_that_nothing_replaces_is_a_loss() -> None:
    seat = Played()
    seat.boot()
    seat.rest(60, reports=True)
    seat.detach("its lease has ended")
    assert seat.state == "lost"


def test_what_an_operator_does_is_no_sign_of_life() -> None:
    seat = Played()
    seat.boot()
    seat.rest(60, reports=True)
    seat.rest(40)
    seen = seat.row.seen
    for order in ("wake", "reboot", "poweroff", "end-lease"):
        seat.see("ordered", f"{order} by anna", order=order, by="anna", refused="")
        seat.see("lease", "the files that it kept are deleted: 5 MiB", area=0)
        seat.rest(1)
    assert (seat.state, seat.row.seen, seat.row.stage) == ("lost", seen, "lease")
    seat.rest(1800)
    assert seat.state == "off"
    seat.see("ordered", "wake by anna", order="wake", by="anna", refused="")
    seat.rest(10)
    assert seat.state == "off"


def test_an_order_that_a_seat_survives_explains_nothing_later() -> None:
    seat = Played()
    seat.boot()
    seat.see("order", "poweroff")
    seat.rest(600, reports=True)
    assert seat.state == "running"
    seat.rest(31)
    assert seat.state == "lost"


def test_a_seat_that_gave_its_swap_back_is_off_unless_it_reports() -> None:
    seat = Played()
    seat.boot()
    seat.rest(30, reports=True)
    seat.detach("disconnected by the client")
    assert seat.state == "off"
    seat.report()  # was on its way
    assert seat.state == "off"
    seat.rest(20)
    assert seat.state == "off"
    seat.rest(100, reports=True)
    assert seat.state == "running"
    seat.rest(31)
    assert seat.state == "lost"


def test_a_seat_without_reports_is_alive_as_long_as_it_has_connections_or_asks_for_orders() -> None:
    seat = Played()
    seat.boot()
    seat.rest(7200)
    assert seat.state == "running", "an agent of 0.2 reports nothing"
    seat = Played()
    seat.load()
    seat.say("userland")
    for _ in range(20):
        seat.rest(60)
        seat.room.asked_orders(MAC, seat.now)
    assert seat.state == "running"
    seat.rest(181)
    assert seat.state == "lost"


def test_a_seat_that_reads_pages_is_alive() -> None:
    seat = Played()
    seat.boot()
    seat.report()
    for number in range(200):
        seat.pages(read=number + 1)
        seat.rest(1)
    assert seat.state == "running", "its reports wait, but not its pages"
    assert seat.row.pages == Pages(1, read=200)
    seat.rest(32)
    assert seat.state == "lost"


def test_a_seat_is_short_while_programs_wait_for_memory() -> None:
    seat = Played()
    seat.boot()
    seat.report(9.9)
    assert seat.state == "running"
    seat.report(10.0)
    assert seat.state == "short" and seat.row.since == seat.now
    assert seat.row.trouble is not None and seat.row.trouble.stage == "short"
    seat.rest(10)
    seat.report(3.0)
    assert seat.state == "running" and not seat.trouble


def test_a_seat_is_short_for_a_minute_after_the_kernel_ended_a_program() -> None:
    seat = Played()
    seat.boot()
    seat.report(oom_kills=1)
    assert seat.state == "short" and "ended a program" in str(seat.row.trouble)
    for _ in range(6):
        assert seat.state == "short"
        seat.rest(10)
        seat.report(oom_kills=1)
    assert seat.state == "running", "that one program is no news"
    seat.report(oom_kills=2)
    assert seat.state == "short"


def test_a_seat_waits_for_its_turn() -> None:
    seat = Played()
    seat.discover(stage="ipxe")
    for _ in range(3):
        seat.see("wait", "20 s, PCs in front: 5", wait=20, before=5)
        seat.see("http", "bios.ipxe", file="bios.ipxe", bytes=300)
        assert seat.state == "waiting"
        seat.rest(20)
    seat.see("http", "bios.ipxe", file="bios.ipxe", bytes=900)
    seat.rest(3)
    assert seat.state == "booting", "it was told nothing more"
    seat.see("wait", "20 s, PCs in front: 5", wait=20, before=5)
    assert seat.state == "waiting"
    seat.see("http", "amd64/vmlinuz", file="amd64/vmlinuz", bytes=8 << 20)
    assert seat.state == "booting"


def test_a_boot_that_fails_is_lost_and_its_failure_is_the_trouble() -> None:
    seat = Played()
    seat.load()
    seat.rest(20)
    seat.say("failed:network", "no link on eth0 for 20 s")
    assert (seat.state, seat.trouble) == ("lost", "failed:network")
    assert seat.row.trouble is not None
    assert seat.row.trouble.remedy == BY_NAME["failed:network"].remedy
    seat.rest(60)
    seat.say("init:network", "eth0 up")  # 'exit' in its rescue shell
    assert (seat.state, seat.trouble) == ("booting", "")
    seat.say("failed:root", "no such image")
    seat.report()  # of its agent, which runs on
    assert (seat.state, seat.trouble) == ("lost", "failed:root")
    seat.discover()
    assert seat.state == "booting" and not seat.trouble, "it reboots"


def test_what_is_told_before_a_boot_that_goes_on_is_a_trouble_and_no_end() -> None:
    seat = Played()
    seat.load()
    seat.see("failed:memory", "64 MiB of RAM, a boot needs 96", ram_mib=64, needs_mib=96)
    assert (seat.state, seat.trouble) == ("booting", "failed:memory")
    seat.linux()
    seat.userland()
    assert (seat.state, seat.trouble) == ("running", "")


def test_a_boot_that_stands_still_is_lost_and_off_at_last() -> None:
    seat = Played()
    seat.load()
    seat.rest(60)
    seat.see("silent", "has its boot files and has reported nothing", seconds=60)
    assert (seat.state, seat.trouble) == ("booting", "silent")
    seat.rest(541)
    assert (seat.state, seat.trouble) == ("lost", "silent")
    seat.rest(1900)
    assert (seat.state, seat.trouble) == ("off", "")


def test_a_silence_ends_with_the_next_step_that_was_made_before_it_was_told() -> None:
    seat = Played()
    seat.load()
    seat.rest(60)
    seat.see("silent", "has its boot files and has reported nothing", seconds=60)
    seat.booted = seat.now - 50
    seat.say("init:start", "512 MiB of RAM, Linux 6.12", ago=2.0)
    assert not seat.trouble


def test_a_forged_question_changes_nothing_of_a_seat_that_runs() -> None:
    seat = Played()
    seat.boot()
    seat.rest(100, reports=True)
    row = seat.row
    for _ in range(30):
        seat.discover()
        seat.see("silent", "was offered a boot file and has asked for nothing", seconds=20)
        seat.rest(10, reports=True)
        assert (seat.state, seat.row.boot, seat.trouble) == ("running", row.boot, "")
    seat.discover()
    seat.rest(31)
    assert seat.state == "booting", "now it is silent, so the question was its own"
    seat.rest(600)
    assert seat.state == "lost"


def test_forged_questions_do_not_keep_a_lost_seat_alive() -> None:
    seat = Played()
    seat.boot()
    seat.rest(100, reports=True)
    for _ in range(40):
        seat.see("dhcp", "DISCOVER from a DHCP client", type="DISCOVER")
        seat.rest(1)
    assert seat.state == "lost"


def test_a_system_on_the_disk_of_a_seat_that_is_off_is_no_boot() -> None:
    seat = Played()
    seat.see("dhcp", "DISCOVER from a DHCP client", type="DISCOVER")
    assert seat.state == "unknown" and seat.row.seen == seat.now
    seat.boot()
    seat.rest(10, reports=True)
    seat.detach("disconnected by the client")
    seat.rest(60)
    seat.see("dhcp", "DISCOVER from a DHCP client", type="DISCOVER")
    assert seat.state == "off"


def test_a_server_that_was_restarted_finds_its_seats_again() -> None:
    for sign in ("attach", "report", "orders", "pages", "agent"):
        seat = Played()
        match sign:
            case "attach":
                seat.attach()
            case "report":
                seat.report(oom_kills=3)
            case "orders":
                seat.room.asked_orders(MAC, seat.now)
            case "pages":
                seat.pages(5)
                seat.rest(1)
            case "agent":
                seat.booted = seat.now - 500
                seat.say("agent:reattached", "after 3 s")
                assert seat.row.booted == seat.now - 500 and seat.row.boot
        assert (seat.state, seat.trouble) == ("running", ""), sign
        seat.rest(20)
        seat.boot()
        assert seat.state == "running"


def test_a_server_that_was_restarted_in_a_boot_sees_the_rest_of_it() -> None:
    seat = Played()
    seat.linux()
    assert seat.state == "booting"
    assert seat.row.booted == seat.booted, "the kernel's start, by its reports"
    seat.userland()
    assert seat.state == "running"


def test_a_boot_whose_requests_were_not_seen_is_another_one() -> None:
    seat = Played()
    seat.boot()
    seat.rest(100, reports=True)
    first = seat.row.boot
    seat.linux()  # another server gave the files
    assert seat.state == "booting" and seat.row.boot != first
    seat.userland()
    assert seat.state == "running"
    second = seat.row.boot
    seat.see("kernel", "Linux starts", ago=seat.now - seat.booted + 1)
    seat.say("init:start", "the initramfs started again")
    assert (seat.state, seat.row.boot) == ("running", second)


def test_reports_that_userlands_own_has_overtaken_change_nothing() -> None:
    seat = Played()
    seat.boot()
    seat.say("init:root", "ram, starting userland", ago=3)
    seat.say("init:lease", "no answer; again in 1 s", ago=8, retry_seconds=1)
    assert (seat.state, seat.trouble, seat.row.stage) == ("running", "", "userland")


def test_a_seat_that_reports_for_long_without_userland_runs() -> None:
    seat = Played()
    seat.load()
    seat.linux()
    seat.rest(290, reports=True)
    assert seat.state == "booting"
    seat.rest(40, reports=True)
    assert seat.state == "running", "its event of userland is lost"


def test_a_loader_that_does_not_start_begins_a_boot_again() -> None:
    seat = Played()
    seat.discover()
    seat.see("tftp", "snponly.efi", file="snponly.efi", bytes=200_000, seconds=0.1)
    first = seat.row.boot
    seat.rest(30)
    seat.see("loader", "the last loader did not start; sending ipxe.efi", file="ipxe.efi")
    seat.discover("uefi-x64")
    assert (seat.state, seat.trouble) == ("booting", "loader") and seat.row.boot != first
    second = seat.row.boot
    seat.rest(5)
    seat.discover("uefi-x64")
    assert seat.row.boot == second
    seat.see("http", "uefi.ipxe", file="uefi.ipxe", bytes=900)
    assert not seat.trouble


def test_a_firmware_that_asks_again_after_its_loader_boots_again() -> None:
    seat = Played()
    seat.discover()
    seat.rest(4)
    seat.discover()
    first = seat.row.boot
    assert seat.row.booted == BEGIN, "the same question"
    seat.see("tftp", "undionly.kpxe", file="undionly.kpxe", bytes=70_000, seconds=0.1)
    seat.rest(4)
    seat.discover(stage="ipxe")
    assert seat.row.boot == first
    seat.rest(10)
    seat.discover()
    assert seat.row.boot != first and seat.row.booted == BEGIN + 18
    seat.rest(200)
    seat.discover()
    assert seat.row.booted == BEGIN + 218, "switched on again"


def test_a_mirror_that_goes_on_with_another_server_is_not_lost() -> None:
    seat = Played()
    seat.boot()
    seat.rest(20, reports=True)
    seat.detach()
    assert seat.state == "lost"
    seat.say("agent:lost", "10.0.0.1: no answer")
    seat.say("agent:degraded", "the mirror continues without 10.0.0.1:10809")
    assert (seat.state, seat.trouble) == ("running", "agent:degraded")
    seat.rest(100, reports=True)
    assert seat.state == "running"
    seat.attach()
    seat.say("agent:resynced", "the mirror is complete again")
    assert (seat.state, seat.trouble) == ("running", "")
    seat.detach()
    assert seat.state == "lost"


def test_a_mirror_is_whole_until_its_seat_tells_otherwise() -> None:
    seat = Played()
    seat.boot()
    assert seat.mirror == "", "the profile gives it none"
    seat.room.know(MAC, Known(mirrored=True))
    assert seat.mirror == "", "it has no swap"
    area = ((0, 1 << 30),)
    seat.report(areas=area)
    assert seat.mirror == "whole"
    seat.say("agent:lost", "10.0.0.1: no answer")
    assert seat.mirror == "whole", "no leg is dropped yet"
    seat.say("agent:degraded", "the mirror continues without 10.0.0.1:10809")
    assert seat.mirror == "degraded"
    assert seat.room.mirrors() == {"whole": 0, "degraded": 1, "resyncing": 0, "unknown": 0}
    seat.say("agent:renewed", "after 61.03 s")
    assert seat.mirror == "resyncing"
    seat.say("agent:degraded", "the mirror continues without 10.0.0.1:10809")
    seat.say("agent:renewed", "after 20.00 s")
    seat.say("agent:resynced", "the mirror is complete again")
    assert seat.mirror == "whole"
    seat.see("off", "poweroff", how="poweroff")
    seat.detach()
    seat.rest(30)
    assert (seat.state, seat.mirror) == ("off", "")
    assert seat.room.mirrors() == {}


def test_a_seat_with_further_areas_is_whole_when_each_of_its_mirrors_is() -> None:
    seat = Played()
    seat.boot()
    seat.room.know(MAC, Known(mirrored=True))
    seat.report(areas=((0, 1 << 30), (0, 1 << 30)))
    for device in ("/dev/md0", "/dev/md1"):
        seat.say("agent:degraded", "the mirror continues without 10.0.0.1:10809", device=device)
    seat.say("agent:renewed", "after 61.03 s", device="/dev/md0")
    seat.say("agent:resynced", "the mirror is complete again", device="/dev/md0")
    assert (seat.mirror, seat.trouble) == ("degraded", "agent:degraded")
    seat.say("agent:renewed", "after 63.03 s", device="/dev/md1")
    assert seat.mirror == "resyncing"
    seat.say("agent:returned", "area 2 is not needed any more", device="/dev/md1")
    assert (seat.mirror, seat.trouble) == ("whole", "")


def test_a_pc_that_names_many_mirrors_fills_no_memory() -> None:
    boot = judging.Boot(BEGIN, judging.Phase.RUNNING, BEGIN)
    for number in range(100):
        boot.note_mirror(f"/dev/md{number}", "degraded")
    assert len(boot.mirrors) == 4
    boot.note_mirror("/dev/md99", "")
    boot.note_mirror("/dev/md3", "")
    assert sorted(boot.mirrors) == ["/dev/md0", "/dev/md1", "/dev/md2"]


def test_a_mirror_of_before_the_servers_start_is_unknown_and_a_renewed_area_is_none() -> None:
    seat = Played()
    seat.room.know(MAC, Known(mirrored=True))
    seat.report(areas=((0, 1 << 30),))
    seat.room.know(MAC, Known(mirrored=True))
    seat.report(areas=((0, 1 << 30),))
    assert (seat.state, seat.mirror) == ("running", "unknown")
    seat.say("agent:renewed", "after 61.03 s")
    assert seat.mirror == "unknown"
    seat.say("agent:resynced", "the mirror is complete again")
    assert seat.mirror == "whole"


def test_flapping_ends_when_it_is_told_or_not_told_again() -> None:
    seat = Played()
    seat.boot()
    text = "swap lost and attached again 9 times in 60 s"
    seat.see("pages:flapping", text, goes_on=True)
    assert seat.trouble == "pages:flapping"
    seat.see("pages:flapping", "swap was lost 2 times in the last 60 s, less often", goes_on=False)
    assert not seat.trouble
    seat.see("pages:flapping", text, goes_on=True)
    seat.rest(89)
    flaps = [bool(seat.trouble)]
    seat.rest(1)
    assert [*flaps, bool(seat.trouble)] == [True, False]


def test_what_another_machine_does_lasts_over_a_boot_and_ends_by_itself() -> None:
    seat = Played()
    seat.boot()
    seat.see("identity", "10.0.0.66 asked for its files", address="10.0.0.66")
    assert (seat.state, seat.trouble, seat.row.address) == ("running", "identity", "10.0.0.5")
    seat.discover()
    seat.boot()
    assert seat.trouble == "identity"
    seat.rest(600, reports=True)
    assert not seat.trouble


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ("overlay:full", "overlay:free"),
        ("home:away", "home:back"),
        ("address:unanswered", "address:held"),
        ("address:conflict", "address:held"),
        ("agent:degraded", "agent:resynced"),
        ("agent:refused", "agent:grown"),
        ("failed:swap", "agent:renewed"),
        ("failed:keep", "agent:reattached"),
    ],
)
def test_a_trouble_lasts_until_it_is_mended(begins: str, ends: str) -> None:
    seat = Played()
    seat.boot()
    seat.rest(60, reports=True)
    seat.say(begins, "a reason")
    assert (seat.trouble, seat.state) == (begins, "running")
    seat.rest(300, reports=True)
    assert seat.trouble == begins
    seat.say("screen:shown", "another thing")
    assert seat.trouble == begins
    seat.say(ends, "better")
    assert not seat.trouble
    seat.say(begins, "a reason", ago=1.0)
    assert not seat.trouble, "it came late, and was mended before"


def test_a_page_store_that_does_not_answer_is_a_trouble_until_it_does() -> None:
    seat = Played()
    seat.boot()
    seat.rest(60, reports=True)
    seat.see("pages:stalled", "page store does not answer", seconds=5.2)
    seat.rest(60, reports=True)
    assert (seat.trouble, seat.state) == ("pages:stalled", "running")
    seat.see("pages:answers", "page store answers again", seconds=66)
    assert not seat.trouble
    seat.see("pages:stalled", "page store does not answer", seconds=5.2)
    seat.rest(120, reports=True)
    assert not seat.trouble, "its worker has ended: no other one tells the end"


def test_the_gravest_trouble_is_shown_and_then_the_newest() -> None:
    seat = Played()
    seat.boot()
    seat.say("failed:keep", "the area is damaged")
    seat.rest(1)
    seat.say("overlay:full", "90 %")
    seat.rest(1)
    seat.say("home:away", "NFS server 10.0.0.9 does not answer")
    assert seat.trouble == "failed:keep"
    seat.say("agent:reattached", "after 2 s")
    assert seat.trouble == "home:away"
    seat.say("home:back", "it answers")
    assert seat.trouble == "overlay:full"


def test_a_refused_lease_is_a_trouble_until_one_is_granted() -> None:
    seat = Played()
    seat.load()
    seat.see("lease", "refused: 100 MiB are left of swap.capacity")
    assert seat.trouble == "lease"
    seat.say("init:lease", "the server refused; again in 5 s", retry_seconds=5)
    assert seat.trouble in ("lease", "init:lease")
    seat.see("lease", "swap of 510 MiB granted", bytes_granted=510 << 20)
    seat.say("init:lease", "510 MiB of swap")
    assert not seat.trouble


def test_strangers_get_few_rows_and_push_nobody_out() -> None:
    proven = {"52:54:00:00:00:01"}
    room = RoomState({MAC: "row1-1"}, is_proven=proven.__contains__, others=lambda mac: ("x", "y"))
    seat = Played(room)
    seat.boot()
    room.event(Event(1, seat.now, "52:54:00:00:00:01", "kernel", "Linux starts"))
    most = FEED_STRANGERS.in_total or 0
    mac = ""
    for number in range(5000):
        mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        data = {"type": "DISCOVER", "arch": "bios", "stage": "firmware"}
        room.event(Event(number, seat.now, mac, "dhcp", "DISCOVER", data))
    assert len(room) == len(room.rows()) == 2 + most
    assert [row.mac for row in room.rows()[:2]] == [MAC, "52:54:00:00:00:01"]
    assert room.rows()[1].name == "x" and room.rows()[1].groups == ("y",)
    gone = room.gone()
    assert len(gone) == 5000 - most and room.gone() == []
    assert not any(mac in room for mac in gone)
    changed = room.tick(seat.now)
    assert len(changed) == len(room)
    with pytest.raises(KeyError):
        room.row(gone[0])
    proven.add(mac)
    room.event(Event(1, seat.now, mac, "http", "vmlinuz", {"file": "vmlinuz", "bytes": 5}))
    assert room.rows()[2].mac == mac and len(room) == 2 + most
    assert room.rows()[2].booted == seat.now and room.gone() == []


def test_proven_seats_that_no_profile_names_are_limited_too() -> None:
    room = RoomState({})
    most = FEED_UNNAMED.in_total or 0
    for number in range(most + 5):
        room.report(f"seat {number}", Report(BEGIN + number))
        room.report("seat 0", Report(BEGIN + number))
    assert len(room) == most
    assert "seat 0" in room and room.gone() == [f"seat {number}" for number in range(1, 6)]


def test_a_forgotten_seat_is_gone_or_unknown() -> None:
    seat = Played()
    seat.boot()
    seat.room.report("stranger", Report(seat.now))
    seat.room.forget(MAC)
    seat.room.forget("stranger")
    seat.room.forget("never seen")
    assert seat.state == "unknown" and seat.room.gone() == ["stranger"]
    assert seat.room.tick(seat.now) == [MAC]


def test_played_pcs_have_no_row() -> None:
    room = RoomState({})
    for mac in (PROBE_MAC, played_mac(5), ""):
        room.event(Event(1, BEGIN, mac, "swap", ""))
        if mac:
            room.report(mac, Report(BEGIN))
            room.pages(mac, Pages(1))
            room.asked_orders(mac, BEGIN)
    assert len(room) == 0


def test_a_tick_tells_what_changed_and_nothing_twice() -> None:
    seat = Played()
    assert seat.room.tick(seat.now) == []
    seat.discover()
    assert seat.room.tick(seat.now) == [MAC]
    assert seat.room.tick(seat.now + 1) == []
    pages = Pages(2, read_rate=5.0)
    seat.room.pages(MAC, pages)
    assert seat.room.tick(seat.now + 2) == [MAC]
    seat.room.pages(MAC, pages)
    assert seat.room.tick(seat.now + 3) == []
    seat.room.know(MAC, Known(uuid="u", image="desktop@2026"))
    assert seat.room.tick(seat.now + 4) == [MAC]
    assert (seat.row.uuid, seat.row.image) == ("u", "desktop@2026")
    seat.room.know(MAC, Known(uuid="u"))
    seat.room.know("nobody", Known(uuid="u"))
    assert seat.room.tick(seat.now + 5) == []
    assert seat.row.image == "desktop@2026"


def test_what_the_server_knows_comes_with_an_event() -> None:
    room = RoomState({})
    known = Known("uuid", "8086:100e", "10.0.0.5", "desktop@2026", "abcd")
    room.event(Event(1, BEGIN, MAC, "http", "", {"file": "vmlinuz", "bytes": 1}), known)
    row = room.row(MAC)
    assert (row.uuid, row.hardware.card, row.address) == ("uuid", "8086:100e", "10.0.0.5")
    assert (row.image, row.digest, row.named) == ("desktop@2026", "abcd", False)


def test_facts_of_other_types_and_lengths_are_left_out() -> None:
    seat = Played()
    seat.load()
    row = seat.row
    for value in ("x", "1" * 500, -5, True, None, [1], {"a": 1}, 1e300, 2**200, float("nan")):
        seat.see("init:start", "Linux", ram_kib=value, uptime=value)
        seat.see("init:hardware", "", driver=value, uptime=value)
        seat.see("init:network", "", address=value, driver=value)
        seat.see("dhcp", "", arch=value, type=value, stage=value, address=value)
        seat.see("wait", "", wait=value)
        seat.see("http", "", file=value, bytes=value)
        seat.see("pages:attach", "", export=value, connections=value, address=value)
        seat.see("pages:detach", "", export=value, connections=value)
        seat.see("order", "", order=value)
        seat.rest(1)
    assert seat.row.address == row.address
    assert (seat.row.hardware.memory, seat.row.hardware.arch) == (0, "bios")
    assert len(seat.row.hardware.driver) <= 60
    seat.see("init:x" * 100, "y" * 5000)
    assert len(seat.row.stage) <= 60 and len(seat.row.message) <= 300


def test_a_server_or_a_clock_that_stood_still_loses_no_seat() -> None:
    for gap in (120.0, 86_400.0, -3600.0):
        seat = Played()
        seat.boot()
        seat.rest(100, reports=True)
        seat.now += gap
        seat.room.tick(seat.now)
        assert seat.state == "running"
        seat.rest(20, reports=True)
        assert seat.state == "running"
        seat.rest(32)
        assert seat.state == "lost"


def test_a_report_that_comes_before_the_tick_after_a_stall_counts_once() -> None:
    seat = Played()
    seat.boot()
    seat.rest(100, reports=True)
    seat.now += 86_400
    seat.report()
    seat.room.tick(seat.now)
    assert seat.state == "running"
    seat.rest(31)
    assert seat.state == "lost"


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    seat = Played()
    seat.boot()
    seat.rest(100, reports=True)
    seat.say("overlay:full", "90 %")
    seat.say("overlay:free", "80 %")
    seat.see("identity", "10.0.0.66 asked for its files", address="10.0.0.66")
    seat.detach()
    seat.now -= 3600
    seat.booted -= 3600
    seat.room.tick(seat.now)
    assert (seat.state, seat.row.since, seat.row.seen) == ("lost", seat.now, seat.now)
    seat.attach()
    assert (seat.state, seat.row.stage) == ("running", "pages:attach")
    seat.rest(600, reports=True)
    troubles = [seat.trouble]
    seat.say("overlay:full", "90 %")
    assert [*troubles, seat.trouble] == ["", "overlay:full"]
    seat.see("order", "poweroff")
    seat.rest(40)
    seat.now -= 3600
    seat.room.tick(seat.now)
    assert seat.state == "off"
    seat.report()
    assert seat.state == "running"
    seat.detach("disconnected by the client")
    seat.rest(10)
    seat.boot()
    assert seat.state == "running"


def test_a_thousand_seats_are_judged_in_milliseconds() -> None:
    names = {f"00:1e:37:00:{number >> 8:02x}:{number & 255:02x}": "x" for number in range(1000)}
    room = RoomState(names)
    for mac in names:
        for stage in ("kernel", "init:network", "userland"):
            room.event(Event(1, BEGIN + 10, mac, stage, "", {"uptime": 1}))
        room.report(mac, Report(BEGIN + 20))
    room.tick(BEGIN + 21)
    begin = time.process_time()
    for second in range(10):
        room.tick(BEGIN + 22 + second)
    assert {row.state for row in room.rows()} == {"running"}
    ticks = (time.process_time() - begin) / 10
    begin = time.process_time()
    for mac in names:
        room.report(mac, Report(BEGIN + 40, pressure=Pressure(1.0)))
    reports = time.process_time() - begin
    assert ticks < 0.05 and reports < 0.5, f"{ticks * 1e3:.1f} ms, {reports * 1e3:.0f} ms"


def test_the_page_on_the_state_of_a_seat_has_the_figures_of_the_code() -> None:
    page = (ROOT / "docs" / "explanation" / "room.md").read_text()
    for seconds in (
        *(judging.REPORT_SILENCE, judging.ORDER_SILENCE, judging.BOOT_SILENCE),
        *(judging.LONG_SILENCE, judging.POWEROFF_SECONDS, judging.REBOOT_SECONDS),
        *(judging.SETTLE_SECONDS, judging.KILLED_SECONDS, STALL_SECONDS),
        *(REPEAT_SECONDS, OTHERS_SECONDS),
    ):
        assert f"{seconds:g} s" in page
    assert f"{judging.SHORT_PERCENT:g} %" in page
    for limit in (FEED_EVENTS, FEED_EVENTS_OF_STRANGERS, FEED_STRANGERS):
        assert f" {limit.in_total:,} " in page
    assert f"last {FEED_EVENTS.per_address} of a seat" in page
    assert all(f"| `{state}` |" in page for state in STATES)


def test_the_standing_counts_states_and_troubles() -> None:
    seat = Played()
    assert seat.room.standing() == Standing(Counter({"unknown": 1}), 0)
    seat.boot()
    assert seat.room.standing() == Standing(Counter({"running": 1}), 0)
    seat.say("overlay:full", "90 %")
    assert seat.room.standing() == Standing(Counter({"running": 1}), 1)
    seat.rest(40)
    seat.detach()
    assert seat.room.standing() == Standing(Counter({"lost": 1}), 1)
