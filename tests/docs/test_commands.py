"""Programs, verbs, options and files that the documents name exist."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from netboot.boot.stages import BY_NAME
from tests import ROOT
from tests.docs.pages import PAGES, blocks, name, prose
from tools.reference import cli, fab, profile

README = ROOT / "README.md"
TYPED = [README, *(page for page in PAGES if "tutorial" in page.parts)]

# A reader of README and tutorial has these after `make setup`, on Debian; agent: on a PC.
_PROGRAMS = """
agent apt apt-get cat cd chmod chown cp curl date df dmesg echo env export free git id ip journalctl jq kill
less ls lspci make man mkdir mv nano ping printf rm scp sed sh ssh ssh-copy-id ss sudo swapon sync
systemctl tail tar tee test umask uname useradd vagrant vi virsh watch
"""
PROGRAMS = frozenset(_PROGRAMS.split())
CONTINUED = re.compile(r"^\s*(?:[A-Z_]+=\S*\s+)*(?:sudo\s+(?:-\w+\s+)*)?(?:[A-Z_]+=\S*\s+)*(\S+)")
INLINE = re.compile(r"`([^`\n]+)`")
NETBOOT = re.compile(r"(?:^|[\s'(])(?:[\w./~-]*/)?netboot((?: [a-z]+)+)([^|;&#)]*)")
FAB = re.compile(r"(?:^|[\s'(])(?:[\w./~-]*/)?fab(?: --help| --list)?( [a-z.]+)([^|;&#)]*)")
OPTION = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")
FILE = re.compile(
    r"(?<![\w/.*-])((?:docs|netboot|tests|tools|bench|initramfs|profiles)/[\w./-]*\w\.(?:md|py|sh|c|h|svg|yaml))"
)
STAGE = re.compile(r"(?:init|agent|failed|load|pages):[a-z][a-z-]*")
KEY = re.compile(r"(?:dhcp|http|boot|root|swap|ssh|vagrant)(?:\.[a-z_]+)+")
SUFFIXES = (".c", ".h", ".img", ".ipxe", ".iso", ".json", ".py", ".sh", ".squashfs", ".yaml")

each_page = pytest.mark.parametrize("page", PAGES, ids=name)


def _program(line: str) -> str:
    """Return the program that a line starts: behind sudo and variables; empty for a comment."""
    if line.lstrip().startswith("#") or not line.strip():
        return ""
    match = CONTINUED.match(line)
    return match[1] if match else ""


def _is_known(program: str) -> bool:
    return program in PROGRAMS or program.startswith((".venv/bin/", "/opt/netboot/", "tools/"))


@pytest.mark.parametrize("page", TYPED, ids=name)
def test_every_command_is_on_the_path_after_setup(page: Path) -> None:
    bare = []
    for _, lines in blocks(page):
        programs = [_program(line) for line in lines]
        first = next(filter(None, programs), "")
        types = _is_known(first) or lines[0].lstrip().startswith("#")
        bare += [
            line
            for line, program in zip(lines, programs, strict=True)
            if program in ("netboot", "fab") or (types and program and not _is_known(program))
        ]
    assert bare == []


def _code(page: Path) -> Iterator[str]:
    """Yield each line of code of a page, in blocks and in sentences."""
    for _, lines in blocks(page):
        yield from lines
    for line in page.read_text().splitlines():
        yield from INLINE.findall(line)
        if line.startswith("    "):
            yield line


@cache
def _verbs() -> Mapping[str, set[str]]:
    return {each: cli.options(verb) for each, verb, _ in cli.verbs(cli.command())}


@cache
def _tasks() -> Mapping[str, set[str]]:
    return {each: {*fab.options(task), "--help"} for each, task in fab.tasks().items()}


def _unknown(line: str) -> Iterator[str]:
    """Yield the options in a line of code that netboot or fab do not have."""
    for words, rest in NETBOOT.findall(line):
        verb = "netboot"
        for word in words.split():
            if f"{verb} {word}" not in _verbs():
                break
            verb = f"{verb} {word}"
        if verb != "netboot":
            yield from (
                f"{verb} {each}" for each in OPTION.findall(rest) if each not in _verbs()[verb]
            )
    for task, rest in FAB.findall(line):
        known = _tasks().get(task.strip())
        if known is not None:
            yield from (f"fab{task} {each}" for each in OPTION.findall(rest) if each not in known)


@each_page
def test_every_option_exists(page: Path) -> None:
    assert [each for line in _code(page) for each in _unknown(line)] == []


def test_unknown_options_are_found() -> None:
    assert list(_unknown("sudo .venv/bin/netboot serve --profil x.yaml")) == [
        "netboot serve --profil"
    ]
    assert list(_unknown("netboot lab libvirt up --server -h | grep --count x")) == [
        "netboot lab libvirt up --server"
    ]
    assert list(_unknown(".venv/bin/fab deploy -H root@server --dry-run --wet")) == [
        "fab deploy --wet"
    ]
    assert list(_unknown("setpriv --user netboot --state /srv")) == []


@each_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = set(FILE.findall(page.read_text()))
    assert sorted(each for each in named if not (ROOT / each).exists()) == []


def test_every_document_that_the_code_names_exists() -> None:
    missing = []
    folders = ("netboot", "initramfs", "tests", "bench", "tools", "profiles", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in [*files, *(ROOT / each for each in ("Makefile", "Vagrantfile", "fabfile.py"))]:
        if path.suffix in (".pyc", ".pcap") or "tests/docs" in path.as_posix():
            continue
        named = re.findall(r"(?<![\w/.-])docs/[\w./-]+\.md", path.read_text(errors="replace"))
        missing += [f"{name(path)}: {each}" for each in named if not (ROOT / each).exists()]
    assert sorted(missing) == []


@each_page
def test_every_stage_and_key_that_is_named_exists(page: Path) -> None:
    words = {word for code in INLINE.findall(prose(page)) for word in re.findall(r"[\w:.-]+", code)}
    stages = {word for word in words if STAGE.fullmatch(word)}
    keys = {word for word in words if KEY.fullmatch(word) and not word.endswith(SUFFIXES)}
    assert (stages - set(BY_NAME), keys - _keys()) == (set(), set())


@cache
def _keys() -> set[str]:
    """Return the paths of all sections and keys of a profile."""
    paths = [path.split(".") for path in profile.key_paths()]
    return {".".join(path[:length]) for path in paths for length in range(1, len(path) + 1)}


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 120
