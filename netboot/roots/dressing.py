"""Turn an installed Debian into a root image's: our files, units, locales, the definition's files."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from netboot.errors import OperatorError
from netboot.images import resources
from netboot.roots.definition import Definition
from netboot.roots.format import SOURCE_DATE_EPOCH
from netboot.roots.recipes import GENERATORS, Recipe
from netboot.roots.running import around, in_root

UNITS = "etc/systemd/system"
SUPPORTED = "usr/share/i18n/SUPPORTED"
ENVIRONMENT = {"SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH), "DEBIAN_FRONTEND": "noninteractive"}


def dress(root: Path, definition: Definition, recipe: Recipe) -> None:
    """Add to ``root`` what the recipe and the definition want. Raises OperatorError, OSError."""
    for tree in recipe.trees:
        copy_tree(resources.folder("rootfs") / tree, root)
    for there, here in definition.files.items():
        _copy(Path(here), root / there.lstrip("/"))
    if (root / "usr/bin/systemd-sysusers").exists():
        _run(root, ["systemd-sysusers"], "accounts cannot be made")
    mask(root, UNITS, recipe.mask)
    mask(root, "etc/systemd/system-generators", GENERATORS)
    if recipe.enable:
        _run(root, ["systemctl", "enable", *recipe.enable], "units cannot be enabled")
    if definition.locales:
        _make_locales(root, definition.locales)
    for hook in definition.hooks:
        if not os.access(hook, os.X_OK):
            raise OperatorError(f"hook {hook}: no program", hint=f"chmod +x {hook}")
        around(root, [hook, str(root)], problem=f"hook {hook} failed", env=ENVIRONMENT)


def mask(root: Path, where: str, names: Iterable[str]) -> None:
    """Let systemd never start these units, or run these generators, of a folder. Raises OSError."""
    folder = root / where
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to("/dev/null")


def _run(root: Path, command: list[str], problem: str) -> None:
    in_root(root, command, problem=problem, env=ENVIRONMENT)


def copy_tree(tree: Path, root: Path) -> None:
    """Copy a folder of rootfs/ over ``root``: programs get mode 0755, other files 0644.

    The modes of a checkout depend on its umask, and a wheel keeps none. Raises OSError.
    """
    for source in files_below(tree):
        target = root / source.relative_to(tree)
        for folder in reversed(target.relative_to(root).parents):
            if not (root / folder).is_dir():
                (root / folder).mkdir()
                (root / folder).chmod(0o755)
        target.unlink(missing_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
            continue
        content = source.read_bytes()
        target.write_bytes(content)
        target.chmod(0o755 if content.startswith((b"#!", b"\x7fELF")) else 0o644)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files and links below a folder, sorted; the path itself if it is a file."""
    if folder.is_symlink() or not folder.is_dir():
        yield folder
        return
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or path.is_file():
            yield path


def _copy(source: Path, target: Path) -> None:
    """Copy the definition's file or folder; root owns the copy. Raises OperatorError, OSError."""
    if not source.exists():
        raise OperatorError(f"files: there is no {source}", hint="correct the definition")
    for path in files_below(source):
        place = target / path.relative_to(source) if path != source else target
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)


def _make_locales(root: Path, locales: Iterable[str]) -> None:
    """Make locales by the system's own table. Raises OperatorError for one that it does not have."""
    table = root / SUPPORTED
    rows = [line.split() for line in table.read_text().splitlines()] if table.is_file() else []
    sets = {row[0]: row[1] for row in rows if len(row) == 2}
    chosen = []
    for name in locales:
        if name not in sets:
            raise OperatorError(
                f"key 'locales': Debian has no locale '{name}'",
                hint="write it as in /usr/share/i18n/SUPPORTED, such as de_DE.UTF-8",
            )
        chosen.append(f"{name} {sets[name]}\n")
    (root / "etc/locale.gen").write_text("".join(chosen))
    _run(root, ["locale-gen"], "locales cannot be made")
