"""A client of `pisam serve`, and the pictures that it sends."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


@dataclass
class Client:
    """Talks to a server that listens on a port of this machine."""

    port: int

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and answer; JSON is decoded."""
        contents = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, contents, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text, kind = answer.status, answer.read(), answer.headers.get("content-type", "")
        except urllib.error.HTTPError as error:
            status, text, kind = error.code, error.read(), error.headers.get("content-type", "")
        return status, json.loads(text) if "json" in kind and text else text

    def begin(self, contents: bytes) -> str:
        """The id of a new session on a picture."""
        status, answer = self.ask("POST", "/api/images", contents)
        assert status == 201, answer
        return answer["session"]


Start = Callable[..., Client]


def picture(seed: int = 0, width: int = 90, height: int = 60) -> tuple[np.ndarray, bytes]:
    """Noise, and its PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return pixels, png(pixels)


def png(pixels: np.ndarray) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def decoded(uri: str) -> np.ndarray:
    """The mask of a data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(bool)
