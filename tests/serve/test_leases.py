"""The answer to a seat that asks for swap: one line, and all its readers read the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.boot.events import Journal
from netboot.errors import AnswerError
from netboot.pages.lease import LeaseTable
from netboot.pages.nbd.export import Refused
from netboot.profile import file as profile_file
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.leases import Answer, Ended, Granted, Leases, parse, serialize
from netboot.serve.seats import Seats

MIB = 1 << 20
NAMED, STRANGER = "52:54:00:00:00:01", "52:54:00:00:00:02"

CASES: list[tuple[Answer, str]] = [
    (Granted(536870912), "size=536870912"),
    (Granted(4096, "00ff"), "size=4096 token=00ff"),
    (Refused("no room: 2 GiB asked, 1 GiB left"), "refused=no room: 2 GiB asked, 1 GiB left"),
    (Ended(), "ended"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "line"), CASES)
def test_each_answer_is_a_line(answer: Answer, line: str) -> None:
    assert serialize(answer) == line
    assert parse(f"{line}\n") == answer


@pytest.mark.parametrize(
    "line", ["", "size=", "size=x", "size=1 token=", "token=a", "404", "size=१"]
)
def test_anything_else_is_no_answer(line: str) -> None:
    with pytest.raises(AnswerError, match="expected size=BYTES or refused=REASON"):
        parse(line)


@given(st.text())
def test_any_line_is_an_answer_or_an_error(line: str) -> None:
    try:
        assert isinstance(parse(line), Granted | Ended | Refused)
    except AnswerError as error:
        assert "\n" not in str(error)


def granting(text: str, capacity_bytes: int = 1024 * MIB) -> tuple[Leases, Journal]:
    journal, room = Journal(), profile_file.parse(f"clients: {{'{NAMED}': {{}}}}\n{text}", "room")
    return Leases(Seats(room, journal), LeaseTable(capacity_bytes), lambda: 0.0), journal


def test_the_ram_that_a_stranger_claims_gets_half_of_the_capacity_at_most() -> None:
    leases, journal = granting("swap: {size: 2x}")
    assert leases.grant(STRANGER, LeaseRequest(64 << 30, address="10.0.0.66"), "t1") == Granted(
        512 * MIB
    )
    assert "half of swap.capacity" in journal.history(STRANGER)[-1].message
    assert leases.grant(NAMED, LeaseRequest(256 * MIB, address="10.0.0.9"), "t2") == Granted(
        512 * MIB
    )


@pytest.mark.parametrize("left", [0, 5 * 4096, 2 * MIB - 1])
def test_half_of_nothing_is_a_refusal_and_no_area(left: int) -> None:
    """An area of 0 bytes, which cannot be attached (EINVAL), was granted."""
    leases, _ = granting("swap: {size: 2x}", left)
    refused = leases.grant(STRANGER, LeaseRequest(256 * MIB, address="10.0.0.66"), "t1")
    assert isinstance(refused, Refused) and refused.reason.startswith("no room: 512 MiB asked")


def test_a_size_that_the_profile_gives_is_never_cut() -> None:
    leases, _ = granting("swap: {size: 1GiB}")
    assert leases.grant(STRANGER, LeaseRequest(1, address="10.0.0.66"), "t1") == Granted(1024 * MIB)


def test_a_refusal_for_want_of_room_tells_the_operator_who_has_it() -> None:
    leases, journal = granting("swap: {size: 600MiB}")
    first = leases.grant(NAMED, LeaseRequest(1), "t1")
    assert first == Granted(600 * MIB)
    refused = leases.grant(STRANGER, LeaseRequest(1, address="10.0.0.66"), "t2")
    assert isinstance(refused, Refused) and NAMED not in refused.reason
    assert journal.history(STRANGER)[-1].message.endswith(f"{NAMED} holds most, 600 MiB")
