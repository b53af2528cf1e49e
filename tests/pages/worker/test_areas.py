"""The areas of a worker: what their page files must be, and what the areas may hold."""

import os
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from netboot.pages import control
from netboot.pages.nbd.backing import Damaged
from netboot.pages.stores import memory
from netboot.pages.stores.disk import DiskStore
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.stores.store import PageStore
from netboot.pages.stores.tiered import TieredStore
from netboot.pages.worker import areas as worker_areas
from netboot.pages.worker.areas import Areas, closed_on_error
from netboot.pages.worker.desk import Desk
from tests.support.slow_file import Stalled

MIB = 1 << 20


def connect(store: PageStore, lease: str = "a", size_bytes: int = MIB) -> control.Message:
    return {
        "lease": lease,
        "seat": "",
        "store": store.kind,
        "size_bytes": size_bytes,
        "export": lease,
        "read_only": False,
        "written": True,
    }


def adopted(store: PageStore, count: int | None = None) -> None:
    """Adopt a page file of ``store`` by the first ``count`` of its descriptors."""
    with closing(store.open("a", MIB)) as pages:
        given = [os.dup(each) for each in pages.descriptors()][:count]
        areas = Areas(Desk())
        with closed_on_error(given):
            areas.adopt(connect(store), given)
        areas.forget("a")


@pytest.mark.system
def test_a_missing_descriptor_is_no_damage(tmp_path: Path) -> None:
    """Else a sound lease would end, because a process was short of descriptors."""
    (tmp_path / "disk").mkdir()
    for store in (DiskStore(tmp_path / "disk"), TieredStore(tmp_path, 4 * MIB)):
        with closing(store):
            store.create("a", MIB).close()
            adopted(store)
            for count in range(1 if store.kind == "disk" else 3):
                with pytest.raises(ValueError, match="unpack"):
                    adopted(store, count)


@pytest.mark.system
def test_a_tiered_file_that_is_cut_is_damaged(tmp_path: Path) -> None:
    with closing(TieredStore(tmp_path, 4 * MIB)) as store:
        store.create("a", MIB).close()
        with closing(store.open("a", MIB)) as pages:
            given = [os.dup(each) for each in pages.descriptors()]
            os.truncate(store.directory / "a.pages", 4096)
            with closed_on_error(given), pytest.raises(Damaged, match="truncated"):
                Areas(Desk()).adopt(connect(store), given)
            os.truncate(store.directory / "a.pages", 2 * MIB)  # for whoever still has it mapped


@pytest.mark.system
def test_a_damaged_ledger_is_that_of_all_areas_of_its_store(tmp_path: Path) -> None:
    """The handler of SIGBUS knows path and inode; two file systems may have the same inode."""
    with closing(TieredStore(tmp_path, 4 * MIB)) as store:
        areas, inodes = Areas(Desk()), {}
        for name in "ab":
            with closing(store.create(name, MIB)) as pages:
                areas.adopt(connect(store, name), [os.dup(each) for each in pages.descriptors()])
            path = store.directory / f"{name}.pages"
            inodes[name] = path.stat().st_ino
            assert [each.lease for each in areas.of_file(str(path), inodes[name])] == [name]
        ledger = store.directory / "ledger"
        found = areas.of_file(str(ledger), ledger.stat().st_ino)
        assert [each.lease for each in found] == ["a", "b"]
        assert areas.of_file("/another/a.pages", inodes["a"]) == []
        for name in "ab":
            areas.forget(name)


def test_a_page_file_of_several_servers_is_told_each_set(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[int] = []

    class Numbered(Stalled):
        def enter(self, set_number: int) -> None:
            entered.append(set_number)

        def rest(self) -> None:
            raise AssertionError("it has connections")

    with closing(MemoryStore()) as store, closing(store.create("a", MIB)) as pages:
        found = SimpleNamespace(adopt=lambda given, size: Numbered(memory.adopt(given, size)))
        monkeypatch.setattr(worker_areas, "load", lambda kind: found)
        areas = Areas(Desk())
        for number in (0, 7, 7, 9):
            given = [os.dup(each) for each in pages.descriptors()]
            areas.adopt({**connect(store), "set": number}, given)
        areas.forget("a")
    assert entered == [0, 7, 7, 9]
