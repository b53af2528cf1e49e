"""Who may import whom: a module imports its own row or a lower one (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "netboot"

# ``name.*`` is every module of a package that has no row of its own.
ROWS = (
    "errors",
    (
        "nbd.wire nbd.stream nbd.dialect dhcp.packet dhcp.frames tftp.packet images.cpio events "
        "arch processors values document ticket privileges"
    ),
    (
        "client dhcp.pxe dhcp.question dhcp.findings nbd.export tftp.transfer tftp.download "
        "pages.store roots slices bootscript storm.report admission "
        "deploy.layout images.modules images.drivers images.progress"
    ),
    (
        "fields sections profile profile_file loaders nbd.handshake nbd.transmission dhcp.lease dhcp.scope "
        "pages.lease pages.governor pages.buffers pages.work pages.exchange images.divide deploy.report"
    ),
    (
        "plan script grub unified raspberry dhcp.responder dhcp.record deploy.roster deploy.hardware "
        "deploy.bootorder deploy.seats"
    ),
    (
        "pages.* dhcp.server dhcp.asking dhcp.link dhcp.neighbourhood dhcp.sockets dhcp.complaints "
        "tftp.* http downloads sending orders images.* lab.* interfaces probe processes resources notify "
        "watch deploy.* storm.pc"
    ),
    "services room tftp_files dryrun doctor storm.play deploy.service",
    "cli command.* show deploy.command __main__",
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names.split()}
PURE_ROWS = range(5)
# Sockets, threads, processes, the clock and chance: the pure core is given what they yield.
IMPURE = {"asyncio", "multiprocessing", "os", "random", "secrets", "select", "signal", "socket"}
IMPURE |= {"subprocess", "threading", "time"}
NEVER = {
    "dhcp": {"nbd", "pages", "images"},
    "nbd": {"profile", "profile_file", "sections", "fields"},
    "tftp": {"nbd", "pages", "images", "profile", "sections", "fields"},
}
# Strangers that tests alone import: what is theirs must not judge itself; scapy is GPL-2.0-only.
ONLY_IN = {
    "tftpy": set[str](),
    "scapy": set[str](),
    "fabric": {"deploy.fleet"},
    "paramiko": {"deploy.fleet"},
}


def _modules() -> dict[str, ast.Module]:
    """Syntax trees of all modules, by name without ``netboot.``; empty files are left out."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if path.stat().st_size > 0:
            trees[name] = ast.parse(path.read_text(), str(path))
    return trees


MODULES = _modules()
each_module = pytest.mark.parametrize("name", MODULES)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            names = [word.value for word in node.args if isinstance(word, ast.Constant)]
            yield from ((node.lineno, str(imported)) for imported in names)


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _row(name: str) -> int | None:
    return ROW_OF.get(name, ROW_OF.get(f"{name.partition('.')[0]}.*"))


def _ours(imported: str) -> str | None:
    """Our module behind an imported name, without ``netboot.``; None for other people's."""
    package, _, name = imported.partition(".")
    if package != "netboot":
        return None
    return name if name in MODULES else name.rpartition(".")[0]


@each_module
def test_module_has_a_row_and_says_what_it_is(name: str) -> None:
    if not name.endswith("__init__"):
        assert _row(name) is not None, f"netboot.{name} has no row in tests/test_architecture.py"
    assert ast.get_docstring(MODULES[name]), f"netboot.{name} has no docstring"


def test_every_row_is_of_a_module() -> None:
    packages = {f"{name.partition('.')[0]}.*" for name in MODULES if "." in name}
    assert set(ROW_OF) - set(MODULES) - packages == set()


@each_module
def test_imports_go_down(name: str) -> None:
    row, wrong = _row(name), []
    for line, imported in _imports(MODULES[name]):
        other = _ours(imported)
        below = None if other is None else _row(other)
        if row is not None and below is not None and below > row:
            wrong.append(f"netboot/{name}.py:{line}: row {row} imports {imported} of row {below}")
    assert wrong == []


@each_module
def test_core_is_pure(name: str) -> None:
    imported = {top.partition(".")[0] for _, top in _imports(MODULES[name])}
    if _row(name) in PURE_ROWS:
        assert imported & IMPURE == set()


@each_module
def test_who_never_imports_whom(name: str) -> None:
    never = NEVER.get(name.partition(".")[0], set())
    for line, imported in _imports(MODULES[name]):
        where = f"netboot.{name}, line {line}: {imported}"
        assert not imported.startswith("."), f"{where}: a relative import"
        assert name in ONLY_IN.get(imported.partition(".")[0], {name}), where
        assert (_ours(imported) or "").partition(".")[0] not in never, where


@each_module
def test_only_the_command_prints(name: str) -> None:
    names = [node for node in ast.walk(MODULES[name]) if isinstance(node, ast.Name)]
    lines = [node.lineno for node in names if node.id == "print"]
    may = name in ("cli", "deploy.command") or name.startswith("command.")
    assert may or lines == []
