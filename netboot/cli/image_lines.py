"""Root images as the command shows them: text for people, JSON for scripts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from netboot.roots.library import Version

Uses = Mapping[str, Sequence[str]] | None  # seats by short digest; None if no server has told them


def line(version: Version) -> str:
    """Return one version on one line."""
    found = version.manifest
    packages = f", {len(found.packages)} packages" if found.packages else ""
    kernels = ", ".join(found.kernels)
    return f"{version.label}: {_megabytes(found.size)}, {found.format}{packages}, Linux {kernels}"


def table(rows: Sequence[tuple[Version, bool]], uses: Uses) -> str:
    """Return a table of versions, each with whether the next boots get it."""
    cells = [("", "VERSION", "SIZE", "KERNEL", "RAM TRIED", "SEATS NOW")]
    for version, current in rows:
        found = version.manifest
        cells.append(
            (
                "*" if current else "",
                version.label,
                _megabytes(found.size),
                " ".join(found.kernels),
                f"{found.ram_tried} MiB" if found.ram_tried else "-",
                "?" if uses is None else str(len(uses.get(found.short, ()))),
            )
        )
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    padded = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join((*padded, "* the next boots get this version"))


def details(version: Version, before: Version | None, *, current: bool, uses: Uses) -> str:
    """Return all about a version but its packages: of them the differences from ``before``."""
    found = version.manifest
    seats = "unknown" if uses is None else " ".join(uses.get(found.short, ())) or "none"
    rows = {
        "version": version.label + (", for the next boots" if current else ""),
        "file": str(version.image),
        "size": f"{_megabytes(found.size)}, {found.format}",
        "sha256": found.digest,
        "root hash": f"{found.root_hash} ({found.blocks} blocks)",
        "kernels": " ".join(found.kernels),
        "architecture": found.architecture,
        "init": found.init,
        "RAM tried": f"{found.ram_tried} MiB" if found.ram_tried else "never tried",
        "seats now": seats,
        "source": found.source,
        "packages": str(len(found.packages)) if found.packages else "not Debian's",
        **{f"  {key}": _worded(value) for key, value in found.definition.items()},
    }
    text = [f"{name + ':':14} {value}" for name, value in rows.items() if value]
    if before is not None:
        changed = differences(before, version) or ["  none"]
        text += [f"packages that differ from {before.label}:", *changed]
    return "\n".join(text)


def differences(before: Version, after: Version) -> list[str]:
    """Return a line for each package that differs."""
    old, new = before.manifest.packages, after.manifest.packages
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            lines.append(f"  - {name} {old[name]}")
        elif name not in old:
            lines.append(f"  + {name} {new[name]}")
        elif old[name] != new[name]:
            lines.append(f"  {name} {old[name]} -> {new[name]}")
    return lines


def as_json(version: Version, *, current: bool, uses: Uses) -> dict[str, Any]:
    """Return a version for scripts. ``seats`` is null if no server has told them."""
    return {
        **asdict(version.manifest),
        "version": version.manifest.stamp,
        "short": version.manifest.short,
        "image": str(version.image),
        "current": current,
        "seats": None if uses is None else list(uses.get(version.manifest.short, ())),
    }


def _worded(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{there} from {here}" for there, here in value.items())
    return (" ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
