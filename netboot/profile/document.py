"""YAML text -> plain values that remember their lines. Pure.

PyYAML alone reads ``52:54:00:12:34:56`` as the integer 41135085296, ``on`` as True, ``0755`` as
493, and keeps the last of two equal keys. Here every scalar stays the text that was written (an
empty one is None), and equal keys, anchors, aliases and tags are mistakes, so there is nothing
that a file could expand to or make: what comes out is never larger than what went in.
"""

from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from netboot.errors import OperatorError

MAX_CHARACTERS = 1 << 20  # a school of 5,000 PCs, all named, is half of it
MAX_DEPTH = 20  # a profile nests 5 deep; Python's stack ends at about 300

KeyPath = tuple[str | int, ...]
_NULL = "tag:yaml.org,2002:null"


@dataclass(slots=True)
class Document:
    """A tree of dict, list, str and None, and the line of every key in it."""

    source: str
    tree: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """Line (from 1) of a key, or of the nearest one above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str, source: str) -> Document:
    """The document in ``text``; ``source`` names it. Raises OperatorError with ``file:line:``."""
    if len(text) > MAX_CHARACTERS:
        raise OperatorError(f"{source}: longer than {MAX_CHARACTERS} characters")
    document = Document(source)
    try:
        root = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _mistake(source, line, f"character U+{ord(text[error.position]):04X}") from None
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        said = ": ".join(part for part in (error.context, error.problem) if part)
        raise _mistake(source, line, said) from None
    except (ValueError, OverflowError):
        # PyYAML lets chr() fail on an escape such as "\\UFFFFFFFF".
        raise _mistake(source, 1, "an escape that is no character") from None
    if root is not None:
        document.tree = _value(root, (), document)
    return document


def _mistake(source: str, line: int, said: str) -> OperatorError:
    hint = ""
    if "alias" in said or "anchor" in said:
        hint = "; put quotes around text that begins with * or &"
    elif r"\t" in said:
        hint = "; indent with spaces, not tabs"
    return OperatorError(f"{source}:{line}: cannot be read as YAML: {said}{hint}")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader as far as nodes, without the readings and expansions of YAML 1.1."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in rows if tag == _NULL]
        for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            problem = "an alias (*)"
        elif event.anchor is not None:
            problem = "an anchor (&)"
        elif event.tag is not None:
            problem = "a tag (!)"
        elif self.depth == MAX_DEPTH:
            problem = "nested too deeply"
        if problem:
            mark: Any = event.start_mark  # types-PyYAML disagrees with itself about its class
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
        # Half of a pair, from an escape such as "\ud83d": no program could print or send it.
        line = node.start_mark.line + 1
        raise _mistake(document.source, line, "an escape that is no character")
    return text


def dotted(path: KeyPath) -> str:
    """A key as a person names it, ``swap.zswap.enabled``; characters that do not print escaped."""
    return ascii(".".join(map(str, path)))[1:-1]
