"""A folder of images for a test whose PCs load nothing."""

from pathlib import Path


def write_manifest(folder: Path) -> None:
    """Make ``folder`` one of images as ``netboot serve --images`` wants it, without any files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text('{"files": []}')
