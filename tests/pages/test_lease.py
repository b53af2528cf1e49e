"""Every rule of the lease table: the right to attach an area, and the room for it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.pages.lease import (
    MAX_CONNECTIONS,
    PLAYED,
    UNKNOWN,
    Attached,
    Ends,
    Lease,
    LeaseTable,
)
from netboot.pages.nbd.export import Refusal, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.places import PENDING_IN_TOTAL, PENDING_SECONDS

MIB = 1 << 20
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"
OTHER, OTHER_EXPORT = "52:54:00:12:34:02", "seat-525400123402"


wire = WireName.parse


def granted(answer: Lease | Refused) -> Lease:
    assert isinstance(answer, Lease), answer
    return answer


def attached(answer: Attached | Refused) -> Lease:
    assert isinstance(answer, Attached), answer
    return answer.lease


def test_the_right_token_attaches_as_often_as_it_likes() -> None:
    table = LeaseTable(MIB)
    lease = granted(table.grant(SEAT, EXPORT, "t1", MIB, 5.0))
    assert (lease.seat, lease.export, lease.size_bytes, lease.granted) == (SEAT, EXPORT, MIB, 5.0)
    assert len(bytes.fromhex(lease.generation)) == 16
    assert table.find(wire(f"{EXPORT}@t1")) is lease
    assert table.attach(wire(f"{EXPORT}@t1"), 5.0) == Attached(lease, 0)
    assert table.attach(wire(f"{EXPORT}@t1"), 6.0) == Attached(lease, 0)
    assert table.grant(SEAT, EXPORT, "t1", MIB, 6.0) is lease
    assert table.take_ended() == []


def test_refusals_are_sentences_for_the_console() -> None:
    table = LeaseTable(4096 * MIB)
    granted(table.grant(SEAT, EXPORT, "t1", 3996 * MIB, 0.0))
    wrong = Refused("no such export, or wrong token", Refusal.UNKNOWN)
    for name in (f"{EXPORT}@t2", f"{EXPORT}@", EXPORT, f"{EXPORT}@\N{SNOWMAN}", f"{EXPORT}@t1@"):
        assert table.attach(wire(name), 0.0) == table.find(wire(name)) == wrong
    for name in ("", "@t1", "seat@t1"):
        assert table.attach(wire(name), 0.0) == table.find(wire(name)) == wrong
    refused = table.grant(OTHER, OTHER_EXPORT, "t1", 512 * MIB, 0.0)
    assert refused == Refused("no room: 512 MiB asked, 100 MiB of 4 GiB left")


def test_a_new_boot_replaces_the_lease_only_when_it_attaches() -> None:
    table = LeaseTable(MIB)  # room for one area: an older lease of the same export is not counted
    old = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    table.attach(wire(f"{EXPORT}@t1"), 0.0)
    stray = granted(table.grant(SEAT, EXPORT, "t2", MIB, 1.0))
    new = granted(table.grant(SEAT, EXPORT, "t3", MIB, 2.0))
    assert len({old.generation, stray.generation, new.generation}) == 3
    assert isinstance(table.attach(wire(f"{EXPORT}@t2"), 3.0), Refused)  # replaced by a later boot
    assert attached(table.attach(wire(f"{EXPORT}@t1"), 3.0)) is old
    assert table.find(wire(f"{EXPORT}@t3")) is new
    assert table.take_ended() == []
    assert attached(table.attach(wire(f"{EXPORT}@t3"), 3.0)) is new
    assert table.take_ended() == [old]
    assert isinstance(table.attach(wire(f"{EXPORT}@t1"), 3.0), Refused)


def test_another_table_has_other_generations() -> None:
    first = granted(LeaseTable(MIB).grant(SEAT, EXPORT, "t1", MIB, 0.0))
    second = granted(LeaseTable(MIB).grant(SEAT, EXPORT, "t1", MIB, 1.0))
    assert first.generation != second.generation


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 50), st.booleans())))
def test_never_more_is_promised_than_there_is(
    boots: list[tuple[int, int, int, bool]],
) -> None:
    table, exports = LeaseTable(100), {f"seat-{seat}" for seat in range(4)}
    for time, (seat, token, size, attaches) in enumerate(boots):
        lease = table.grant(str(seat), f"seat-{seat}", str(token), size, time)
        if isinstance(lease, Lease) and attaches:
            assert attached(table.attach(wire(f"seat-{seat}@{token}"), time)) is lease
    promised = 0
    for export in exports:
        found = (table.find(wire(f"{export}@{token}")) for token in range(10))
        sizes = [lease.size_bytes for lease in found if isinstance(lease, Lease)]
        assert len(sizes) <= 2  # the attached one, and the one that a boot will attach
        promised += max(sizes, default=0)
    assert promised <= 100


def test_a_newer_set_fences_older_ones_for_good() -> None:
    table = LeaseTable(MIB)
    lease = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert table.attach(wire(f"{EXPORT}@t1.a"), 1.0) == Attached(lease, 10, fences=True)
    assert table.attach(wire(f"{EXPORT}@t1.a"), 1.0) == Attached(lease, 10)  # same set
    assert table.find(wire(f"{EXPORT}@t1.ff")) is lease  # INFO does not fence
    assert table.attach(wire(f"{EXPORT}@t1.FF"), 1.0) == Attached(lease, 255, fences=True)
    replaced = Refused(f"set a of {EXPORT} has been replaced by a newer one")
    assert table.attach(wire(f"{EXPORT}@t1.a"), 2.0) == replaced
    assert table.find(wire(f"{EXPORT}@t1.a")) is lease, "INFO must not tell the number in use"
    assert isinstance(table.attach(wire(f"{EXPORT}@t1"), 2.0), Refused)
    for malformed in ("x", "1.", "-1", "1" * 17):
        assert isinstance(table.attach(wire(f"{EXPORT}@t1.{malformed}"), 2.0), Refused)


def test_a_pc_that_boots_again_has_room_also_if_the_capacity_has_shrunk() -> None:
    """Another program took room of /dev/shm: "4 MiB asked, 0.0 MiB of 6.0 MiB left"."""
    table = LeaseTable(12 * MIB)
    for export in (EXPORT, OTHER_EXPORT, "third"):
        granted(table.grant(export, export, "t1", 4 * MIB, 0.0))
        attached(table.attach(wire(f"{export}@t1"), 0.0))
    table.capacity_bytes = 6 * MIB
    refused = table.grant(EXPORT, EXPORT, "t2", 5 * MIB, 1.0)
    assert refused == Refused("no room: 5 MiB asked, 4 MiB of 6 MiB left")
    granted(table.grant(EXPORT, EXPORT, "t2", 4 * MIB, 1.0))
    attached(table.attach(wire(f"{EXPORT}@t2"), 1.0))
    assert table.granted_bytes == 12 * MIB
    assert isinstance(table.grant("new", "new", "t1", MIB, 1.0), Refused)


def test_an_area_has_a_page_at_least() -> None:
    table = LeaseTable(0)
    assert isinstance(table.grant(SEAT, EXPORT, "t1", 0, 0.0), Refused)
    assert not table.has(EXPORT)


def test_overcommit_is_how_often_the_capacity_is_promised() -> None:
    table = LeaseTable(100, overcommit=1.5)
    granted(table.grant(SEAT, EXPORT, "t1", 100, 0.0))
    assert isinstance(table.grant(OTHER, OTHER_EXPORT, "t1", 51, 0.0), Refused)
    granted(table.grant(OTHER, OTHER_EXPORT, "t1", 50, 0.0))


def test_a_lease_that_nobody_uses_ends_after_its_time() -> None:
    table = LeaseTable(100, lease_seconds=10.0)
    lease = granted(table.grant(SEAT, EXPORT, "t1", 100, 0.0))
    attached(table.attach(wire(f"{EXPORT}@t1"), 1.0))
    assert isinstance(table.grant(OTHER, OTHER_EXPORT, "t1", 100, 50.0), Refused)  # in use
    table.let_go(lease.generation, 50.0)
    assert isinstance(table.grant(OTHER, OTHER_EXPORT, "t1", 100, 59.0), Refused)
    other = granted(table.grant(OTHER, OTHER_EXPORT, "t1", 100, 60.0))
    assert table.take_ended() == [lease]
    assert isinstance(table.find(wire(f"{EXPORT}@t1")), Refused)
    # A boot that never attached its lease leaves nothing to wipe.
    granted(table.grant(SEAT, EXPORT, "t2", 100, 180.0))
    assert table.take_ended() == []
    assert isinstance(table.find(wire(f"{OTHER_EXPORT}@t1")), Refused)
    assert other.generation != lease.generation


def test_the_next_server_knows_the_leases_and_which_have_lost_their_pages() -> None:
    table = LeaseTable(3 * MIB)
    kept = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    lost = granted(table.grant(OTHER, OTHER_EXPORT, "t1", MIB, 0.0))
    attached(table.attach(wire(f"{EXPORT}@t1.5"), 1.0))
    attached(table.attach(wire(f"{OTHER_EXPORT}@t1"), 1.0))
    pending = granted(table.grant(SEAT, EXPORT, "t2", MIB, 2.0))
    successor = LeaseTable(3 * MIB)
    successor.restore(json.loads(json.dumps(table.as_json())), 3.0)
    assert successor.lose([kept.generation]) == [lost]
    assert successor.find(wire(f"{EXPORT}@t1.5")) == kept
    assert isinstance(successor.attach(wire(f"{EXPORT}@t1.4"), 3.0), Refused)
    gone = Refused(f"this server no longer has the pages of {OTHER_EXPORT}")
    assert successor.attach(wire(f"{OTHER_EXPORT}@t1"), 3.0) == gone
    assert successor.resume(kept.generation) == kept
    assert successor.resume(lost.generation) is successor.resume(pending.generation) is None
    assert attached(successor.attach(wire(f"{EXPORT}@t2"), 4.0)) == pending
    assert successor.take_ended() == [kept]


def test_a_boot_may_have_further_areas_and_a_new_boot_ends_them_when_it_attaches() -> None:
    table = LeaseTable(4 * MIB)
    first = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    attached(table.attach(wire(f"{EXPORT}@t1"), 0.0))
    second = granted(table.grant(SEAT, f"{EXPORT}-2", "t2", MIB, 1.0, fresh=True))
    attached(table.attach(wire(f"{EXPORT}-2@t2"), 1.0))
    third = granted(table.grant(SEAT, f"{EXPORT}-3", "t3", MIB, 1.0, fresh=True))
    other = granted(table.grant(OTHER, OTHER_EXPORT, "t1", MIB, 1.0))
    attached(table.attach(wire(f"{OTHER_EXPORT}@t1"), 1.0))
    full = table.grant(SEAT, f"{EXPORT}-4", "t4", MIB, 1.0, fresh=True)
    assert full == Refused("no room: 1 MiB asked, 0.0 MiB of 4 MiB left")
    # Fits, because the area of the seat's previous boot is not counted.
    granted(table.grant(SEAT, EXPORT, "t5", MIB, 2.0))
    assert (
        table.find(wire(f"{EXPORT}-2@t2")) is second and table.find(wire(f"{EXPORT}-3@t3")) is third
    )
    attached(table.attach(wire(f"{EXPORT}@t5"), 3.0))
    assert table.take_ended() == [first, second]  # nothing was written to the third
    assert isinstance(table.find(wire(f"{EXPORT}-2@t2")), Refused)
    assert isinstance(table.find(wire(f"{EXPORT}-3@t3")), Refused)
    assert table.find(wire(f"{OTHER_EXPORT}@t1")) is other


def test_a_fresh_lease_in_place_of_lost_pages_ends_no_other_area() -> None:
    table = LeaseTable(2 * MIB)
    lost = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    attached(table.attach(wire(f"{EXPORT}@t1"), 0.0))
    second = granted(table.grant(SEAT, f"{EXPORT}-2", "t2", MIB, 1.0, fresh=True))
    attached(table.attach(wire(f"{EXPORT}-2@t2"), 1.0))
    granted(table.grant(SEAT, EXPORT, "t3", MIB, 2.0, fresh=True))
    successor = LeaseTable(2 * MIB)
    successor.restore(json.loads(json.dumps(table.as_json())), 2.0)
    attached(successor.attach(wire(f"{EXPORT}@t3"), 3.0))
    assert successor.take_ended() == [lost]
    assert successor.find(wire(f"{EXPORT}-2@t2")) == second


def test_a_lease_ends_at_its_seats_word_but_never_while_it_is_used() -> None:
    table = LeaseTable(MIB)
    lease = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    attached(table.attach(wire(f"{EXPORT}@t1"), 0.0))
    assert table.end(EXPORT) == Refused(f"{EXPORT} is in use")
    table.let_go(lease.generation, 1.0)
    told: list[list[Lease]] = []
    table.on_change = lambda granted: told.append(table.take_ended())
    assert table.end(EXPORT) is table.end(EXPORT) is table.end("nothing") is None
    assert told == [[lease], [], []]
    assert isinstance(table.find(wire(f"{EXPORT}@t1")), Refused)
    granted(table.grant(OTHER, OTHER_EXPORT, "t1", MIB, 2.0))
    assert table.end(OTHER_EXPORT) is None  # granted and never attached
    granted(table.grant(SEAT, EXPORT, "t2", MIB, 2.0))


def test_an_attachment_tells_before_whose_connections_it_ends() -> None:
    table = LeaseTable(4 * MIB)
    first = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert table.ends(wire(f"{EXPORT}@t1")) == Ends(places=16)
    assert table.ends(wire(f"{EXPORT}@guess")) == Ends()
    attached(table.attach(wire(f"{EXPORT}@t1.5"), 0.0))
    second = granted(table.grant(SEAT, f"{EXPORT}-2", "t2", MIB, 1.0, fresh=True))
    assert table.ends(wire(f"{EXPORT}-2@t2")) == Ends(places=16)
    attached(table.attach(wire(f"{EXPORT}-2@t2"), 1.0))
    assert table.ends(wire(f"{EXPORT}@t1.6")) == Ends(again=first.generation, places=16)
    granted(table.grant(SEAT, EXPORT, "t3", MIB, 2.0, connections=2))
    both = (first.generation, second.generation)
    assert table.ends(wire(f"{EXPORT}@t3")) == Ends(replaced=both, places=2)
    assert attached(table.attach(wire(f"{EXPORT}@t1.6"), 3.0)) is first, "nothing has changed"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 3)), max_size=40))
def test_the_table_counts_its_room_as_it_would_from_all_its_leases(
    steps: list[tuple[int, int, int]],
) -> None:
    """Whatever happens in which order: it looks at no lease but those that a step is about."""
    table, now = LeaseTable(12 * MIB, lease_seconds=300.0), 0.0
    for turn, (kind, seat, area) in enumerate(steps):
        now += 17.0
        export, token = f"seat-{seat}-{area}", f"t{turn}"
        found = [each for each in table.as_json() if each["export"] == export]
        name = wire(f"{export}@{found[0]['token']}") if found else wire(f"{export}@none")
        match kind:
            case 0 | 1:
                asker = "" if seat % 2 else f"10.0.0.{seat}"
                table.grant(str(seat), export, token, MIB + turn, now, fresh=area > 0, asker=asker)
            case 2 | 3:
                table.attach(name, now)
            case 4 if found:
                table.let_go(found[0]["generation"], now)
            case _:
                table.lose(table.generations() - {each["generation"] for each in found})
        rows = table.as_json()
        sizes: dict[str, int] = {}
        for row in rows:
            held = 0 if row["lost"] else row["size_bytes"]
            sizes[row["export"]] = max(sizes.get(row["export"], 0), held)
        assert table.granted_bytes == sum(sizes.values())
        assert table.generations() == {row["generation"] for row in rows}
        again = LeaseTable(12 * MIB)
        again.restore(rows, now)
        assert again.granted_bytes == table.granted_bytes
        assert sorted(map(str, again.as_json())) == sorted(map(str, rows))


def test_a_lease_that_was_never_attached_lives_for_two_minutes() -> None:
    table = LeaseTable(100)
    granted(table.grant(SEAT, EXPORT, "t1", 100, 0.0))
    assert isinstance(table.grant(OTHER, OTHER_EXPORT, "t1", 100, 119.0), Refused)
    granted(table.grant(OTHER, OTHER_EXPORT, "t1", 100, 120.0))


def test_an_address_has_four_pending_leases_and_the_oldest_ends() -> None:
    table = LeaseTable(100)
    for number in range(6):
        granted(table.grant(f"m{number}", f"e{number}", "t", 1, float(number), asker="10.0.0.66"))
        granted(table.grant(f"c{number}", f"f{number}", "t", 1, float(number)))
    left = [isinstance(table.find(wire(f"e{number}@t")), Lease) for number in range(6)]
    assert left == [False, False, True, True, True, True]
    assert all(isinstance(table.find(wire(f"f{number}@t")), Lease) for number in range(6))


def test_all_strangers_together_have_a_number_of_pending_leases() -> None:
    table = LeaseTable(1 << 20)
    for number in range(PENDING_IN_TOTAL + 10):
        granted(table.grant(f"m{number}", f"e{number}", "t", 1, float(0), asker=f"{number}"))
    assert len(table.generations()) == PENDING_IN_TOTAL


def test_a_storm_of_played_pcs_ends_the_pending_lease_of_no_real_one() -> None:
    table = LeaseTable(1 << 20)
    mine = granted(table.grant(SEAT, EXPORT, "t", 1, 0.0, asker="10.0.0.7"))
    for number in range(PENDING_IN_TOTAL + 10):
        granted(table.grant(f"m{number}", f"e{number}", "t", 1, 1.0, asker=PLAYED))
        assert len(table.generations()) == min(number + 2, PENDING_IN_TOTAL)
    assert table.find(wire(f"{EXPORT}@t")) is mine


def test_a_lease_of_a_storm_that_was_killed_ends_soon() -> None:
    table = LeaseTable(1 << 20)
    for number, asker in enumerate((PLAYED, "10.0.0.7")):
        lease = granted(table.grant(f"m{number}", f"e{number}", "t", 1, 0.0, asker=asker))
        assert isinstance(table.attach(wire(f"e{number}@t"), 0.0), Attached)
        table.let_go(lease.generation, 1.0)
    granted(table.grant(SEAT, EXPORT, "t", 1, PENDING_SECONDS + 2.0))
    assert [each.export for each in table.take_ended()] == ["e0"]


def test_pending_leases_of_a_stranger_leave_room_for_others() -> None:
    table = LeaseTable(100)
    for number, size in enumerate((50, 25, 25)):
        granted(table.grant(f"m{number}", f"e{number}", "t", size, float(number), asker="evil"))
    mine = granted(table.grant(SEAT, EXPORT, "t", 40, 5.0, asker="honest"))
    assert isinstance(table.find(wire("e0@t")), Refused), "the oldest of the heaviest ends"
    assert isinstance(table.find(wire("e2@t")), Lease)
    granted(table.grant("m9", "e9", "t", 50, 6.0, asker="evil"))
    assert table.find(wire(f"{EXPORT}@t")) is mine
    assert isinstance(table.grant(OTHER, OTHER_EXPORT, "t", 61, 7.0, asker="third"), Refused)
    granted(table.grant(OTHER, OTHER_EXPORT, "t", 100, 8.0))  # the profile names this one


def test_leases_that_were_attached_end_for_no_newcomer() -> None:
    table = LeaseTable(100)
    lease = granted(table.grant(SEAT, EXPORT, "t", 100, 0.0, asker="10.0.0.7"))
    attached(table.attach(wire(f"{EXPORT}@t"), 0.0))
    assert isinstance(table.grant(OTHER, OTHER_EXPORT, "t", 1, 1.0), Refused)
    assert table.find(wire(f"{EXPORT}@t")) is lease


def test_the_state_of_the_last_release_is_read_and_that_of_the_next_is_refused() -> None:
    table = LeaseTable(MIB)
    lease = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0, connections=2))
    attached(table.attach(wire(f"{EXPORT}@t1.5"), 1.0))
    (row,) = table.as_json()
    newer = ("version", "connections", "asker", "key")
    old = [{name: row[name] for name in row if name not in newer}]
    successor = LeaseTable(MIB)
    successor.restore(old, 2.0)
    assert successor.resume(lease.generation) == replace(lease, connections=MAX_CONNECTIONS)
    with pytest.raises(ValueError, match="version 3, expected at most 2"):
        LeaseTable(MIB).restore([{**row, "version": 3}], 2.0)


# The token, and the key in its place.


def keyed_table(*keys: str) -> LeaseTable:
    table, left = LeaseTable(4 * MIB), list(keys)
    table.use_keys(lambda generation: left.pop(0))
    return table


def after_restart(table: LeaseTable) -> LeaseTable:
    """Return the table of the next server, which finds what this one has saved."""
    successor = LeaseTable(4 * MIB)
    successor.restore(json.loads(json.dumps(table.as_json())), 9.0)
    successor.use_keys(lambda generation: "another")
    return successor


def attaches(table: LeaseTable, secret: str, number: int = 0) -> bool:
    """Return whether a connection attaches; any refusal must be that of a wrong token."""
    name = wire(f"{EXPORT}@{secret}.{number:x}")
    answer = table.attach(name, 9.0)
    if isinstance(answer, Refused):
        assert answer == table.find(name) == UNKNOWN
        assert (table.key_for(name), table.ends(name)) == ("", Ends())
    return isinstance(answer, Attached)


def test_the_token_tells_the_same_key_until_the_key_was_used() -> None:
    table = keyed_table("k1")
    lease = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    for _ in range(3):  # the answer may be lost, or its reader end
        assert table.key_for(wire(f"{EXPORT}@t1.5")) == "k1"
    assert table.key_for(wire(f"{EXPORT}@k1.5")) == table.key_for(wire(f"{EXPORT}@guess")) == ""
    name = wire(f"{EXPORT}@k1.5")
    assert table.attach(name, 1.0) == Attached(lease, 5, fences=True, proves=True)
    assert table.attach(name, 1.0) == Attached(lease, 5), "the first time only"
    assert not attaches(table, "t1", 5) and not attaches(table, "t1", 1 << 63)
    assert table.attach(name, 2.0) == Attached(lease, 5), "the token fences nothing"
    assert table.key_for(name) == ""


def test_the_token_is_good_for_an_agent_that_knows_no_keys() -> None:
    table = keyed_table("k1")
    granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert all(attaches(table, "t1", number) for number in (0, 1, 1, 2))
    again = after_restart(table)
    assert attaches(again, "t1", 3)
    assert again.key_for(wire(f"{EXPORT}@t1")) == "k1", "an agent of this release may follow"


def test_a_dead_token_gets_the_same_lease_and_does_not_come_alive() -> None:
    """Who has the session asks for the lease again: as init does after an agent that ended."""
    table = keyed_table("k1")
    lease = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert attaches(table, "k1")
    for found in (table, after_restart(table)):
        assert found.grant(SEAT, EXPORT, "t1", MIB, 10.0) == lease
        assert not attaches(found, "t1") and attaches(found, "k1")


def test_nothing_empty_opens_a_lease() -> None:
    table = LeaseTable(MIB)  # without keys
    granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert not attaches(table, "") and attaches(table, "t1")


def test_a_restart_between_the_key_and_its_use_strands_nobody() -> None:
    table = keyed_table("k1")
    granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert table.key_for(wire(f"{EXPORT}@t1")) == "k1"
    again = after_restart(table)
    assert again.key_for(wire(f"{EXPORT}@t1")) == "k1"
    assert attaches(again, "k1") and not attaches(again, "t1")


def test_a_restart_after_the_use_of_the_key_forgets_the_token() -> None:
    table = keyed_table("k1")
    granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    attaches(table, "k1")
    again = after_restart(table)
    assert attaches(again, "k1") and not attaches(again, "t1")


def test_a_use_that_was_not_saved_strands_nobody() -> None:
    """The server was killed before it answered: the agent asks again, or its successor does."""
    table = keyed_table("k1")
    granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    saved = after_restart(table)
    assert attaches(table, "k1")
    assert saved.key_for(wire(f"{EXPORT}@t1")) == "k1"
    assert attaches(saved, "k1")


def as_0_1_0(table: LeaseTable) -> list[dict[str, Any]]:
    """Return the rows as release 0.1.0 reads and writes them: it knows one secret, ``token``."""
    fields = "seat export size_bytes generation granted token set_number attached lost fresh"
    return [{name: row[name] for name in fields.split()} for row in table.as_json()]


@pytest.mark.parametrize(("used", "opens"), [(False, "t1"), (True, "k1")])
def test_an_older_release_knows_the_secret_that_the_pc_has(used: bool, opens: str) -> None:
    table = keyed_table("k1")
    granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    if used:
        attaches(table, "k1")
    (row,) = as_0_1_0(table)
    assert row["token"] == opens
    forth = LeaseTable(4 * MIB)
    forth.restore([row], 9.0)  # and forth again
    forth.use_keys(lambda generation: "k2")
    assert attaches(forth, opens, 1)
    assert forth.key_for(wire(f"{EXPORT}@{opens}")) == "k2"
    assert attaches(forth, "k2", 2) and not attaches(forth, opens, 3)


def test_fresh_leases_and_further_areas_have_keys_of_their_own() -> None:
    table = keyed_table("k1", "k2", "k3")
    granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert attaches(table, "k1")
    second = f"{EXPORT}-2"
    granted(table.grant(SEAT, second, "t2", MIB, 0.0, fresh=True))
    assert table.key_for(wire(f"{second}@t2")) == "k2"
    assert table.key_for(wire(f"{second}@t1")) == table.key_for(wire(f"{second}@k1")) == ""
    granted(table.grant(SEAT, EXPORT, "t3", MIB, 0.0, fresh=True))
    assert attaches(table, "k1"), "until the fresh one is attached"
    assert attaches(table, "k3")
    assert not any(attaches(table, secret) for secret in ("t1", "k1", "t3"))


def test_holdings_count_an_area_once_and_name_the_files_with_pages() -> None:
    table = LeaseTable(64 * MIB)
    old = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert table.holdings() == {SEAT: (MIB, [])}, "nobody has attached it yet"
    table.attach(wire(f"{EXPORT}@t1"), 0.0)
    table.grant(SEAT, EXPORT, "t2", 2 * MIB, 1.0)
    more = granted(table.grant(SEAT, f"{EXPORT}-2", "t3", MIB, 2.0, fresh=True))
    table.attach(wire(f"{EXPORT}-2@t3"), 2.0)
    table.grant(OTHER, OTHER_EXPORT, "t4", MIB, 3.0)
    assert table.holdings() == {
        SEAT: (3 * MIB, [old.generation, more.generation]),
        OTHER: (MIB, []),
    }


def test_a_withheld_lease_is_refused_and_taken_back_as_it_was() -> None:
    table = LeaseTable(MIB)
    lease = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    assert table.with_pages(0.0, 60.0) == {}, "no page yet"
    attached(table.attach(wire(f"{EXPORT}@t1.5"), 1.0))
    assert table.with_pages(999.0, 60.0) == {lease.generation: (lease, True)}
    table.withhold(lease.generation, on=True)
    refused = table.attach(wire(f"{EXPORT}@t1.6"), 2.0)
    assert isinstance(refused, Refused) and "drained" in refused.reason
    table.let_go(lease.generation, 2.0)
    assert table.with_pages(61.0, 60.0) == {lease.generation: (lease, False)}
    assert table.with_pages(62.0, 60.0) == {}
    table.withhold(lease.generation, on=False)
    assert attached(table.attach(wire(f"{EXPORT}@t1.6"), 3.0)) == lease
    assert not table.take_ended()
