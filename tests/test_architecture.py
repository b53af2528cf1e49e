"""Rules for docstrings and imports of modules. import-linter holds the layers (pyproject.toml)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

PACKAGE = ROOT / "netboot"

# No socket, thread, process, clock or chance: pure modules get their results as arguments.
IMPURE = {"asyncio", "multiprocessing", "os", "random", "secrets", "select", "signal", "socket"}
IMPURE |= {"subprocess", "threading", "time"}
# ``name.*`` is every module of a package.
PURE = (
    "errors boot.* feed.* profile.* pages.nbd.* pages.lease pages.places pages.access pages.claims pages.kept lab.storm.report "
    "pages.worker.governor pages.worker.stalls pages.worker.tasks pages.worker.buffers pages.worker.work pages.worker.exchange "
    "serve.dhcp.packet serve.dhcp.frames serve.dhcp.pxe serve.dhcp.question serve.dhcp.sender "
    "serve.dhcp.findings serve.dhcp.lease serve.dhcp.scope serve.dhcp.responder serve.dhcp.record "
    "serve.dhcp.answer serve.dhcp.full serve.dhcp.conversation serve.dhcp.relay "
    "serve.dhcp.standby serve.dhcp.refusal serve.dhcp.queue serve.dhcp.addresses serve.dhcp.doubles serve.changes "
    "serve.tftp.packet serve.tftp.transfer serve.tftp.download serve.tftp.narrow "
    "roots.definition roots.manifest roots.recipes roots.translations "
    "images.modules images.drivers images.divide images.progress "
    "deploy.layout deploy.report deploy.roster deploy.hardware deploy.bootorder deploy.seats deploy.sheet "
    "deploy.firewall.rules deploy.firewall.nft deploy.firewall.iptables deploy.firewall.needs "
    "deploy.firewall.varying "
    "panel.history.columns panel.history.schema panel.history.records panel.history.minutes "
    "panel.history.rooms panel.records panel.merging"
)
IMPURE_ALL_THE_SAME = {"pages.nbd.client"}  # the client half, which tests and played PCs use
# Packages of tests alone: a peer must not be tested against itself; scapy is GPL-2.0-only.
ONLY_IN = {
    "tftpy": set[str](),
    "scapy": set[str](),
    "fabric": {"deploy.fleet"},
    "paramiko": {"deploy.fleet"},
}


def _modules() -> dict[str, ast.Module]:
    """Return the syntax trees of all modules by name, without ``netboot.`` and empty files."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if path.stat().st_size > 0:
            trees[name] = ast.parse(path.read_text(), str(path))
    return trees


MODULES = _modules()
each_module = pytest.mark.parametrize("name", MODULES)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of each import; ``from a import b`` gives ``a.b``."""
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


@each_module
def test_module_has_a_docstring(name: str) -> None:
    assert ast.get_docstring(MODULES[name]), f"netboot.{name} has no docstring"


def test_every_pure_name_is_of_a_module() -> None:
    packages = {f"{name.rpartition('.')[0]}.*" for name in MODULES}
    assert set(PURE.split()) - set(MODULES) - packages == set()


@each_module
def test_core_is_pure(name: str) -> None:
    imported = {top.partition(".")[0] for _, top in _imports(MODULES[name])}
    pure = {name, f"{name.rpartition('.')[0]}.*"} & set(PURE.split())
    if pure and name not in IMPURE_ALL_THE_SAME:
        assert imported & IMPURE == set()


@each_module
def test_imports_are_absolute_and_of_allowed_strangers(name: str) -> None:
    for line, imported in _imports(MODULES[name]):
        where = f"netboot.{name}, line {line}: {imported}"
        assert not imported.startswith("."), f"{where}: a relative import"
        assert name in ONLY_IN.get(imported.partition(".")[0], {name}), where


@each_module
def test_only_the_command_prints(name: str) -> None:
    names = [node for node in ast.walk(MODULES[name]) if isinstance(node, ast.Name)]
    lines = [node.lineno for node in names if node.id == "print"]
    may = name.startswith("cli.")
    assert may or lines == []


def test_packages_import_downwards_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
