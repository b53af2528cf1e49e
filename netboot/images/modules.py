"""Kernel modules: their own descriptions, their dependencies, and modprobe's tables for them.

Pure. A module lists its dependencies in its ELF section ``.modinfo``, as NUL-terminated
``key=value`` strings (kernel include/linux/moduleparam.h). Debian's kernel package comes without
modules.dep, which depmod makes at installation, so the tables are made here.
"""

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from netboot.errors import OperatorError

PCI_ALIAS = re.compile(r"pci:v0000([0-9A-F]{4})d(?:0000([0-9A-F]{4})|\*)sv")


@dataclass(frozen=True, slots=True)
class Module:
    """One module. ``path`` is below /lib/modules/VERSION; names have ``_`` where files have ``-``.

    ``depends`` are modules with symbols that it links to, ``soft`` names of modules to load before
    it if they exist, ``firmware`` files below /lib/firmware.
    """

    path: str
    name: str
    depends: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()


def module_name(path: str) -> str:
    """Return the name of the module in a file: ``kernel/net/foo-bar.ko`` is ``foo_bar``."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def names(listing: str) -> frozenset[str]:
    """Return the names of modules in a list of paths, such as modules.builtin."""
    return frozenset(module_name(path) for path in listing.split())


def matches(module: Module, patterns: Iterable[str], but: Iterable[str] = ()) -> bool:
    """Return True if ``module``'s path matches one of ``patterns`` (drivers.py) and none of
    ``but``.
    """
    name = module.path.removeprefix("kernel/").partition(".ko")[0]
    return any(fnmatchcase(name, each) for each in patterns) and not any(
        fnmatchcase(name, each) for each in but
    )


def cards(module: Module) -> tuple[str, ...]:
    """Return the PCI ids of a driver's cards: ``8086:100e``, or ``8086:*`` for all of a maker."""
    found = (PCI_ALIAS.match(alias) for alias in module.aliases)
    return tuple(sorted({f"{m[1]}:{m[2] or '*'}".lower() for m in found if m is not None}))


def parse(path: str, content: bytes) -> Module:
    """Read a module's own description. Raises OperatorError if it is not a kernel module."""
    fields: dict[str, list[str]] = {}
    for entry in _section(path, content, b".modinfo").split(b"\0"):
        key, equals, value = entry.decode("utf-8", "replace").partition("=")
        if equals:
            fields.setdefault(key, []).append(value)
    depends = ",".join(fields.get("depends", [])).split(",")
    return Module(
        path=path,
        name=module_name(path),
        depends=tuple(sorted({name.replace("-", "_") for name in depends if name})),
        soft=tuple(name for text in fields.get("softdep", []) for name in _before(text)),
        aliases=tuple(fields.get("alias", [])),
        firmware=tuple(sorted(set(fields.get("firmware", [])))),
    )


def _before(softdep: str) -> list[str]:
    """Return the ``pre:`` names of ``pre: a b post: c``; a name without a label counts as one."""
    names, wanted = [], True
    for word in softdep.split():
        if word in ("pre:", "post:"):
            wanted = word == "pre:"
        elif wanted:
            names.append(word)
    return names


def _section(path: str, content: bytes, wanted: bytes) -> bytes:
    """Return a section of a little-endian ELF file of either class (System V gABI, chapter 4)."""
    try:
        if content[:4] != b"\x7fELF" or content[5] != 1:
            raise ValueError("no little-endian ELF file")
        wide = content[4] == 2
        # File header: e_shoff, then e_shentsize, e_shnum, e_shstrndx.
        (table,) = struct.unpack_from("<Q" if wide else "<I", content, 40 if wide else 32)
        size, count, names = struct.unpack_from("<3H", content, 58 if wide else 46)
        # Section header: sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size.
        header = struct.Struct("<IIQQQQ" if wide else "<6I")
        sections = [header.unpack_from(content, table + size * i) for i in range(count)]
        text = content[sections[names][4] :][: sections[names][5]]
        for start, _, _, _, offset, length in sections:
            if text[start:].partition(b"\0")[0] == wanted:
                return content[offset : offset + length]
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise OperatorError(
            f"{path} is not a kernel module: it is no little-endian ELF file, or not all of one"
        ) from error
    raise OperatorError(f"{path} is not a kernel module: it has no section {wanted.decode()}")


def closure(
    modules: Mapping[str, Module], builtin: frozenset[str], wanted: Iterable[str]
) -> tuple[Module, ...]:
    """Return the wanted modules and all their dependencies, sorted by path.

    ``modules`` are all modules of the kernel, by name. ``builtin`` are the names of those linked
    into the kernel: they satisfy a dependency without being included. Raises OperatorError if a
    dependency is in neither.
    """
    chosen: dict[str, Module] = {}
    waiting = [(name, "the selection") for name in wanted]
    while waiting:
        name, parent = waiting.pop()
        if name in chosen or name in builtin:
            continue
        if name not in modules:
            raise OperatorError(f"module {name}, which {parent} needs, is not in this kernel")
        module = chosen[name] = modules[name]
        waiting += [(need, name) for need in needs(module, modules)]
    return tuple(sorted(chosen.values(), key=lambda module: module.path))


def needs(module: Module, modules: Mapping[str, Module]) -> list[str]:
    """Return the modules to load before ``module``: its dependencies, and soft ones if they exist.

    Soft dependencies are treated as hard because some are: without ``realtek``, r8169 refuses to
    start.
    """
    soft = (name.replace("-", "_") for name in module.soft)
    return [*module.depends, *(name for name in soft if name in modules)]


def dep_table(modules: Iterable[Module]) -> str:
    """Return modules.dep of these modules: ``path: path ...``, the last one is loaded first."""
    by_name = {module.name: module for module in modules}
    lines = []
    for module in sorted(by_name.values(), key=lambda module: module.path):
        order: dict[str, None] = {}  # an ordered set: names in the order of loading
        _load_order(module, by_name, order, frozenset())
        del order[module.name]
        paths = "".join(" " + by_name[name].path for name in reversed(order))
        lines.append(f"{module.path}:{paths}\n")
    return "".join(lines)


def _load_order(
    module: Module, modules: Mapping[str, Module], order: dict[str, None], above: frozenset[str]
) -> None:
    for name in needs(module, modules):
        if name in modules and name not in order and name not in above:
            _load_order(modules[name], modules, order, above | {module.name})
    order.setdefault(module.name)


def alias_table(modules: Iterable[Module]) -> str:
    """Return modules.alias of these modules: ``alias PATTERN NAME``, which finds drivers."""
    by_path = sorted(modules, key=lambda module: module.path)
    return "".join(f"alias {alias} {m.name}\n" for m in by_path for alias in m.aliases)
