"""The state of each PC."""

import json
from dataclasses import replace

import pytest

from netboot.boot.arch import ARCHITECTURES
from netboot.boot.client import PROBE_MAC, Client, Stage, played_mac
from netboot.boot.events import Journal
from netboot.feed.records import Report
from netboot.profile.profile import Profile
from netboot.serve.seats import Seats

MAC = "52:54:00:12:34:56"


def test_the_settings_of_a_seat_are_merged_once() -> None:
    profile = Profile.model_validate({"clients": {MAC: {"hostname": "window"}}})
    seats = Seats(profile, Journal())
    seat = seats.of(MAC)
    assert seat.settings == profile.seat_of(MAC) and seat.settings.hostname == "window"
    assert seats.of(MAC) is seat


def test_a_doctor_and_a_storm_are_no_pcs() -> None:
    seats = Seats(Profile(), Journal())
    kinds = [(seats.of(mac).is_probe, seats.of(mac).is_played) for mac in (MAC, PROBE_MAC)]
    assert kinds == [(False, False), (True, True)]
    assert seats.of(played_mac(7)).is_played and not seats.of(played_mac(7)).is_probe
    for mac in (MAC, PROBE_MAC, played_mac(7)):
        seats.record(mac, "dhcp", "asks")
    rows = json.loads(f"{{{seats.overview()}}}")
    assert [row["mac"] for row in rows["seats"]] == [MAC] and rows["left_out"] == 0
    assert seats.history(MAC) is not None and seats.history(PROBE_MAC) is None


def test_the_status_has_the_last_event_and_a_history_has_all() -> None:
    seats = Seats(Profile.model_validate({"clients": {MAC: {"hostname": "window"}}}), Journal())
    for number in range(9):
        seats.record(MAC, "x", str(number), figure=number)
    overview = json.loads(f"{{{seats.overview()}}}")
    seat = json.loads(seats.history(MAC) or "")
    events = [event.as_json() for event in seats.journal.history(MAC)]
    assert seat == {"mac": MAC, "hostname": "window", "events": events}
    assert overview == {"seats": [seat | {"events": events[-1:]}], "left_out": 0}


def test_the_status_tells_how_far_a_mirror_is_copied() -> None:
    seats = Seats(Profile(), Journal())
    seats.record(MAC, "agent:renewed", "after 16 s")
    for copied, told in ((-1.0, None), (8.5, 8.5), (-1.0, None)):
        seats.of(MAC).report = Report(1.0, copied=copied)
        for text in (seats.history(MAC) or "", seats.overview()[len('"seats": [') :]):
            seat, _ = json.JSONDecoder().raw_decode(text)
            assert seat.get("copied") == told


def test_an_answer_to_status_has_a_limited_size() -> None:
    seats = Seats(Profile(), Journal([MAC]))
    for number in range(9):
        seats.record(f"02:00:00:00:00:0{number}", "x", "forged")
        seats.record(MAC, "x", "y" * 200)
    one = len(seats.journal.last_text(MAC))
    overview = json.loads(f"{{{seats.overview(one + 400)}}}")
    assert overview["seats"][0]["mac"] == MAC
    assert 1 < len(overview["seats"]) < 10
    assert overview["left_out"] == 10 - len(overview["seats"])
    history = json.loads(seats.history(MAC, 3 * one + 9) or "")
    assert len(history["events"]) == 3
    assert history["events"][-1] == seats.journal.history(MAC)[-1].as_json()


def test_forged_addresses_do_not_stay_and_push_no_seat_out() -> None:
    swaps, boots = "52:54:00:00:00:01", "52:54:00:00:00:02"
    seats = Seats(
        Profile.model_validate({"clients": {MAC: {}}}), Journal([MAC]), lambda mac: mac == swaps
    )
    kept = [seats.of(mac) for mac in (MAC, swaps, boots)]
    seats.journal.prove(boots)
    for number in range(10_000):
        forged = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        seats.of(forged)
        seats.record(forged, "dhcp", "asks")
    assert [seats.of(mac) for mac in (MAC, swaps, boots)] == kept
    assert all(seats.of(state.mac) is state for state in kept)
    assert seats.number() <= 2003


def test_a_session_is_never_shown() -> None:
    seat = Seats(Profile(), Journal()).of(MAC)
    seat.session = "secret"
    assert "secret" not in repr(seat)


def test_a_seat_is_known_by_the_profile_or_by_its_boot() -> None:
    seats = Seats(Profile.model_validate({"clients": {MAC: {}}}), Journal())
    other = "52:54:00:12:34:57"
    assert seats.is_known(MAC) and not seats.is_known(other)
    seats.of(other)
    assert not seats.is_known(other), "anybody can have the server hear of a MAC address"
    seats.of(other).began = True
    assert seats.is_known(other)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (("", (1, 2)), ("", (1, 3)), "card 0001:0003; before it was card 0001:0002"),
        (("a", (1, 2)), ("", (1, 3)), "card 0001:0003; before it was UUID a, card 0001:0002"),
        (("", (1, 2)), ("", (1, 2)), ""),
        (("", (1, 2)), ("", None), ""),
        (("a", (1, 2)), ("a", (1, 3)), ""),  # its own card and that of a dock
        (("", None), ("b", (1, 3)), ""),
    ],
)
def test_machines_without_a_uuid_are_told_apart_by_their_cards(
    before: tuple[str, tuple[int, int] | None],
    now: tuple[str, tuple[int, int] | None],
    told: str,
) -> None:
    journal = Journal()
    seats = Seats(Profile(), journal)
    for machine, nic in (before, now):
        seats.met(Client(MAC, ARCHITECTURES[0], Stage.IPXE, nic, machine=machine))
    messages = [event.message for event in journal.history(MAC) if event.stage == "twin"]
    assert messages == ([f"another PC asks with this MAC address: {told}"] if told else [])


def test_another_machine_with_the_same_mac_address_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = Journal()
    seats = Seats(Profile(), journal)
    first = Client(MAC, ARCHITECTURES[0], Stage.IPXE, (0x8086, 0x100E), machine="a")
    seats.met(first)
    seats.met(replace(first, stage=Stage.FIRMWARE, nic=None))
    seats.met(replace(first, machine=""))
    assert not journal.history(MAC) and seats.of(MAC).nic == (0x8086, 0x100E)
    seats.met(replace(first, nic=(0x10EC, 0x8168), machine="b"))
    (event,) = journal.history(MAC)
    assert event.stage == "twin"
    assert "UUID b, card 10ec:8168; before it was UUID a, card 8086:100e" in event.message
    assert event.data == {"machine": "b", "before": "a"}
    assert event.message in caplog.text
