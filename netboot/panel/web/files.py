"""The files of the page, read once at the start. A request names one of these, and never a path."""

import functools
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from netboot.boot import words
from netboot.panel.web.problems import refuse

FOLDER = Path(__file__).parent.parent / "static"
INDEX, DOCS, TEXTS = "index.html", "docs.html", "texts.json"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
PLAIN = "text/plain; charset=utf-8"  # licences, hashes
PACKED = frozenset((".html", ".css", ".js", ".mjs", ".json", ".svg", ""))
CHECKED = "no-cache"  # a browser asks each time whether its copy is current
MIN_PACKED = 500  # bytes
LANGUAGES = ("en", "de")  # in the order that static/ui.js expects


@dataclass(frozen=True, slots=True)
class File:
    """One file. ``packed``: by gzip; empty if that is not smaller."""

    content: bytes
    packed: bytes
    kind: str
    tag: str


@functools.cache
def read_files(folder: Path = FOLDER) -> dict[str, File]:
    """Return all files below ``folder`` by their names, as ``vendor/preact.mjs``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _read(path) for path in paths}


def _read(path: Path) -> File:
    content = path.read_bytes()
    if path.name == TEXTS:
        content = whole_texts(content)
    packed = b""
    if path.suffix in PACKED and len(content) >= MIN_PACKED:
        packed = gzip.compress(content, 9, mtime=0)
    tag = hashlib.blake2b(content, digest_size=12).hexdigest()
    is_small = len(packed) < len(content)
    return File(content, packed if is_small else b"", TYPES.get(path.suffix, PLAIN), tag)


def whole_texts(own: bytes) -> bytes:
    """Return the page's own texts, and those that the PCs say too: a list for each, by LANGUAGES.

    The names of the languages would be 5 kB of the first visit.
    """
    rows: dict[str, dict[str, str]] = json.loads(own) | words.of_page()
    texts = {key: [row[each] for each in LANGUAGES] for key, row in rows.items()}
    return json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()


def router(files: Mapping[str, File]) -> APIRouter:
    """Return the routes of these files; ``/`` is ``index.html``, ``/docs`` is ``docs.html``."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return _send(request, files, INDEX)

    @routes.api_route("/docs", methods=["GET", "HEAD"])
    async def docs(request: Request) -> Response:
        return _send(request, files, DOCS)

    @routes.api_route("/static/{name:path}", methods=["GET", "HEAD"])
    async def static(request: Request, name: str) -> Response:
        return _send(request, files, name)

    return routes


def _send(request: Request, files: Mapping[str, File], name: str) -> Response:
    file = files.get(name)
    if file is None:
        raise refuse(
            404, f"no file {name[:60]!a}: the panel's page has no file of this name; see /"
        )
    takes = request.headers.get("accept-encoding", "")
    packed = bool(file.packed) and "gzip" in takes and "gzip;q=0" not in takes.replace(" ", "")
    tag = f'"{file.tag}{"-gz" if packed else ""}"'
    headers = {
        "ETag": tag,
        "Cache-Control": CHECKED,
        "Content-Type": file.kind,
        "Vary": "Accept-Encoding",
    }
    known = [
        each.strip().removeprefix("W/")
        for each in request.headers.get("if-none-match", "").split(",")
    ]
    if tag in known or "*" in known:
        del headers["Content-Type"]
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(file.packed if packed else file.content, headers=headers)
