"""Static files, read once: each under an address that holds its content's hash, for ever."""

import gzip
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from web.problems import not_found

FOLDER: Final = Path(__file__).parent / "static"
PREFIX: Final = "/dashboard/static/"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    content: bytes
    packed: bytes
    media_type: str


class StaticFiles:
    """All files of the folder. `address` gives a file's URL by its name."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._names: dict[str, str] = {}
        for path in sorted(FOLDER.rglob("*")):
            if path.suffix in TYPES:
                self._add(path)

    def _add(self, path: Path) -> None:
        content = path.read_bytes()
        stem, _, ending = path.name.rpartition(".")
        hashed = f"{stem}.{sha256(content).hexdigest()[:12]}.{ending}"
        self._names[path.name] = hashed
        self._files[hashed] = File(content, gzip.compress(content, 9), TYPES[path.suffix])

    def address(self, name: str) -> str:
        return PREFIX + self._names[name]

    def find(self, hashed: str) -> File | None:
        return self._files.get(hashed)


class Static:
    """GET gives a file, to be kept for ever: another content has another address."""

    def __init__(self, files: StaticFiles) -> None:
        self._files = files

    async def on_get(self, req: Any, resp: Any, name: str) -> None:
        file = self._files.find(name)
        if file is None:
            raise not_found(f"There is no file {name[:64]}.")
        resp.content_type = file.media_type
        resp.set_header("Cache-Control", "public, max-age=31536000, immutable")
        resp.set_header("Vary", "Accept-Encoding")
        if "gzip" in (req.get_header("Accept-Encoding") or ""):
            resp.set_header("Content-Encoding", "gzip")
            resp.data = file.packed
        else:
            resp.data = file.content
