"""Merged files say what the small ones said, in the order in which programs read those."""

import subprocess
from pathlib import Path

import pytest

from netboot.roots.merging import merge_files

ALIAS = "<alias><family>{0}</family><prefer><family>{1}</family></prefer></alias>"
FONTS = "etc/fonts/conf.d"
AVAILABLE = "usr/share/fontconfig/conf.avail"


def rule(family: str, preferred: str) -> str:
    rules = ALIAS.format(family, preferred)
    return f"<fontconfig><description>For people</description><!-- Us --> {rules}</fontconfig>"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Rules as Debian has them: links to files elsewhere, absolute and relative, and a file."""
    folder = tmp_path / FONTS
    write(folder / "README", "text")
    write(folder / "90-own.conf", rule("serif", "Third"))
    write(tmp_path / AVAILABLE / "10-a.conf", rule("serif", "First"))
    write(tmp_path / AVAILABLE / "b.conf", rule("serif", "Second"))
    (folder / "10-a.conf").symlink_to(f"/{AVAILABLE}/10-a.conf")
    (folder / "20-b.conf").symlink_to(f"../../../{AVAILABLE}/b.conf")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_rules_of_fonts_are_merged_in_the_order_of_their_names(rules: Path, tmp_path: Path) -> None:
    merge_files(tmp_path)
    assert names(rules) == ["00-netboot.conf", "README"]
    text = (rules / "00-netboot.conf").read_text()
    found = [text.index(ALIAS.format("serif", each)) for each in ("First", "Second", "Third")]
    assert found == sorted(found)
    assert "For people" not in text
    assert "Us" not in text


def test_the_same_rules_give_the_same_bytes(rules: Path, tmp_path: Path) -> None:
    merge_files(tmp_path)
    first = (rules / "00-netboot.conf").read_bytes()
    merge_files(tmp_path)
    assert (rules / "00-netboot.conf").read_bytes() == first


@pytest.mark.parametrize(
    "bad",
    [
        "<fontconfig>",
        "text",
        "<other/>",
        '<fontconfig><dir prefix="relative">fonts</dir></fontconfig>',
    ],
)
def test_rules_that_are_not_as_expected_stay(rules: Path, tmp_path: Path, bad: str) -> None:
    write(rules / "30-bad.conf", bad)
    before = names(rules)
    merge_files(tmp_path)
    assert names(rules) == before


@pytest.mark.parametrize("target", ["/nothing", "40-loop.conf", "../../../../outside.conf"])
def test_a_rule_that_is_not_in_the_system_leaves_all_rules(
    rules: Path, tmp_path: Path, target: str
) -> None:
    root = rules.parents[2]
    write(root.parent / "outside.conf", rule("serif", "Outside"))
    (rules / "40-loop.conf").symlink_to(target)
    before = names(rules)
    merge_files(tmp_path)
    assert names(rules) == before


def test_a_folder_that_leads_out_of_the_system_is_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for name in ("10-a.conf", "20-b.conf", "10-a.quirks", "20-b.quirks"):
        write(outside / name, rule("serif", name))
    root = tmp_path / "root"
    for folder in (FONTS, "usr/share/libinput"):
        (root / folder).parent.mkdir(parents=True)
        (root / folder).symlink_to(outside)
    before = names(outside)
    merge_files(root)
    assert names(outside) == before


@pytest.mark.system
def test_fontconfig_takes_the_merged_rules_as_the_small_ones(tmp_path: Path) -> None:
    """An included file counts where it is included, and a file that is linked twice counts once."""
    folder = tmp_path / FONTS
    included = write(tmp_path / "included/10.conf", rule("serif", "Included"))
    include = f"<include>{included}</include>"
    write(folder / "10-a.conf", f"<fontconfig>{ALIAS.format('serif', 'A')}{include}</fontconfig>")
    write(folder / "20-b.conf", rule("serif", "B"))
    (folder / "30-again.conf").symlink_to("10-a.conf")
    write(folder / "40-c.conf", rule("serif", "C"))

    def substituted() -> str:
        main = write(
            tmp_path / "fonts.conf",
            f"<fontconfig><dir>{tmp_path}</dir><include>{folder}</include></fontconfig>",
        )
        environment = {"FONTCONFIG_FILE": str(main), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        command = ["fc-pattern", "--config", "serif"]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout

    before = substituted()
    assert '"A"(w) "Included"(w) "B"(w) "C"(w)' in before
    merge_files(tmp_path)
    assert names(folder) == ["00-netboot.conf"]
    assert substituted() == before


def test_data_about_devices_is_merged_in_order_without_comments(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/libinput"
    write(folder / "50-b.quirks", "# Us\n[B]\nMatchName=*\nModelX=1\n")
    write(folder / "10-a.quirks", "[A # 1]\nMatchName=*a\nModelY=1")
    merge_files(tmp_path)
    assert names(folder) == ["00-netboot.quirks"]
    merged = folder / "00-netboot.quirks"
    assert merged.read_text() == "[A # 1]\nMatchName=*a\nModelY=1\n[B]\nMatchName=*\nModelX=1\n"
    assert merged.stat().st_mode & 0o777 == 0o644


def test_one_file_stays_as_it_is(tmp_path: Path) -> None:
    font = write(tmp_path / FONTS / "10-a.conf", rule("serif", "A"))
    quirks = write(tmp_path / "usr/share/libinput/10-a.quirks", "[A]\n")
    merge_files(tmp_path)
    assert font.exists()
    assert quirks.exists()
