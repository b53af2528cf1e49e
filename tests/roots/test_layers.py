"""Layers of containers' images: what a layer removes, and that nothing outside is touched."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots import layers

pytestmark = [pytest.mark.root, pytest.mark.system]


def tar(members: Mapping[str, bytes | str | None]) -> bytes:
    """Return an archive: bytes are files, text the target of a link, None a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            match content:
                case bytes():
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                case str():
                    hard = content.startswith("hard:")
                    member.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
                    member.linkname = content.removeprefix("hard:")
                    archive.addfile(member)
                case None:
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(member)
    return stream.getvalue()


def oci(path: Path, *content: bytes) -> Path:
    blobs = {hashlib.sha256(each).hexdigest(): each for each in content}
    manifest = json.dumps({"layers": [{"digest": f"sha256:{digits}"} for digits in blobs]}).encode()
    digits = hashlib.sha256(manifest).hexdigest()
    index = json.dumps({"manifests": [{"digest": f"sha256:{digits}"}]}).encode()
    files = {f"blobs/sha256/{name}": each for name, each in (*blobs.items(), (digits, manifest))}
    path.write_bytes(tar({"index.json": index, **files}))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


LOWER = {"etc/": None, "etc/a": b"1", "etc/b": b"1", "var/": None, "var/x": b"1", "var/y/z": b"1"}
UPPER = {"etc/.wh.b": b"", "etc/a": b"2", "var/new": b"2", "var/.wh..wh..opq": b""}


def files(root: Path) -> dict[str, str]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_text() for path in found}


@pytest.mark.parametrize("packed", ["plain", "gzip", "zstd"])
def test_a_layer_replaces_and_removes(root: Path, tmp_path: Path, packed: str) -> None:
    upper = tar(UPPER)
    if packed == "gzip":
        upper = gzip.compress(upper)
    if packed == "zstd":
        upper = subprocess.run(["zstd", "-c"], input=upper, capture_output=True, check=True).stdout
    layers.unpack(oci(tmp_path / "a.oci", tar(LOWER), upper), root)
    assert files(root) == {"etc/a": "2", "var/new": "2"}


def test_an_archive_of_docker_save_is_unpacked(root: Path, tmp_path: Path) -> None:
    names = json.dumps([{"Layers": ["1/layer.tar", "2/layer.tar"]}]).encode()
    content = {"manifest.json": names, "1/layer.tar": tar(LOWER), "2/layer.tar": tar(UPPER)}
    (tmp_path / "a.tar").write_bytes(tar(content))
    layers.unpack(tmp_path / "a.tar", root)
    assert files(root) == {"etc/a": "2", "var/new": "2"}


def test_other_names_of_a_replaced_file_keep_its_content(root: Path, tmp_path: Path) -> None:
    lower = tar({"a": b"1", "b": "hard:a"})
    layers.unpack(oci(tmp_path / "a.oci", lower, tar({"b": b"2"})), root)
    assert files(root) == {"a": "1", "b": "2"}


def test_no_link_leads_out_of_the_folder(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("1")
    lower = tar({"etc": str(outside), "up": "../outside"})
    upper = tar({"etc/bad": b"2", "up/bad": b"2", "../outside/bad": b"2", "up/.wh.kept": b""})
    try:
        layers.unpack(oci(tmp_path / "a.oci", lower, upper), root)
    except OperatorError:
        pass  # a link that leads nowhere in there
    assert os.listdir(outside) == ["kept"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"a": b""}, "neither index.json nor manifest.json"),
        ({"index.json": b"{}"}, "its index is empty"),
        ({"index.json": b"{"}, "Expecting property name"),
        ({"index.json": b'{"layers": [{"digest": "sha256:00"}]}'}, "a part of it is missing"),
        (
            {"index.json": b'{"layers": [{"digest": "sha256:00"}]}', "blobs/sha256/00": b"x"},
            "layer 00 is damaged",
        ),
    ],
)
def test_a_damaged_archive_is_one_line(
    root: Path, tmp_path: Path, content: dict[str, bytes], problem: str
) -> None:
    (tmp_path / "a.oci").write_bytes(tar(content))
    with pytest.raises(OperatorError, match=problem) as caught:
        layers.unpack(tmp_path / "a.oci", root)
    assert "\n" not in str(caught.value)
