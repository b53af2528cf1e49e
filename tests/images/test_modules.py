"""modinfo of made-up modules, closures and modprobe's tables; test_build.py has real modules."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.errors import OperatorError
from netboot.images import modules
from netboot.images.modules import Module


def elf(modinfo: bytes, *, bits: int = 64, section: bytes = b".modinfo") -> bytes:
    """Return the smallest ELF file with one section beside the section names."""
    names = b"\0" + section + b"\0.shstrtab\0"
    start = 64
    table = start + len(modinfo) + len(names)
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    layout = "<HHIQQQIHHHHHH" if bits == 64 else "<HHIIIIIHHHHHH"
    size = 64 if bits == 64 else 40
    header = ident + struct.pack(layout, 1, 62, 1, 0, 0, table, 0, 64, 0, 0, size, 3, 2)
    row = "<IIQQQQIIQQ" if bits == 64 else "<10I"
    rows = [
        struct.pack(row, *[0] * 10),
        struct.pack(row, 1, 1, 0, 0, start, len(modinfo), 0, 0, 1, 0),
        struct.pack(row, len(section) + 2, 3, 0, 0, start + len(modinfo), len(names), 0, 0, 1, 0),
    ]
    return header.ljust(start, b"\0") + modinfo + names + b"".join(rows)


INFO = (
    b"license=GPL\0softdep=pre: real-tek post: after\0firmware=rtl/b.fw\0firmware=rtl/a.fw\0"
    b"alias=pci:v*=x\0depends=mii,lib-phy\0name=r8169\0\0broken"
)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_module_describes_itself(bits: int) -> None:
    assert modules.parse("kernel/net/r-8169.ko", elf(INFO, bits=bits)) == Module(
        path="kernel/net/r-8169.ko",
        name="r_8169",
        depends=("lib_phy", "mii"),
        soft=("real-tek",),
        aliases=("pci:v*=x",),
        firmware=("rtl/a.fw", "rtl/b.fw"),
    )


def test_a_module_without_needs() -> None:
    assert modules.parse("a.ko", elf(b"depends=\0")) == Module("a.ko", "a")


@pytest.mark.parametrize("content", [b"", b"MZ", elf(b"", section=b".data"), elf(INFO)[:-40]])
def test_what_is_no_module_is_refused(content: bytes) -> None:
    with pytest.raises(OperatorError, match=r"a\.ko is not a kernel module"):
        modules.parse("a.ko", content)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6), st.integers(0))
@settings(max_examples=100)
def test_any_bytes_are_a_module_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(elf(INFO))
    for position, value in changes:
        content[position % len(content)] = value
    try:
        modules.parse("a.ko", bytes(content[: cut % len(content) or None]))
    except OperatorError:
        pass


def known(**depends: str) -> dict[str, Module]:
    return {
        name: Module(f"kernel/{name}.ko", name, tuple(words.split()))
        for name, words in depends.items()
    }


def test_closure_follows_needs_and_stops_at_builtin_ones() -> None:
    every = known(card="bus mii", bus="core", mii="", core="", other="")
    chosen = modules.closure(every, frozenset({"mii"}), ["card"])
    assert [module.name for module in chosen] == ["bus", "card", "core"]


def test_a_need_that_is_nowhere_is_named() -> None:
    with pytest.raises(OperatorError, match="module bus, which card needs, is not in this kernel"):
        modules.closure(known(card="bus"), frozenset(), ["card"])


def test_soft_needs_are_taken_where_they_exist() -> None:
    card = Module("kernel/card.ko", "card", soft=("real-tek", "nowhere"))
    every = {"card": card, **known(real_tek="")}
    chosen = modules.closure(every, frozenset(), ["card"])
    assert modules.dep_table(chosen) == (
        "kernel/card.ko: kernel/real_tek.ko\nkernel/real_tek.ko:\n"
    )


def test_dep_table_names_last_what_is_loaded_first() -> None:
    table = modules.dep_table(known(a="b c", b="d", c="d", d="e", e="").values())
    assert table.splitlines()[0] == ("kernel/a.ko: kernel/c.ko kernel/b.ko kernel/d.ko kernel/e.ko")


def test_modules_that_need_each_other_end_the_table_too() -> None:
    assert modules.dep_table(known(a="b", b="a").values()) == (
        "kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n"
    )


def test_alias_table() -> None:
    card = Module("kernel/card.ko", "card", aliases=("pci:v1*", "pci:v2*"))
    assert modules.alias_table([card]) == "alias pci:v1* card\nalias pci:v2* card\n"
