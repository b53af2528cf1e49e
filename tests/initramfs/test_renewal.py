"""The agent's renewal.c by a played clock: when a PC asks for its address again (RFC 2131, 4.4.5)."""

import itertools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT

AGENT = ROOT / "initramfs/agent"
CHECKS = ("-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")

Play = Callable[..., list[str]]
ADDRESS, SERVER, OTHER = "10.0.0.5", "10.0.0.1", "10.0.0.2"
ACK = f"ack {ADDRESS} {SERVER}"


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("renewal") / "play"
    files = [Path(__file__).with_name("renewal.c"), AGENT / "renewal.c", AGENT / "news.c"]
    subprocess.run(["gcc", *CHECKS, f"-I{AGENT}", "-o", program, *files], check=True)
    return program


@pytest.fixture
def play(player: Path) -> Play:
    def run(*steps: str, chance: int = 1000, told: bool = False) -> list[str]:
        done = subprocess.run(
            [player, str(chance), str(int(told))],
            input="\n".join(steps),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return run


def test_the_first_question_is_that_of_a_client_that_reboots(play: Play) -> None:
    """Section 4.3.2, INIT-REBOOT: the wish, no server, no address of its own."""
    assert play("to 0", f"{ACK} 3600") == [f"0 asking REQUEST wants {ADDRESS}", "0 bound HELD"]


def test_half_of_the_lease_later_its_server_is_asked_and_nothing_is_told(play: Play) -> None:
    steps = ["to 0", f"{ACK} 3600", "to 1800", f"{ACK} 3600", "to 3600"]
    assert play(*steps, chance=0)[2:] == [
        f"1800 renewing REQUEST from {ADDRESS}",
        "1800 bound",
        f"3600 renewing REQUEST from {ADDRESS}",
    ]


def test_a_server_that_is_gone_is_asked_again_until_all_are(play: Play) -> None:
    """After half of the time that is left, of 60 s at least; to everybody from 7/8 on."""
    asked = play("to 0", f"{ACK} 3600", "to 3700", chance=0)[2:]
    assert [line.split()[:2] for line in asked[:8]] == [
        ["1800", "renewing"],
        ["2475", "renewing"],  # (3150 - 1800) / 2
        ["2812.5", "renewing"],
        ["2981.25", "renewing"],
        ["3065.62", "renewing"],
        ["3125.62", "renewing"],  # 60 s
        ["3150", "rebinding"],
        ["3375", "rebinding"],
    ]
    assert asked[6].endswith(f"REQUEST from {ADDRESS} NO_SERVER")
    assert f"3600 asking REQUEST wants {ADDRESS} EXPIRED" in asked


def test_the_server_says_when_to_ask(play: Play) -> None:
    asked = play("to 0", f"{ACK} 3600 100 300", "to 300", chance=0)
    assert [line.split()[0] for line in asked[2:]] == ["100", "200", "260", "300"]
    assert asked[-1].split()[1] == "rebinding"


@pytest.mark.parametrize(
    ("times", "renew", "rebind"),
    [
        ("1000", 500, 875),
        ("1000 0 0", 500, 875),
        ("1000 2000 3000", 500, 875),  # later than the end
        ("1000 400 300", 400, 875),  # the wrong way round
        ("1000 900", 900, 950),  # later than the other one's default
        ("0", 1800, 3150),  # no length
        ("1", 2, 3),  # a flood
    ],
)
def test_times_of_nonsense_are_replaced(play: Play, times: str, renew: int, rebind: int) -> None:
    asked = play("to 0", f"{ACK} {times}", "to 4000", chance=0)[2:]
    states = {line.split()[1]: float(line.split()[0]) for line in reversed(asked)}
    assert (states["renewing"], states["rebinding"]) == (renew, rebind)


@pytest.mark.parametrize("chance", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_room_does_not_ask_in_one_instant(play: Play, chance: int) -> None:
    asked = play("to 0", f"{ACK} 3600", "to 1800", chance=chance)
    assert 1800 * 15 / 16 < float(asked[2].split()[0]) <= 1800


@pytest.mark.parametrize(
    ("wake", "asked"),
    [
        (2000, f"2000 renewing REQUEST from {ADDRESS}"),
        (3200, f"3200 rebinding REQUEST from {ADDRESS}"),
        (9999, f"9999 asking REQUEST wants {ADDRESS}"),
    ],
)
def test_a_pc_that_wakes_up_asks_at_once_and_blames_nobody(
    play: Play, wake: int, asked: str
) -> None:
    steps = ("to 0", f"{ACK} 3600", f"sleep {wake}", f"to {wake}")
    assert play(*steps, f"{ACK} 3600")[2:] == [asked, f"{wake} bound"]
    told = next(
        line for line in play(*steps, "to 20000")[2:] if re.search("NO_SERVER|EXPIRED", line)
    )
    assert float(told.split()[0]) > wake, "later, if nobody answers"


def test_one_lost_packet_of_a_short_lease_is_not_told(play: Play) -> None:
    """It was told as a server that is gone, because no other question came before T2."""
    lost = play("to 0", f"{ACK} 60 30 37", "to 30", "to 37", f"{ACK} 60 30 37", chance=0)
    assert lost[-2:] == [f"37 rebinding REQUEST from {ADDRESS}", "37 bound"]
    gone = [line for line in play("to 0", f"{ACK} 60", "to 60", chance=0) if "NO_SERVER" in line]
    assert [line.split()[0] for line in gone] == ["52"], "before the end, all the same"
    for seconds in (60, 120, 600):
        asked = play("to 0", f"{ACK} {seconds}", f"to {seconds}", chance=0)[2:]
        assert len([line for line in asked if "renewing" in line]) >= 2


def test_the_time_that_the_pc_slept_is_not_the_servers(play: Play) -> None:
    """It asked once, or was refused once, and slept past the end of the lease."""
    for heard in ((), (f"nak 0.0.0.0 {OTHER}",)):
        steps = ("to 0", f"{ACK} 3600", "to 1800", *heard, "sleep 9000", "to 9000", f"{ACK} 3600")
        assert play(*steps)[-2:] == [f"9000 asking REQUEST wants {ADDRESS}", "9000 bound"]
    steps = ("to 0", f"{ACK} 3600", "to 1800", "sleep 3200", "to 3200", f"{ACK} 3600")
    assert play(*steps)[-1] == "3200 bound"


def test_the_end_of_the_lease_is_told_after_a_refusal_too(play: Play) -> None:
    steps = ("to 0", f"{ACK} 3600", "to 1800", f"nak 0.0.0.0 {OTHER}", "to 9000")
    told = [line.split()[-1] for line in play(*steps) if re.search("[A-Z_]{6,}$", line)]
    assert told == ["FORBIDDEN", "EXPIRED"]
    ended = next(line for line in play(*steps) if "EXPIRED" in line)
    assert 3600 <= float(ended.split()[0]) <= 3666


def test_an_address_that_is_lent_for_ever_is_asked_for_once_a_day(play: Play) -> None:
    """The server may have lost its leases."""
    ack, day = f"{ACK} 4294967295", 86400
    refusal = (f"nak 0.0.0.0 {SERVER}", f"to {2 * day + 3}")
    asked = play("to 0", ack, f"to {day}", ack, f"to {2 * day}", *refusal, chance=0)
    assert asked[1:5] == [
        "0 bound HELD",
        *(f"{day} renewing REQUEST from {ADDRESS}", f"{day} bound"),
        f"{2 * day} renewing REQUEST from {ADDRESS}",
    ]
    assert asked[-1].endswith("FORBIDDEN")
    gone = play("to 0", ack, f"to {10 * day}", chance=0)
    assert [line for line in gone if "NO_SERVER" in line] and not re.search("EXPIRED", str(gone))
    assert len([line for line in gone if "rebinding" in line]) in range(7, 10)


def test_after_the_end_the_pc_asks_on_and_holds_the_address_again(play: Play) -> None:
    asked = play("to 0", f"{ACK} 60", "to 60", "to 75", f"offer {ADDRESS} {SERVER}", "to 75")
    assert "EXPIRED" in asked[-5]
    assert asked[-3].endswith(f"asking DISCOVER wants {ADDRESS}")
    assert asked[-1] == f"75 asking REQUEST wants {ADDRESS} of {SERVER}"
    again = play("to 0", f"{ACK} 60", "to 75", f"offer {ADDRESS} {SERVER}", "to 75", f"{ACK} 60")
    assert again[-1] == "75 bound HELD"


def test_the_pauses_are_doubled_up_to_a_minute_for_as_long_as_the_pc_is_on(play: Play) -> None:
    times = [float(line.split()[0]) for line in play("to 1000")]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[:6] == [4, 8, 16, 32, 64, 64]
    assert set(pauses[6:]) == {64}


def test_half_of_the_questions_have_no_client_identifier_until_one_is_answered(play: Play) -> None:
    named = ["unnamed" not in line for line in play("to 700")]
    assert named[:12] == [True] * 4 + [False] * 4 + [True] * 4
    held = play("to 70", f"{ACK} 60", "to 100")
    assert "unnamed" in held[-1], held


def test_a_question_says_for_how_long_the_pc_asks(play: Play) -> None:
    """Field secs: a standby server of Kea, and some relays, take no PC that asked just now."""
    said = play("to 0", "secs", "to 4", "secs", "to 100", "secs", "to 99999", "secs")
    assert [line for line in said if " " not in line] == ["0", "4", "60", "65535"]
    again = play("to 70", f"{ACK} 60", "to 90", "secs", "to 100", "secs")
    assert [line for line in again if " " not in line] == ["0", "11"]


def test_no_server_at_all_is_told_once(play: Play) -> None:
    told = [line for line in play("to 10000") if "NO_SERVER" in line]
    assert [line.split()[0] for line in told] == ["60"]


def test_a_refusal_is_told_unless_another_server_says_yes(play: Play) -> None:
    refusal = f"nak 0.0.0.0 {OTHER}"
    assert play("to 0", refusal, f"{ACK} 60")[1:] == ["0 asking", "0 bound HELD"]
    told = play("to 0", f"{ACK} 3600", "to 1800", refusal, "to 1803")
    assert told[-1].endswith(f"asking DISCOVER wants {ADDRESS} FORBIDDEN"), told
    assert (
        play("to 0", f"{ACK} 3600", "to 1800", refusal, f"{ACK} 3600", "to 1810")[-1]
        == "1800 bound"
    )


def test_a_server_that_offers_another_address_is_asked_for_this_one(play: Play) -> None:
    """dnsmasq looks by ping first, and the PC itself answers."""
    asked = play("to 12", f"offer 10.0.0.9 {SERVER}", "to 35", f"{ACK} 60")
    assert asked[-2] == f"28 asking REQUEST wants {ADDRESS} of {SERVER} REPLACED"
    assert asked[-1] == "35 bound HELD"


@pytest.mark.parametrize("kind", ["offer", "ack"])
def test_another_address_is_not_taken(play: Play, kind: str) -> None:
    when = 13 if kind == "offer" else 0
    told = play(f"to {when}", f"{kind} 10.0.0.9 {SERVER} 3600", "to 40")
    first = next(line for line in told if "REPLACED" in line)
    assert "wants 10.0.0.5" in first
    assert not any("bound" in line for line in told)


def test_a_proxy_that_offers_no_address_is_no_server(play: Play) -> None:
    assert not any("REPLACED" in line for line in play("to 13", f"offer 0.0.0.0 {OTHER}", "to 90"))


def test_trouble_that_is_back_soon_and_lasts_is_told(play: Play) -> None:
    """The last word was that the address is held, while its lease was over for days."""
    steps = ("to 0", f"{ACK} 60", "to 65", f"{ACK} 60")  # the second one ends 60 s later
    told = play(*steps, "to 9000", chance=0, told=True)
    assert [line.split()[1] for line in told] == [
        *("HELD", "NO_SERVER", "EXPIRED", "HELD"),
        "EXPIRED",  # without one more NO_SERVER, which is old by then
    ]
    again = float(told[-1].split()[0]) - float(told[2].split()[0])
    assert 600 <= again <= 670
    over = play(*steps, "to 125", f"{ACK} 9000", "to 4000", chance=0, told=True)
    assert over == told[:4], "it did not last"
