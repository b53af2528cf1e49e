"""Folders of images for tests and benchmarks whose PCs are played or load nothing."""

import hashlib
import json
from collections.abc import Mapping
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


def write_images(folder: Path, size_bytes: Mapping[str, int]) -> None:
    """Make ``folder`` one of images with the files of `netboot build` for BIOS, in these sizes."""
    files = []
    for name, size in size_bytes.items():
        content = (name.encode() * (size // len(name) + 1))[:size]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        files.append({"name": name, "size": size, "sha256": sha256})
    manifest = {"key": "test", "files": files, "processors": {"amd64": {}}}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def renew_manifest(folder: Path) -> None:
    """Let the manifest of a build know the files as they are now: a test has changed some."""
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text())
    content["files"] = [row for row in content["files"] if (folder / row["name"]).exists()]
    for row in content["files"]:
        changed = (folder / row["name"]).read_bytes()
        row |= {"size": len(changed), "sha256": hashlib.sha256(changed).hexdigest()}
    path.write_text(json.dumps(content))
