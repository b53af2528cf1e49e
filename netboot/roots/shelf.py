"""The root images of a running server: the version that a PC boots now, or why it cannot.

The answer follows ``netboot image``: a new version, or another one that is put into use, is found
without a restart. It costs two looks at the file system, and a manifest only if the link changed.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netboot.boot.plan import RootVersion, version_export
from netboot.roots import checks
from netboot.roots.library import CURRENT, Library, Version


@dataclass(frozen=True, slots=True)
class _Current:
    """A version, the inode and the time of the link that named it, and a flaw of its files."""

    link: tuple[int, int]
    version: Version
    flaw: str


@dataclass(slots=True)
class Shelf:
    """The images of ``library`` for PCs whose boot images have these ``kernels``, by processor.

    Only names of the profile are asked for, so the memory that it takes is bounded.
    """

    library: Library = field(default_factory=Library)
    kernels: Mapping[str, str] = field(default_factory=dict)
    _found: dict[str, _Current] = field(default_factory=dict, repr=False)

    def boots(self, name: str) -> RootVersion | None:
        """Return the version that a PC boots now; None if there is none."""
        found = self._current(name)
        if found is None:
            return None
        made = found.version.manifest
        fitting = tuple(name for name, each in self.kernels.items() if each in made.kernels)
        return RootVersion(version_export(made.short), made.tree, fitting)

    def obstacle(self, name: str, processors: Iterable[str]) -> str:
        """Return one line on why a PC with one of these processors cannot boot; empty if it can."""
        found = self._current(name)
        if found is None:
            return checks.missing(name, self.library)
        return checks.judged(found.version, self.kernels, processors, found.flaw)

    def version(self, name: str, short: str) -> Version | None:
        """Return a version of an image that the library has, current or older; None if it has not."""
        return self.library.with_digest(name, short)

    def _current(self, name: str) -> _Current | None:
        try:
            status = (self.library.folder / name / CURRENT).lstat()
        except OSError:
            return None
        link, found = (status.st_ino, status.st_mtime_ns), self._found.get(name)
        if found is None or found.link != link or not os.path.exists(found.version.image):
            version = self.library.current(name)
            if version is None:
                return None
            found = self._found[name] = _Current(link, version, checks.flaw(version))
        return found
