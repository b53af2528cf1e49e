"""Stubs of heavy libraries: a program loads and runs with them as with the real ones."""

import os
import subprocess
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.profile.processors import PROCESSORS, Processor
from netboot.roots.recipes import SCREENS, recipe
from netboot.roots.stubs import LIGHT, make_stubs, programs, versions
from tests.roots.test_recipes import Wanted

pytestmark = pytest.mark.system

LIBRARIES = "usr/lib/x86_64-linux-gnu"
LLVM = """int big_table[9]; int compile(void) { return 7; } int unused(void) { return 8; }"""
MESA = """extern int big_table[9]; int compile(void);
int draw(int compiles) { return compiles ? compile() : big_table[3]; }"""
PROGRAM = """int draw(int); int main(int count, char **words) { return draw(count > 1); }"""


def compile_c(target: Path, text: str, *words: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["x86_64-linux-gnu-gcc", "-x", "c", "-", "-x", "none", "-o", str(target), *words]
    subprocess.run(command, input=text, text=True, check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a system with a renderer that was linked with a compiler, and a program of both."""
    libraries = tmp_path / LIBRARIES
    script = tmp_path / "versions"
    script.write_text("LLVM_15 { global: *; };")
    llvm, mesa = libraries / "libLLVM-15.so.1", libraries / "dri/swrast_dri.so"
    compile_c(llvm, LLVM, "-shared", "-fPIC", f"-Wl,-soname,{llvm.name},--version-script={script}")
    compile_c(mesa, MESA, "-shared", "-fPIC", str(llvm), "-Wl,-soname,swrast_dri.so")
    os.link(mesa, libraries / "dri/radeonsi_dri.so")
    (libraries / "libLLVM-15.so").symlink_to(llvm.name)
    found = f"-Wl,-rpath-link,{libraries}"
    compile_c(tmp_path / "program", PROGRAM, str(mesa), found)
    return tmp_path


def run(root: Path, *words: str, light: bool) -> int:
    folders = [root / LIGHT] if light else []
    path = ":".join(map(str, (*folders, root / LIBRARIES, root / LIBRARIES / "dri")))
    done = subprocess.run(
        [root / "program", *words],
        env={"LD_LIBRARY_PATH": path, "LD_BIND_NOW": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.returncode


def test_a_program_runs_without_the_heavy_library(root: Path) -> None:
    assert make_stubs(root, "amd64") == ("libLLVM-15.so.1",)
    assert run(root, "compile", light=False) == 7
    stub = root / LIGHT / "libLLVM-15.so.1"
    assert stub.stat().st_size < 20_000 and stub.stat().st_mode & 0o777 == 0o644
    (root / LIBRARIES / "libLLVM-15.so.1").unlink()
    assert run(root, light=True) == 0


def test_a_function_that_is_called_after_all_returns_and_ends_nothing(root: Path) -> None:
    make_stubs(root, "amd64")
    assert run(root, "compile", light=True) != 7


def test_a_stub_has_what_is_asked_for_and_no_more(root: Path) -> None:
    make_stubs(root, "amd64")
    listing = subprocess.run(
        ["readelf", "--dyn-syms", "-W", root / LIGHT / "libLLVM-15.so.1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "compile@@LLVM_15" in listing and "big_table@@LLVM_15" in listing
    assert "unused" not in listing


def test_the_same_system_gives_the_same_bytes(root: Path) -> None:
    make_stubs(root, "amd64")
    first = (root / LIGHT / "libLLVM-15.so.1").read_bytes()
    make_stubs(root, "amd64")
    assert (root / LIGHT / "libLLVM-15.so.1").read_bytes() == first


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda row: row.name)
def test_each_architecture_has_a_compiler_for_them(root: Path, processor: Processor) -> None:
    assert make_stubs(root, processor.name) == ("libLLVM-15.so.1",)
    assert programs(processor.name)[processor.compiler] == processor.compiler_package


def test_a_system_without_them_gets_no_folder(tmp_path: Path) -> None:
    assert make_stubs(tmp_path, "amd64") == ()
    assert not (tmp_path / LIGHT).exists()


def test_a_missing_compiler_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = root / "bin"
    there.mkdir()
    (there / "readelf").symlink_to("/usr/bin/readelf")
    monkeypatch.setenv("PATH", str(there))
    with pytest.raises(OperatorError, match="gcc"):
        make_stubs(root, "amd64")


def test_symbols_keep_their_versions() -> None:
    script = versions({"a": "ONE", "b": "", "c": "TWO", "d": "ONE"})
    assert script == "ONE { global: a; d; };\nTWO { global: c; };\n"
    assert versions({"a": ""}) == ""


@pytest.mark.parametrize("screen", SCREENS)
def test_systems_with_a_screen_have_stubs(screen: str) -> None:
    assert recipe(Wanted(screen), "bookworm").light == (screen != "none")
