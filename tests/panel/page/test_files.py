"""The page's files: complete texts, vendored files as npm ships them, no way for a text to become HTML."""

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from netboot.boot import words
from netboot.panel.web.files import LANGUAGES, read_files
from tests import ROOT
from tests.docs.pages import name

STATIC = ROOT / "netboot/panel/static"
VENDOR = STATIC / "vendor"
OWN = sorted(path for path in STATIC.glob("*") if path.is_file())
# docs.html, the description of the API, is a page of its own.
# Loaded after the page is there, and by its German readers alone.
SENTENCES = STATIC / "sentences.de.json"
SCRIPTS = [path for path in OWN if path.suffix == ".js" and path.stem != "docs"]
FILES = read_files(STATIC)
TEXTS = {
    key: dict(zip(LANGUAGES, texts, strict=True))
    for key, texts in json.loads(FILES["texts.json"].content).items()
}
PLACES = re.compile(r"\{(\w+)\}")
MOST_BYTES = 150_000
# Ways to make elements or programs out of a text, and styles that the policy refuses.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
    r"|\beval\(|new Function|setAttribute\([\"'](?:on|style|srcdoc)|srcdoc|javascript:|\.cssText|style=\"|https?://(?!www\.w3\.org/)"
)


@pytest.mark.parametrize("folder", [VENDOR, ROOT / "tests/panel/vendor"], ids=name)
def test_vendored_files_are_those_of_npm(folder: Path) -> None:
    lines = (folder / "vendor.lock").read_text().splitlines()
    hashes = [line.split("  ") for line in lines if not line.startswith("#")]
    locked = {file: sha256 for sha256, file in hashes}
    files = {path.name: path for path in folder.iterdir() if path.name != "vendor.lock"}
    assert set(files) == set(locked)
    for file, path in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == locked[file]


@pytest.mark.parametrize("library", ["preact", "htm", "uPlot"])
def test_each_library_is_there_with_its_licence(library: str) -> None:
    assert "Copyright" in (VENDOR / f"LICENCE.{library}").read_text()
    assert re.search(rf"\b{library} \d+\.\d+\.\d+", (VENDOR / "vendor.lock").read_text())


@pytest.mark.parametrize("path", OWN, ids=name)
def test_no_text_becomes_html_and_nothing_comes_from_elsewhere(path: Path) -> None:
    assert FORBIDDEN.findall(path.read_text()) == []


def test_the_page_has_no_inline_script_and_no_inline_style() -> None:
    text = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\son\w+=|\sstyle=", text) == []


def test_the_page_loads_all_its_modules_at_once() -> None:
    text = (STATIC / "index.html").read_text()
    preloaded = set(re.findall(r'rel="modulepreload" href="/static/([\w./]+)"', text))
    own = {path.name for path in SCRIPTS} - {"app.js"}
    assert preloaded == own | {"vendor/preact.mjs", "vendor/htm.mjs"}


def test_each_text_is_there_in_both_languages_with_the_same_places() -> None:
    for key, texts in TEXTS.items():
        assert all(texts.values()), key
        assert set(PLACES.findall(texts["en"])) == set(PLACES.findall(texts["de"])), key


def test_each_text_that_a_script_names_exists() -> None:
    source = "".join(path.read_text() for path in SCRIPTS)
    named = set(re.findall(r'\bt\("([\w.-]+)"', source))
    many = set(re.findall(r'\btn\("([\w.-]+)"', source))
    assert len(named) > 100
    assert named <= set(TEXTS)
    assert {f"{key}.{form}" for key in many for form in ("one", "many")} <= set(TEXTS)


def test_no_text_is_left_over() -> None:
    source = "".join(path.read_text() for path in SCRIPTS)
    # A key that is put together: its constant part, as in t(`state.${seat.state}`).
    parts = tuple(re.findall(r"`([\w.-]+\.)\$\{", source))
    plain = {re.sub(r"\.(one|many)$", "", key) for key in TEXTS}
    assert {key for key in plain if f'"{key}"' not in source and not key.startswith(parts)} == set()


def test_what_a_pc_says_too_is_in_one_catalogue() -> None:
    own = json.loads((STATIC / "texts.json").read_text())
    assert not own.keys() & words.of_page().keys()
    assert TEXTS == own | words.of_page()
    assert TEXTS["now.waiting"]["de"].startswith("Andere PCs starten gerade.")
    assert TEXTS["stage.failed:memory"]["en"] == "This PC has too little memory"


def test_the_page_is_light() -> None:
    """As they are served: the catalogue of texts has no blanks then, and the PCs' words."""
    unseen, later = ("docs.", "LICENCE", "vendor.lock"), ("uPlot", SENTENCES.name)
    served = {
        Path(path).name: file
        for path, file in FILES.items()
        if not Path(path).name.startswith(unseen)
    }
    weight = sum(len(file.packed or file.content) for file in served.values())
    first = sum(len(file.content) for name, file in served.items() if not name.startswith(later))
    sys.stdout.write(
        f"page weight: {weight} bytes of all files with gzip; the room without gzip: {first}\n"
    )
    assert weight < MOST_BYTES
    assert first < MOST_BYTES
