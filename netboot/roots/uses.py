"""Which versions of root images seats run now: a record that the server writes into the library."""

import json
from collections.abc import Mapping
from pathlib import Path

RECORD = "uses.json"


def read_uses(folder: Path) -> Mapping[str, list[str]] | None:
    """Return the seats that run a version, by the short digest of the version; None if unknown.

    ``folder`` is the library's.
    """
    try:
        content = json.loads((folder / RECORD).read_bytes())
        return {str(short): [str(seat) for seat in seats] for short, seats in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None
