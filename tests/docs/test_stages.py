"""netboot/boot/stages.py has every stage that the program, the initramfs and the agent report."""

import ast
import re
from collections.abc import Iterator
from typing import get_args

from netboot.boot.stages import BY_NAME, GROUPS, is_for_seats
from netboot.pages.telling import Kind
from netboot.serve.dhcp.record import STAGES as DHCP_STAGES
from tests import ROOT

TABLE = ROOT / "netboot" / "boot" / "stages.py"
INITRAMFS = ROOT / "initramfs"
ROOTFS = ROOT / "rootfs"

SOURCES = "init|agent|address|failed|load|overlay|pages"
QUALIFIED = re.compile(rf"({SOURCES}):[a-z-]+")
# Position of the stage among the arguments, by the function's name.
RECORDERS = {"record": 1, "BootEvent": 2}


def _python() -> Iterator[ast.AST]:
    for path in sorted((ROOT / "netboot").rglob("*.py")):
        if path != TABLE:
            yield from ast.walk(ast.parse(path.read_text(), str(path)))


def _texts() -> set[str]:
    """Yield all string literals of the package."""
    return {
        node.value
        for node in _python()
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _recorded() -> set[str]:
    """Return the stages that Python code passes as literals to the functions that record them."""
    found = set()
    for node in _python():
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        place = RECORDERS.get(name, len(node.args))
        given = node.args[place] if place < len(node.args) else None
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            found.add(given.value)
    return found


def _shell_stages(text: str) -> set[str]:
    """Return the stages of shell code: by name, and by ``run_stage`` for each stage_NAME."""
    found = set(re.findall(r"(?m)^\s*(?:[^\s()]+\) )?(?:beacon|report) ([a-z:-]+)", text))
    found |= {f"failed:{name}" for name in re.findall(r"(?m)^[^#\n]*run_stage \d+ (\w+)", text)}
    for name, body in re.findall(r"(?ms)^stage_(\w+)\(\) \{$(.*?)^\}$", text):
        if re.search(r"\b(done_with|try_again)\b", body):
            found.add(f"init:{name}")
    return found


def _initramfs() -> set[str]:
    files = [path for path in sorted(INITRAMFS.rglob("*")) if path.is_file()]
    shell = [path for path in files if path.suffix not in (".c", ".h")]
    shell += [path for path in sorted(ROOTFS.rglob("*")) if path.is_file()]
    found = _shell_stages("\n".join(path.read_text() for path in shell))
    agent = "\n".join(path.read_text() for path in (INITRAMFS / "agent").glob("*.c"))
    found |= {match[1] for match in re.finditer(rf'"((?:{SOURCES}):[a-z-]+)"', agent)}
    # The shell adds the prefix to memload's words.
    load = (INITRAMFS / "lab" / "memload.c").read_text()
    return found | {f"load:{name}" for name in re.findall(r'progress\("(\w+)"', load)}


def _played() -> set[str]:
    """Return the stages that the played PCs of a storm report, by URL."""
    text = "\n".join(path.read_text() for path in (ROOT / "netboot" / "lab").rglob("*.py"))
    return set(re.findall(r"/beacon/\{ticket\}/([a-z:]+)", text))


def _reported() -> set[str]:
    named = {text for text in _texts() if QUALIFIED.fullmatch(text)}
    derived = {f"pages:{kind}" for kind in get_args(Kind)} | set(DHCP_STAGES.values())
    return named | derived | _recorded() | _initramfs() | _played()


def test_scanners_find_stages_of_each_source() -> None:
    assert {"tftp", "http", "lease", "wait", "kernel", "order"} <= _texts()
    assert {"loader", "lease"} <= _recorded()
    assert {
        "userland",
        "swap",
        "init:root",
        "failed:images",
        "agent:lost",
        "screen:shown",
    } <= _initramfs()
    assert _played() == {"storm"}


def test_every_reported_stage_is_in_the_table() -> None:
    assert _reported() - set(BY_NAME) == set()


def test_a_seat_may_report_what_its_programs_report() -> None:
    assert [stage for stage in _initramfs() | _played() if not is_for_seats(stage)] == []
    assert [stage for stage in _recorded() | {"pages:attach"} if is_for_seats(stage)] == []


def test_every_stage_of_the_table_is_reported() -> None:
    assert set(BY_NAME) - _reported() - _texts() == set()


def test_names_are_unique_and_texts_are_sentences() -> None:
    rows = [stage for group in GROUPS for stage in group.stages]
    assert len(rows) == len(BY_NAME)
    texts = [text for row in rows for text in (row.meaning, row.remedy) if text]
    assert [text for text in texts if not text.endswith(".")] == []
