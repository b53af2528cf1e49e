"""The navigation of the documentation, for MkDocs: a new page needs no edit.

The order of folders is below. The pages of a folder come in the order in which its index.md links them;
pages that it does not link come last, by name. Each page has the title of its first heading.
"""

import re
from pathlib import Path
from typing import Any

# Folders and pages of docs/, and their titles; an empty title is the page's own.
SECTIONS = {
    "index.md": "",
    "tutorial": "Tutorial",
    "howto": "How-to guides",
    "reference": "Reference",
    "explanation": "Explanation",
    "measurements": "Measurements",
    "security.md": "",
    "troubleshooting.md": "",
    "glossary.md": "",
    "contributing": "Contributing",
    "adr": "Decisions",
}

INDEX = "index.md"


def on_config(config: Any) -> Any:
    """Set the navigation. MkDocs calls this when it has read mkdocs.yml."""
    config["nav"] = navigation(Path(config["docs_dir"]))
    return config


def navigation(docs: Path) -> list[Any]:
    """Return MkDocs' ``nav`` for the pages that are in ``docs``."""
    entries = [
        _entry(docs, name, title) for name, title in SECTIONS.items() if (docs / name).exists()
    ]
    rest = sorted(path.name for path in docs.iterdir() if path.name not in SECTIONS)
    return entries + [_entry(docs, name, "") for name in rest if _pages(docs / name)]


def _entry(docs: Path, name: str, title: str) -> Any:
    path = docs / name
    if path.is_file():
        return name
    return {
        title or name.capitalize(): [page.relative_to(docs).as_posix() for page in _pages(path)]
    }


def _pages(path: Path) -> list[Path]:
    """Return the page itself, or the pages of a folder in their order."""
    if path.is_file():
        return [path] if path.suffix == ".md" else []
    index = path / INDEX
    text = index.read_text() if index.is_file() else ""
    linked = [INDEX, *re.findall(r"\]\((?:\./)?([\w./-]+\.md)", text)]
    order = {name: number for number, name in reversed(list(enumerate(linked)))}

    def place(page: Path) -> tuple[int, str]:
        name = page.relative_to(path).as_posix()
        return order.get(name, len(linked)), name

    return sorted(path.rglob("*.md"), key=place)
