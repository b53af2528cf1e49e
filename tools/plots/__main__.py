"""``python -m tools.plots``: write the plots of docs/measurements, and the page that shows them."""

import sys

from tools.plots import files

for path, content in files():
    if not path.exists() or path.read_text() != content:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        sys.stdout.write(f"written: {path}\n")
