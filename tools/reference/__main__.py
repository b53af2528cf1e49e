"""``python -m tools.reference``: write the generated blocks of all pages."""

import sys

from tools.reference import PAGES, render

for path in sorted(PAGES.glob("*.md")):
    text = path.read_text()
    current = render(text)
    if current != text:
        path.write_text(current)
        sys.stdout.write(f"written: {path}\n")
