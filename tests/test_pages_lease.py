"""Who may attach what, and whether there is room: every rule of the lease table."""

from hypothesis import given
from hypothesis import strategies as st

from netboot.nbd.export import Refusal, Refused
from netboot.pages.lease import Lease, LeaseTable

MIB = 1 << 20
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"
OTHER, OTHER_EXPORT = "52:54:00:12:34:02", "seat-525400123402"


def granted(answer: Lease | Refused) -> Lease:
    assert isinstance(answer, Lease), answer
    return answer


def test_the_right_token_attaches_as_often_as_it_likes() -> None:
    table = LeaseTable(MIB)
    lease = granted(table.grant(SEAT, EXPORT, "t1", MIB, 5.0))
    assert (lease.seat, lease.export, lease.size_bytes, lease.granted) == (SEAT, EXPORT, MIB, 5.0)
    assert len(bytes.fromhex(lease.generation)) == 16
    assert table.find(f"{EXPORT}@t1") is table.attach(f"{EXPORT}@t1") is lease
    assert table.attach(f"{EXPORT}@t1") is lease
    assert table.grant(SEAT, EXPORT, "t1", MIB, 6.0) is lease
    assert table.take_ended() == []


def test_refusals_are_sentences_for_the_console() -> None:
    table = LeaseTable(4096 * MIB)
    granted(table.grant(SEAT, EXPORT, "t1", 3996 * MIB, 0.0))
    wrong = Refused(f"wrong token for export {EXPORT}", Refusal.POLICY)
    for name in (f"{EXPORT}@t2", f"{EXPORT}@", EXPORT, f"{EXPORT}@\N{SNOWMAN}", f"{EXPORT}@t1@"):
        assert table.attach(name) == table.find(name) == wrong
    for name in ("", "@t1", "seat@t1"):
        assert table.attach(name) == Refused("no such export", Refusal.UNKNOWN)
    refused = table.grant(OTHER, OTHER_EXPORT, "t1", 512 * MIB, 0.0)
    assert refused == Refused("no room: 512 MiB asked, 100 MiB of 4 GiB left")


def test_a_new_boot_replaces_the_lease_only_when_it_attaches() -> None:
    table = LeaseTable(MIB)  # room for one: the older lease is not counted twice
    old = granted(table.grant(SEAT, EXPORT, "t1", MIB, 0.0))
    table.attach(f"{EXPORT}@t1")
    stray = granted(table.grant(SEAT, EXPORT, "t2", MIB, 1.0))
    new = granted(table.grant(SEAT, EXPORT, "t3", MIB, 2.0))
    assert len({old.generation, stray.generation, new.generation}) == 3
    assert isinstance(table.attach(f"{EXPORT}@t2"), Refused)  # a later boot took its place
    assert table.attach(f"{EXPORT}@t1") is old
    assert table.find(f"{EXPORT}@t3") is new
    assert table.take_ended() == []
    assert table.attach(f"{EXPORT}@t3") is new
    assert table.take_ended() == [old]
    assert isinstance(table.attach(f"{EXPORT}@t1"), Refused)


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
            assert table.attach(f"seat-{seat}@{token}") is lease
    promised = 0
    for export in exports:
        found = (table.find(f"{export}@{token}") for token in range(10))
        sizes = [lease.size_bytes for lease in found if isinstance(lease, Lease)]
        assert len(sizes) <= 2  # the one in use and the one that a boot is about to use
        promised += max(sizes, default=0)
    assert promised <= 100
