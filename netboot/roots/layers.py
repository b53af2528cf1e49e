"""Unpack the layers of a container's image: an OCI archive, or one of ``podman save``, ``docker save``.

Layers are a stranger's, and the links of one lead the files of the next. So this runs as a program of
its own, which sees nothing but the folder that it fills: python -m netboot.roots.layers FILE FOLDER
(https://github.com/opencontainers/image-spec, layer.md).
"""

import gzip
import hashlib
import json
import os
import posixpath
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import netboot
from netboot.roots.running import follow

REMOVED, EMPTIED = ".wh.", ".wh..wh..opq"  # names of files that remove those of layers below
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
CHUNK = 1 << 20
MOST_JSON = 4 << 20  # bytes
MOST_INDICES = 4  # one within another


class Damaged(Exception):
    """An archive that is none of a container's image; the text is the cause."""


def unpack(path: Path, root: Path) -> None:
    """Unpack all layers of the archive into the empty folder ``root``. Raises OperatorError."""
    package = str(Path(netboot.__file__).parent.parent)
    command = [sys.executable, "-m", "netboot.roots.layers", str(path), str(root)]
    problem = f"{path} cannot be unpacked as an image of a container"
    follow(command, problem=problem, env={"PYTHONPATH": package})


def main(path: str, root: str) -> None:
    """Unpack the archive ``path`` into ``root``, and see nothing else. Raises Damaged, OSError."""
    with tarfile.open(path) as archive:
        layers = [_opened(archive, name) for name in _layers(archive)]
        os.chroot(root)
        os.chdir("/")
        for layer in layers:
            with tarfile.open(fileobj=layer, mode="r|") as content:
                apply(content)


def apply(content: tarfile.TarFile) -> None:
    """Put one layer over the current folder's content, which is the root. Raises OSError."""
    made: set[str] = set()
    content.extraction_filter = _everything  # devices too; Python before 3.11.4 has no filters
    for member in content:
        name = posixpath.normpath(f"/{member.name}")
        folder, base = posixpath.split(name)
        if base == EMPTIED:
            _empty(folder, made)
        elif base.startswith(REMOVED):
            _remove(posixpath.join(folder, base.removeprefix(REMOVED)))
        elif name != "/":
            # An existing file may have other names, which must keep its content.
            if os.path.lexists(name) and not (member.isdir() and os.path.isdir(name)):
                _remove(name)
            member.name = name.lstrip("/")
            if member.islnk():
                member.linkname = posixpath.normpath(f"/{member.linkname}").lstrip("/")
            content.extract(member, "/", numeric_owner=True)
            made.add(name)


def _everything(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    return member


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _empty(folder: str, made: set[str]) -> None:
    """Remove what layers below have in a folder, and keep what this one made."""
    if not os.path.isdir(folder) or os.path.islink(folder):
        return
    for base in os.listdir(folder):
        path = posixpath.join(folder, base)
        if path in made and os.path.isdir(path):
            _empty(path, made)
        elif path not in made:
            _remove(path)


def _layers(archive: tarfile.TarFile) -> Iterator[str]:
    """Yield the names of the layers in the archive, the lowest one first. Raises Damaged."""
    names = {posixpath.normpath(name): name for name in archive.getnames()}
    if "index.json" in names:
        found = _json(archive, names["index.json"])
        for _ in range(MOST_INDICES):
            if "layers" in found:
                yield from (_blob(layer, names) for layer in found["layers"])
                return
            found = _json(archive, _blob(_fitting(found.get("manifests", [])), names))
        raise Damaged("its index leads to no layers")
    if "manifest.json" not in names:
        raise Damaged("it has neither index.json nor manifest.json")
    found = _json(archive, names["manifest.json"])
    for name in found[0]["Layers"]:
        yield names[posixpath.normpath(name)]


def _fitting(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first manifest for amd64, or the only one."""
    for each in manifests:
        if each.get("platform", {}).get("architecture", "amd64") == "amd64":
            return each
    if not manifests:
        raise Damaged("its index is empty")
    return manifests[0]


def _blob(described: dict[str, Any], names: dict[str, str]) -> str:
    kind, _, digits = str(described["digest"]).partition(":")
    return names[f"blobs/{kind}/{digits}"]


def _json(archive: tarfile.TarFile, name: str) -> Any:
    file = _file(archive, name)
    return json.loads(file.read(MOST_JSON))


def _file(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise Damaged(f"{name} is no file")
    return file


def _opened(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Return a layer as a stream of tar, checked by the digest in its name. Raises Damaged."""
    file = _file(archive, name)
    kind, digits = posixpath.split(posixpath.normpath(name))
    if kind == "blobs/sha256":
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        if digest.hexdigest() != digits:
            raise Damaged(f"layer {digits[:12]} is damaged")
        file.seek(0)
    magic = file.read(len(ZSTD))
    file.seek(0)
    if magic.startswith(GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if magic != ZSTD:
        return file
    # A program cannot be started any more once only the folder is seen.
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        process = subprocess.Popen(["zstd", "-dc"], stdin=copy, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process.stdout


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Damaged, OSError, EOFError, ValueError, tarfile.TarError) as error:
        sys.exit(f"error: {error}")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        sys.exit(f"error: a part of it is missing: {error}")
