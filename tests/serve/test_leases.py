"""The answer to a seat that asks for swap: one line, and all its readers read the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.boot.events import Journal
from netboot.boot.plan import swap_export
from netboot.errors import AnswerError
from netboot.pages.lease import Attached, LeaseTable
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.name import WireName
from netboot.profile import file as profile_file
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.leases import DRAINED, Answer, Ended, Granted, Leases, parse, serialize
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


def test_the_first_area_of_a_boot_ends_the_further_ones_of_the_boot_before() -> None:
    """With several page servers all leases are fresh, and none of them ended another one."""
    leases, table = several("swap: {size: 64MiB, grow: 3}")

    def attach(area: int, session: str) -> None:
        attach_on(leases, table, LeaseRequest(1, session, fresh=True, area=area))

    for area in (1, 2, 3):
        attach(area, "boot-1")
    assert table.granted_bytes == 3 * 64 * MIB
    attach(1, "boot-1")  # a leg that comes back
    assert table.granted_bytes == 3 * 64 * MIB
    attach(1, "boot-2")
    assert table.granted_bytes == 64 * MIB
    attach(2, "boot-2")
    attach(1, "boot-2")
    assert table.granted_bytes == 2 * 64 * MIB


def test_a_server_that_was_started_since_ends_no_area_of_a_seat() -> None:
    leases, table = several("swap: {size: 64MiB, grow: 3}")
    attach_on(leases, table, LeaseRequest(1, "boot-1", fresh=True, area=2))
    anew, _ = several("swap: {size: 64MiB, grow: 3}", table)
    attach_on(anew, table, LeaseRequest(1, "boot-1", fresh=True))
    assert table.granted_bytes == 2 * 64 * MIB


def test_a_drained_server_that_refuses_a_further_area_keeps_the_first_one() -> None:
    """The first area may have lost its connections a moment ago: its pages were wiped."""
    leases, table = several("swap: {size: 64MiB, grow: 3}")
    attach_on(leases, table, LeaseRequest(1, "boot-1", fresh=True))
    (lease,) = table.leases_of(swap_export(NAMED))
    table.let_go(lease.generation, 0.0)
    leases.drained = True
    asked = LeaseRequest(1, "boot-1", fresh=True, area=2)
    assert leases.grant(NAMED, asked) == Refused(DRAINED)
    assert table.leases_of(swap_export(NAMED)) == [lease]


def several(text: str, table: LeaseTable | None = None) -> tuple[Leases, LeaseTable]:
    """Return the leases of one of several page servers."""
    room = profile_file.parse(f"clients: {{'{NAMED}': {{}}}}\n{text}", "room")
    table = table or LeaseTable(1024 * MIB)
    return Leases(Seats(room, Journal()), table, lambda: 0.0), table


def attach_on(leases: Leases, table: LeaseTable, asked: LeaseRequest) -> None:
    granted = leases.grant(NAMED, asked)
    assert isinstance(granted, Granted)
    name = WireName.parse(f"{swap_export(NAMED, asked.area)}@{granted.token}.1")
    assert isinstance(table.attach(name, 0.0), Attached)
