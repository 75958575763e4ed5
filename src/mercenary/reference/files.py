"""The scripts, styles and images of the page, under names that hold a digest of their content.

A name stands for its bytes for ever, so every cache may keep them for ever, and a new release,
whose page names other ones, is never mixed with an old one.
"""

import asyncio
import zlib
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import brotli
import zstandard

from mercenary.http.compression import SMALLEST, compressible
from mercenary.http.endpoint import Content

_SCRIPT: Final = "text/javascript; charset=utf-8"
_STYLE: Final = "text/css; charset=utf-8"
_IMAGE: Final = "image/png"
_OWN: Final = Path(__file__).parent / "assets"
_OURS: Final = {"docs.js": _SCRIPT, "docs.css": _STYLE}
# Swagger UI comes with the package swagger-ui-py. Nothing but these is ever served of either.
_SWAGGER: Final = {
    "swagger-ui.css": _STYLE,
    "swagger-ui-bundle.js": _SCRIPT,
    "favicon-32x32.png": _IMAGE,
}
# A year, which RFC 9111 has for the longest; `immutable` (RFC 8246) spares even the asking.
_FOR_EVER: Final = ("Cache-Control", "public, max-age=31536000, immutable")
_DIGEST_DIGITS: Final = 16
# Half a second together for Swagger UI's 1.5 MB, in a thread, and once a process: 369 KB by zstd
# and 359 KB by Brotli. Their highest levels would take 8.5 s for 7% less.
_ZSTD_LEVEL: Final = 12
_BROTLI_QUALITY: Final = 9
_GZIP_LEVEL: Final = 6
_GZIP_FRAME: Final = 31  # zlib's wbits for a gzip header around the largest window


class File:
    """One file and, once it was asked for, its bytes in every coding."""

    def __init__(self, path: Path, media_type: str) -> None:
        self.body = path.read_bytes()
        self.media_type = media_type
        digest = sha256(self.body).hexdigest()[:_DIGEST_DIGITS]
        self.name = f"{path.stem}.{digest}{path.suffix}"
        self._content: Content | None = None
        self._making = asyncio.Lock()

    async def content(self) -> Content:
        """The file as it is answered."""
        async with self._making:
            if self._content is None:
                codings = await asyncio.to_thread(self._encoded)
                self._content = Content(
                    self.body, self.media_type, headers=(_FOR_EVER,), codings=codings
                )
        return self._content

    def _encoded(self) -> Mapping[bytes, bytes]:
        if len(self.body) < SMALLEST or not compressible(self.media_type.encode()):
            return {}
        return {
            b"zstd": zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(self.body),
            b"br": brotli.compress(self.body, quality=_BROTLI_QUALITY),
            b"gzip": zlib.compress(self.body, _GZIP_LEVEL, _GZIP_FRAME),
        }


@cache
def files() -> Mapping[str, File]:
    """All files by the names that they are served under."""
    found = [File(_OWN / name, media_type) for name, media_type in _OURS.items()]
    found += [File(_swagger() / name, media_type) for name, media_type in _SWAGGER.items()]
    return {file.name: file for file in found}


@cache
def page() -> bytes:
    """The page, with the files that it needs under those names."""
    text = (_OWN / "docs.html").read_text(encoding="utf-8")
    for name in files():
        stem, _, suffix = name.split(".")
        text = text.replace(f'/{stem}.{suffix}"', f'/{name}"')
    return text.encode()


def _swagger() -> Path:
    # Found without importing it: its code brings web frameworks' handlers, and only files count.
    spec = find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("the package swagger-ui-py isn't installed")
    return Path(spec.submodule_search_locations[0]) / "static"
