"""A folder of images for a test whose PCs load nothing."""

import hashlib
import json
from pathlib import Path


def write_manifest(folder: Path) -> None:
    """Make ``folder`` one of images as ``netboot serve --images`` wants it, with one small file."""
    folder.mkdir(parents=True, exist_ok=True)
    content = b"nothing\n"
    (folder / "nothing.img").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    row = {"name": "nothing.img", "size": len(content), "sha256": sha256}
    (folder / "manifest.json").write_text(json.dumps({"files": [row]}))
