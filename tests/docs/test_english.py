"""The commonest relapses from docs/contributing/style.md: in documents, docstrings and messages.

A pattern is held against one sentence at a time. A question is none of these.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.docs.pages import PAGES, name, prose

RELAPSES = (
    (r"^(?:Who|Whoever|Whom|Whose|What|Whatever|Whichever)\b.*[.;:]$", "begin with a noun"),
    (r"\b(?:by|for|from|of|than|to|with|is|are) (?:who|whoever|whatever)\b", "name the noun"),
    (
        r"^(?:Is|Are|Was|Were|Has|Had|Does|Did|Should) \w+ .*,",
        "begin with 'if', or with an imperative",
    ),
    (r"\banew\b", "again, afresh, or a word with re-: reconnect, restart"),
    (r"\bbur(?:y|ies|ied|ying)\b", "reap (a process), drop (data)"),
    (r"\bhear(?:d|s)? of\b", "report: it did not report"),
    (r"\ball the same\b", "anyway, nevertheless, or nothing"),
    (r"\bcom(?:e|es|ing) to nothing\b|\bcame to nothing\b", "fail"),
    (r"\bst(?:ands?|ood) there\b|\blies in it already\b", "is listed, is already given"),
    (
        r"(?<!thing)(?<!body)(?<!one)(?<!where)(?<!little) else(?=[.;:,)]|$)",
        "otherwise, without it",
    ),
    (r"\b(?:is|are|was|were|be|been) out\b(?! of)", "swapped out, sent, in use"),
)
RIDDLE = re.compile(r"(?:What|Whether|How|Who|Where|When)\b")  # for a docstring: "Return ..."
SENTENCE = re.compile(r"(?<=[.!?;:])[\"')*]*\s+")
# Paragraphs, list items, cells of tables, lines of a docstring's lists.
PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*>#]|\d+\.) )|\|")


def _sentences(text: str, line: int = 1) -> Iterator[tuple[int, str]]:
    """Yield line and text of each sentence; code becomes a word."""
    begin = 0
    for end in [*PARAGRAPH.finditer(text), None]:
        part = text[begin : end.start() if end else len(text)]
        at = line + text.count("\n", 0, begin + len(part) - len(part.lstrip()))
        words = re.sub(r"`+[^`]*`+", "code", " ".join(part.split())).lstrip("-*> ")
        yield from ((at, sentence) for sentence in SENTENCE.split(words))
        begin = end.end() if end else 0


def _complaints(text: str, line: int = 1) -> Iterator[str]:
    for at, sentence in _sentences(text, line):
        for pattern, instead in RELAPSES:
            if not sentence.endswith("?") and re.search(pattern, sentence):
                yield f"{at}: {sentence!r}: {instead}"


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node)
        if text is None:
            continue
        yield from _complaints(text, node.body[0].lineno)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_"
        if function and RIDDLE.match(text):
            yield f"{node.body[0].lineno}: {text.splitlines()[0]!r}: begin with 'Return' or another verb"


def _messages(tree: ast.Module) -> Iterator[str]:
    """Yield complaints of strings that are passed to something: errors, logs, events, help."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        for each in [*call.args, *(keyword.value for keyword in call.keywords)]:
            parts = each.values if isinstance(each, ast.JoinedStr) else [each]
            text = "".join(
                part.value
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
                else "X"
                for part in parts
            )
            if " " in text:
                yield from _complaints(text, each.lineno)


# The guide shows what not to write.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "style.md"], ids=name)
def test_document(page: Path) -> None:
    assert list(_complaints(prose(page))) == []


MODULES = sorted(
    [*(ROOT / "netboot").rglob("*.py"), *(ROOT / "tools").rglob("*.py"), ROOT / "fabfile.py"]
)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_docstrings_and_messages(path: Path) -> None:
    tree = ast.parse(path.read_text(), str(path))
    assert sorted({*_docstrings(tree), *_messages(tree)}) == []


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=name)
def test_comments_of_profiles(path: Path) -> None:
    text = "\n".join(
        line.lstrip("# ") if "#" in line else "" for line in path.read_text().splitlines()
    )
    assert list(_complaints(text)) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Has the server several network cards, name the one to serve.",
        "Wait.  Whatever ends it, nothing of it is left.",
        "The last one is ready as early as it would be else.",
        "- It is for who asks.",
        "| a | 12 MiB that were out are lost |",
    ],
)
def test_relapses_are_found(sentence: str) -> None:
    assert len(list(_complaints(sentence))) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "Is the cable plugged in?",
        "If the server has several network cards, name the one to serve.",
        "It needs nothing else.",
        "## What to do",
        "The request timed out; the pages are out of date.",
    ],
)
def test_plain_english_is_left_alone(sentence: str) -> None:
    assert list(_complaints(sentence)) == []
