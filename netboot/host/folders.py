"""The folders that systemd gives a service (StateDirectory= and its kin, systemd.exec(5))."""

import os
from pathlib import Path

STATE, CACHE, RUNTIME = "STATE_DIRECTORY", "CACHE_DIRECTORY", "RUNTIME_DIRECTORY"


def given(variable: str) -> Path | None:
    """Return the first folder that ``variable`` names; None without one.

    systemd gives absolute paths, with colons between several. Another program's word is no folder of
    ours.
    """
    first = os.environ.get(variable, "").partition(":")[0]
    return Path(first) if os.path.isabs(first) else None
