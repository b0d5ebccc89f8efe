"""
The panel's files, read once from the package when the first page is asked for.

Their address holds a hash over all of them, so that a browser keeps them for ever and modules can name each other by
plain relative paths. Text is held compressed as well. The sources are for readers: a browser gets them without
indentation, empty lines and lines that are only a comment, so no file of the panel may have a text where these matter.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_PAGES = ("index.html", "ops/index.html")
_VENDOR = "vendor/"
_FOR_READERS = re.compile(rb"^(?:[ \t]*//[^\n]*\n|[ \t]*\n|[ \t]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class File:
    body: bytes
    packed: bytes
    """The body in gzip."""
    content_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Files:
    build: str
    pages: dict[str, File]
    assets: dict[str, File]


@cache
def load() -> Files:
    """Every file of the panel that a browser may ask for."""
    raw = dict(sorted(_walk(resources.files("worker.web.panel") / "static", "")))
    digest = hashlib.sha256()
    for name, body in raw.items():
        digest.update(f"{name}\0{len(body)}\0".encode() + body)
    build = digest.hexdigest()[:12]
    pages = {name: _file(name, raw.pop(name).replace(b"{build}", build.encode())) for name in _PAGES}
    return Files(build, pages, {name: _file(name, _lean(name, body)) for name, body in raw.items()})


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            found += _walk(entry, name + "/")
        elif any(name.endswith(ending) for ending in _TYPES):
            found.append((name, entry.read_bytes()))
    return found


def _lean(name: str, body: bytes) -> bytes:
    if name.startswith(_VENDOR) or not name.endswith((".js", ".css")):
        return body
    return _FOR_READERS.sub(b"", body)


def _file(name: str, body: bytes) -> File:
    content_type = next(kind for ending, kind in _TYPES.items() if name.endswith(ending))
    etag = hashlib.sha256(body).hexdigest()[:16]
    return File(body, gzip.compress(body, 9, mtime=0), content_type, etag)
