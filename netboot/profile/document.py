"""YAML text -> plain values that remember their lines. Pure.

PyYAML alone reads ``52:54:00:12:34:56`` as the integer 41135085296, ``on`` as True and ``0755`` as
493, and keeps the last of two equal keys. Here every scalar stays the text that was written (an
empty scalar is None). Equal keys, anchors, aliases and tags are mistakes, so nothing in a file can
expand or create objects: the output is never larger than the input.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from netboot.errors import OperatorError

MAX_CHARACTERS = 1 << 20  # a school of 5,000 PCs, each with a name, takes half of it
MAX_DEPTH = 20  # a profile nests 5 levels deep; Python's stack ends at about 300

KeyPath = tuple[str | int, ...]
_NULL = "tag:yaml.org,2002:null"

# Phrases of PyYAML 6 (scanner.py, parser.py, composer.py), and what a profile's author reads
# instead. The last column: the mistake is where the construct begins, not where it was noticed.
_PROBLEMS = (
    (r"scanning an (alias|anchor)", "text that begins with * or &; put quotes around it", False),
    (r"could not find expected ':'", "a key without a colon; write 'key: value'", True),
    (r"found unexpected (end of stream|document separator)", "a quote that is not closed", True),
    (
        r"mapping values are not allowed here",
        "unexpected ':'; check the line above, the indentation, and the quotes around text",
        False,
    ),
    (
        r"sequence entries are not allowed here",
        "unexpected '-'; begin each item of a list on its own line",
        False,
    ),
    (r"but (?:found|got) '([\]},])'", r"unexpected '\1'; check the brackets and commas", False),
    (r"but (?:found|got) '<stream end>'", "a bracket that is not closed", True),
    (r"expected ',' or '(.)'", r"expected ',' or '\1'; check the brackets and commas", False),
    (
        r"expected <block end>, but found '<scalar>'",
        "unexpected text; put quotes around the whole value, or indent it as the lines around it",
        False,
    ),
    (r"expected <block end>", "unexpected indentation; indent all keys of a section alike", False),
    (
        r"expected '<document start>'",
        "unexpected indentation; begin the outermost keys in the first column",
        False,
    ),
    (r"found another document", "a second document; remove the line that begins with ---", False),
    (r"found character '\\t'", "a tab character; use spaces instead", False),
    (
        r"found character '(.+)' that cannot start",
        r"text that begins with \1; put quotes around it",
        False,
    ),
    (
        r"double-quoted scalar",
        "an unknown escape in double quotes; use single quotes for text with backslashes",
        False,
    ),
    (r"block scalar", "text behind | or >; begin it on the next line", False),
    (r"[Dd]irective|YAML document", "a line that begins with %; remove it", False),
    (r"\btag\b", "text that begins with !; put quotes around it", False),
)


@dataclass(slots=True)
class Document:
    """A tree of dict, list, str and None, and the line of every key in it."""

    source: str
    tree: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """Return the line (from 1) of a key, or of the nearest key above it in the tree."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str, source: str) -> Document:
    """Return the document in ``text``; ``source`` is the file's name for messages.

    Raises OperatorError, whose message begins with ``source:line:``.
    """
    if len(text) > MAX_CHARACTERS:
        raise OperatorError(f"{source}: too long: expected at most {MAX_CHARACTERS} characters")
    document = Document(source)
    try:
        root = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = f"character U+{ord(text[error.position]):04X} is not allowed; remove it"
        raise _mistake(source, line, character) from None
    except yaml.MarkedYAMLError as error:
        raise _mistake(source, *(_forgotten_colon(text, error) or _plain(error))) from None
    except (ValueError, OverflowError):
        # PyYAML's chr() fails on an escape such as "\\UFFFFFFFF".
        raise _mistake(source, 1, "an escape that stands for no character") from None
    if root is not None:
        document.tree = _value(root, (), document)
    return document


def _mistake(source: str, line: int, problem: str) -> OperatorError:
    return OperatorError(f"{source}:{line}: cannot be read as YAML: {problem}")


def _forgotten_colon(text: str, error: yaml.MarkedYAMLError) -> tuple[int, str] | None:
    """Return the line and the mistake if a line above lacks the colon behind its key.

    YAML takes that word and the next line as one text, and notices the colon of the next line.
    """
    if error.problem != "mapping values are not allowed here" or error.problem_mark is None:
        return None
    lines = text.splitlines()[: error.problem_mark.line]
    above = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    number, line = above[-1] if above else (0, "")
    word = line.strip()
    if not re.fullmatch(r"[\w.-]+", word):
        return None
    return number, f"a key without a colon; write '{word}:'"


def _plain(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Return the line (from 1) of a mistake that PyYAML found, and the mistake in plain words."""
    mark = error.problem_mark
    problem = ": ".join(part for part in (error.context, error.problem) if part)
    for phrase, words, at_start in _PROBLEMS:
        match = re.search(phrase, problem)
        if match is not None:
            mark = error.context_mark if at_start and error.context_mark else mark
            problem = match.expand(words)
            break
    return 1 if mark is None else mark.line + 1, problem


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader as far as nodes, without YAML 1.1's implicit types and expansions."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in rows if tag == _NULL]
        for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            problem = "text that begins with *; put quotes around it"
        elif event.anchor is not None:
            problem = "text that begins with &; put quotes around it"
        elif event.tag is not None:
            problem = "text that begins with !; put quotes around it"
        elif self.depth == MAX_DEPTH:
            problem = "nested too deeply"
        if problem:
            mark: Any = event.start_mark  # types-PyYAML gives its class in two ways
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _value(node: Node, path: KeyPath, document: Document) -> Any:
    if isinstance(node, ScalarNode):
        return None if node.tag == _NULL else _text(node, document)
    if isinstance(node, MappingNode):
        return _mapping(node, path, document)
    values = []
    for index, item in enumerate(node.value):
        document.lines[*path, index] = item.start_mark.line + 1
        values.append(_value(item, (*path, index), document))
    return values


def _mapping(node: MappingNode, path: KeyPath, document: Document) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, ScalarNode) or key_node.tag == _NULL:
            raise OperatorError(f"{document.source}:{line}: a key must be a word, not empty")
        name = _text(key_node, document)
        key = (*path, name)
        if key in document.lines:
            raise OperatorError(
                f"{document.source}:{line}: key '{dotted(key)}': given twice, "
                f"first in line {document.lines[key]}"
            )
        document.lines[key] = line
        mapping[name] = _value(value_node, key, document)
    return mapping


def _text(node: ScalarNode, document: Document) -> str:
    text = str(node.value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        # Half of a surrogate pair, from an escape such as "\ud83d": nothing could print or send it.
        line = node.start_mark.line + 1
        raise _mistake(document.source, line, "an escape that stands for no character")
    return text


def dotted(path: KeyPath) -> str:
    """Return a key as users write it, ``swap.zswap.enabled``, unprintable characters escaped."""
    return repr(".".join(map(str, path)))[1:-1]
