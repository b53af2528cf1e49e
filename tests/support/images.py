"""A folder of images for a test whose PCs load nothing."""

import hashlib
import json
from pathlib import Path

from netboot.images.manifest import MANIFEST_FILE


def write_manifest(folder: Path) -> None:
    """Make ``folder`` one of images as ``netboot serve --images`` wants it, with one small file."""
    folder.mkdir(parents=True, exist_ok=True)
    content = b"nothing\n"
    (folder / "nothing.img").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    row = {"name": "nothing.img", "size": len(content), "sha256": sha256}
    (folder / MANIFEST_FILE).write_text(json.dumps({"files": [row]}))


def renew_manifest(folder: Path) -> None:
    """Let the manifest of a build know the files as they are now: a test has changed some."""
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text())
    for row in content["files"]:
        changed = (folder / row["name"]).read_bytes()
        row |= {"size": len(changed), "sha256": hashlib.sha256(changed).hexdigest()}
    path.write_text(json.dumps(content))
