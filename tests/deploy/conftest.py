"""The LAN, and a room's profile and images that are quick to copy."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.rig import Lan


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    found = Lan(tmp_path_factory.mktemp("lan"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `netboot build` would make, in small."""
    folder = tmp_path_factory.mktemp("images")
    files = []
    for name in ("vmlinuz", "initramfs.img", "undionly.kpxe", "snponly.efi"):
        content = name.encode() * 1000
        (folder / name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        files.append({"name": name, "size": len(content), "sha256": sha256})
    (folder / "manifest.json").write_text(json.dumps({"key": "test", "files": files}))
    return folder
