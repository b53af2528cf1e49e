"""What each module says of itself and imports; import-linter holds the layers (pyproject.toml)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

PACKAGE = ROOT / "netboot"

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


@each_module
def test_module_has_a_docstring(name: str) -> None:
    assert ast.get_docstring(MODULES[name]), f"netboot.{name} has no docstring"


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
    may = name in ("cli", "deploy.command") or name.startswith("command.")
    assert may or lines == []


def test_packages_import_downwards_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
