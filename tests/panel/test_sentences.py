"""The sentences of servers and PCs have a German text, and none is left over."""

import errno
import json
import os
import re

from netboot.boot.stages import BY_NAME
from netboot.feed.records import STATES
from netboot.feed.troubles import KINDS
from netboot.panel.keeping import FEED
from netboot.panel.web.files import read_files
from netboot.panel.web.models import OrderBody
from tests import ROOT
from tests.panel import sentences

STATIC = ROOT / "netboot/panel/static"
GERMAN: dict[str, str] = json.loads((STATIC / "sentences.de.json").read_text())
TEXTS = json.loads(read_files(STATIC)["texts.json"].content)
PLACES = re.compile(r"\{(\w+)\}")
CODE = re.compile(r"`[^`]+`")
JOINTS = re.compile(r"\{\w+\}|: |; |, |\? ")  # what programs put between parts


def test_each_sentence_of_the_python_side_has_a_german_text() -> None:
    known = {sentences.bare(key) for key in GERMAN}
    sent = sentences.sent()
    assert len(sent) > 120
    assert [each for each in sent if each[1] not in known] == []


def test_the_modules_that_are_searched_exist() -> None:
    assert [name for name in sentences.WHOLE if not (ROOT / "netboot" / name).is_file()] == []


def test_each_remedy_has_a_german_text() -> None:
    assert {each.remedy for each in BY_NAME.values() if each.remedy} <= set(GERMAN)


def test_a_german_text_has_the_values_and_the_names_of_the_english_one() -> None:
    for key, text in GERMAN.items():
        assert set(PLACES.findall(text)) == set(PLACES.findall(key)), key
        assert sorted(CODE.findall(text)) == sorted(CODE.findall(key)), key


def test_no_german_text_is_left_over() -> None:
    source = sentences.words_of_all()
    parts = {key: [part.strip(" .:;()'") for part in JOINTS.split(key)] for key in GERMAN}
    # Linux says some, as part of others.
    own_words = source + "\n".join(os.strerror(each) for each in errno.errorcode)
    own_words += own_words.lower()
    lost = {key: [each for each in own if each not in own_words] for key, own in parts.items()}
    assert {key: own for key, own in lost.items() if own} == {}


def test_each_stage_state_and_order_has_a_name_in_each_language() -> None:
    named = {key.removeprefix("stage.") for key in TEXTS if key.startswith("stage.")}
    assert named == set(BY_NAME) | {FEED}
    assert set(KINDS) <= named
    assert {f"state.{state}" for state in STATES} <= set(TEXTS)
    orders = OrderBody.model_json_schema()["properties"]["order"]["enum"]
    assert {f"order.{order}" for order in orders} <= set(TEXTS)


def test_what_is_noted_has_a_name_in_each_language() -> None:
    noted = set()
    for path in (ROOT / "netboot/panel").rglob("*.py"):
        noted |= set(re.findall(r"\.note\(\s*\w+, \"([\w:]+)\"", path.read_text()))
    assert noted >= {"login", "logout", "plan"}
    assert {f"action.{each}" for each in noted} <= set(TEXTS)


def test_no_hint_for_a_terminal_reaches_the_page() -> None:
    shown = [text for _, text in sentences.sent()] + sentences.made() + [*GERMAN, *GERMAN.values()]
    shown += [text for texts in TEXTS.values() for text in texts]
    hints = re.compile(r"\bctrl|\bstrg|\bpress (any|a) key|\x1b", re.IGNORECASE)
    assert [text for text in shown if hints.search(text)] == []
