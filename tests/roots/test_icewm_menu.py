"""The menu of IceWM: rootfs/desktop/usr/lib/netboot/icewm-menu, with a program that prints as IceWM's."""

import subprocess
from pathlib import Path

import pytest

from tests import ROOT

SCRIPT = ROOT / "rootfs/desktop/usr/lib/netboot/icewm-menu"
CATEGORIES = ROOT / "rootfs/desktop/usr/share/netboot/menu"
LANGUAGES = {"de", "fr", "es", "pt", "it"}


def menu(folder: Path, programs: int, language: str) -> list[str]:
    rows = [f'prog "Spiel {n:02}" - game{n}' for n in range(programs)]
    printed = ['menu "Network" folder {', 'prog "Netz" - net', "}"]
    printed += [
        'menu "Utility" folder {',
        'prog "Netz" - net',
        *rows,
        "}",
        'menu "X" folder {',
        "}",
    ]
    program = folder / "icewm-menu-fdo"
    program.write_text("#!/bin/sh\ncat <<'E'\n" + "\n".join(printed) + "\nE\n")
    program.chmod(0o755)
    path = f"{folder}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", SCRIPT],
        env={"PATH": path, "LANG": language, "categories": str(CATEGORIES)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_few_programs_are_one_list_and_each_is_there_once(tmp_path: Path) -> None:
    assert menu(tmp_path, 1, "C.UTF-8") == ['prog "Netz" - net', 'prog "Spiel 00" - game0']


@pytest.mark.parametrize(
    ("language", "names"),
    [
        ("de_DE.UTF-8", ["Internet", "Zubehör", "X"]),
        ("C.UTF-8", ["Internet", "Accessories", "X"]),
        ("pl_PL.UTF-8", ["Network", "Utility", "X"]),
    ],
)
def test_many_programs_have_categories_in_the_language_of_the_seat(
    language: str, names: list[str], tmp_path: Path
) -> None:
    found = [line for line in menu(tmp_path, 30, language) if line.startswith("menu")]
    assert found == [f'menu "{name}" folder {{' for name in names]


def test_each_category_has_all_languages() -> None:
    rows = [line.split("|") for line in CATEGORIES.read_text().splitlines()]
    for name in {row[0] for row in rows}:
        assert {row[1] for row in rows if row[0] == name} - {"en"} == LANGUAGES, name
        assert all(len(row) == 3 and row[2] for row in rows)
