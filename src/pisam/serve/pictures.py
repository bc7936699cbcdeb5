"""Pictures from strangers: uploads, data URIs, and files of the one host that was named."""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.reading.image_files import FORMATS, claimed_pixels
from pisam.data.reading.reader import read_given, read_image

FETCH_SECONDS = 20
PORTS = {"http": 80, "https": 443}
SCANS = 100  # of a JPEG; encoders write about ten, and each costs a pass over the whole picture


class Refused(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP, 4xx, 503 or 507.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """Limits of what a stranger may ask for."""

    upload: int = 32 * 2**20  # bytes of a picture
    pixels: int = 25_000_000  # of a picture


def decode_image(contents: bytes, limits: Limits) -> UInt8Array:
    """An uploaded picture as uint8 (H, W, 3) RGB, upright; raises Refused: too large, or not a picture."""
    return _decode(contents, limits, read_image)


def decode_mask(contents: bytes, limits: Limits) -> BoolArray:
    """An uploaded mask, bool (H, W), by the rules of `data.reading`; there may be nothing in it.

    Raises:
        Refused: too large, not a picture, or values that may mean two things.
    """
    return _decode(contents, limits, read_given)


def from_data_uri(text: str, limits: Limits) -> bytes:
    """The bytes of a data URI, or of bare base64; raises Refused: neither, or too large."""
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    if len(encoded) > limits.upload * 4 // 3 + 4:
        raise Refused(413, f"image: expected at most {limits.upload} bytes")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, "image: expected a data URI or base64") from error


def origin(address: str) -> str | None:
    """Scheme, name and port of an address of HTTP as browsers write them, None of any other.

    In small letters, without the scheme's usual port. An address with a user is another one.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        host = re.fullmatch(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]*)?", parts.netloc.lower())
        if host is None or parts.scheme not in PORTS:
            return None
        port = "" if parts.port in (None, PORTS[parts.scheme]) else f":{parts.port}"
        return f"{parts.scheme}://{host[1]}{port}"
    except ValueError:
        return None


def fetch(location: str, host: str | None, token: str | None, limits: Limits) -> bytes:
    """A file of the host that was named, and of no other; redirections are not followed.

    Args:
        location: URL, or a path on the host.
        host: its `origin`; None = nothing is fetched.
        token: sent as `Authorization: Token ...`.
        limits: of its length.

    Raises:
        Refused: another host, or it does not answer with a file of that length.
    """
    if host is None:
        raise Refused(
            400, "image: is fetched from no host; start pisam serve with label_studio=http://HOST:PORT"
        )
    try:
        asked = urllib.parse.urlsplit(url := urllib.parse.urljoin(f"{host}/", location))
    except ValueError as error:
        raise Refused(400, "image: not a URL") from error
    if origin(url) != host:
        raise Refused(400, f"image: is fetched from {host} alone")
    # Tools give names of files as they are, with blanks and accents.
    path, query = (urllib.parse.quote(part, safe="%/:?@!$&'()*+,;=") for part in (asked.path, asked.query))
    request = urllib.request.Request(
        f"{host}{path or '/'}{query and f'?{query}'}",
        headers={"Authorization": f"Token {token}"} if token else {},
    )
    try:
        with _DIRECT.open(request, timeout=FETCH_SECONDS) as answer:
            contents: bytes = answer.read(limits.upload + 1)
            if answer.length and len(contents) <= limits.upload:
                raise http.client.IncompleteRead(contents, answer.length)
    except (OSError, ValueError, http.client.HTTPException) as error:
        broken = "no answer" if isinstance(error, OSError) else f"broken answer, {type(error).__name__}"
        cause = getattr(error, "code", broken)
        raise Refused(400, f"image: {host} does not give it ({cause})") from error
    if len(contents) > limits.upload:
        raise Refused(413, f"image: expected at most {limits.upload} bytes")
    return contents


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


# Without the proxies of the environment, which would be asked for names inside of a network.
_DIRECT = urllib.request.build_opener(_NoRedirection, urllib.request.ProxyHandler({}))


def _decode(contents: bytes, limits: Limits, read: Callable[[Path], Any]) -> Any:
    if len(contents) > limits.upload:
        raise Refused(413, f"image: expected at most {limits.upload} bytes")
    try:
        with Image.open(io.BytesIO(contents), formats=FORMATS) as image:
            (width, height), pixels, kind = image.size, claimed_pixels(image), image.format
    except Exception as error:  # Pillow raises anything on what is no picture
        raise Refused(400, f"image: not a picture; expected one of {', '.join(FORMATS)}") from error
    if kind in ("JPEG", "MPO") and contents.count(b"\xff\xda") > SCANS:
        raise Refused(400, f"image: a JPEG of more than {SCANS} scans; save it anew")
    if pixels > limits.pixels:
        raise Refused(413, f"image: {width}x{height}, {pixels} pixels; expected at most {limits.pixels}")
    try:
        with tempfile.NamedTemporaryFile(prefix="pisam-") as file:  # the rules of reading are those of files
            file.write(contents)
            file.flush()
            try:
                return read(Path(file.name))
            except PisamError as error:
                raise Refused(400, str(error).replace(file.name, "image")) from error
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise Refused(507, f"image: the server's temporary folder does not take it: {cause}") from error
