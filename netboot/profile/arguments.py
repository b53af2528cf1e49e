"""Words of the command line -> values: the kinds of a profile, and some that only options have. Pure."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from netboot.errors import OperatorError
from netboot.profile.reading import Text, Unreadable, quoted
from netboot.profile.values import SIZE, integer

T = TypeVar("T")


def parse_exports(texts: Iterable[str]) -> dict[str, int]:
    """Return the bytes of exports given as ``NAME=SIZE``, by name.

    Raises OperatorError, also if a name is given twice.
    """
    return _by_name("export", map(_parse_export, texts))


def parse_images(texts: Iterable[str]) -> dict[str, Path]:
    """Return the files of read-only exports given as ``NAME=FILE``, by name.

    Raises OperatorError, also if a name is given twice.
    """
    return _by_name("image", map(_parse_image, texts))


def _by_name(what: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise OperatorError(
                f"{what} {quoted(name)}: given twice", hint="give each a different name"
            )
        found[name] = value
    return found


def _parse_export(text: str) -> tuple[str, int]:
    name, _, written = text.rpartition("=")
    try:
        if not name:
            raise Unreadable("NAME=SIZE such as scratch=1GiB")
        return name, SIZE.parse(written)
    except Unreadable as error:
        hint = f"did you mean '{name}={error.nearest}'?" if error.nearest else ""
        raise OperatorError(f"export {quoted(text)}: {error}", hint=hint) from None


def _parse_image(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path or "\0" in path:
        raise OperatorError(f"image {quoted(text)}: expected NAME=FILE such as root=/srv/root.img")
    return name, Path(path)


def parse_endpoint(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``. Raises OperatorError.

    IPv6 addresses are in brackets. Port 0 stands for any free port.
    """
    match = re.fullmatch(r"(?:\[([\w:.%]+)\]|([^:\[\]]+)):([0-9]+)", text, re.ASCII)
    try:
        if match is None or not is_host(match[1] or match[2]):
            raise Unreadable("HOST:PORT such as 127.0.0.1:10809")
        return match[1] or match[2], integer(0, 65535).parse(match[3])
    except Unreadable as error:
        raise OperatorError(f"address {quoted(text)}: {error}") from None


def is_host(name: str) -> bool:
    """Return whether a resolver takes the name of a host, such as not ``a..b`` (RFC 3490)."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def parse_server(text: str, *, where: str = "--server", port: int | None = None) -> str:
    """Return ``HOST:PORT`` of a server's HTTP, also if it is written as a URL.

    ``where`` is its option or argument. It may come without a port if there is a usual ``port``.
    Raises OperatorError.
    """
    bare = text.strip().removeprefix("http://").rstrip("/")
    match = re.fullmatch(r"(\[[0-9a-f:.%]+\]|[\w.-]+)(?::([0-9]{1,5}))?", bare, re.IGNORECASE)
    if match is not None and not (match[1].startswith("[") or is_host(match[1])):
        match = None
    if match is not None and match[2] and 1 <= int(match[2]) <= 65535:
        return bare
    if match is not None and not match[2] and port is not None:
        return f"{bare}:{port}"
    guess = f"; did you mean '{bare}:8080'?" if match is not None and not match[2] else ""
    expected = "HOST:PORT such as 127.0.0.1:8080" if port is None else "HOST or HOST:PORT"
    raise OperatorError(f"{where}: expected {expected}, found {quoted(text)}{guess}")


def parse_word(where: str, kind: Text[T], text: str) -> T:
    """Return a value of the command line; ``where`` is its option. Raises OperatorError."""
    try:
        return kind.parse(text)
    except Unreadable as error:
        guess = f"; did you mean '{error.nearest}'?" if error.nearest else ""
        raise OperatorError(f"{where}: {error}, found {quoted(text)}{guess}") from None
