"""Checks of a request before anyone looks at it: its sender, its length, its pace, its JSON."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import secrets
from typing import Any
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pisam.core.files import parse_json
from pisam.serve.pictures import Refused

JSON_BYTES = 2**16
# What Python makes of JSON may be 25 times as large: a list or an object is refused beyond the first number,
# a comma beyond the second. The masks of a Label Studio task are long lists of numbers.
JSON_CONTAINERS, JSON_COMMAS = 2**16, 2**21
BODY_SECONDS = 20
OPEN = ("/", "/page.js", "/page.css", "/health")  # nothing is asked or told there


class Gate:
    """Lets in who names the right host and token; pages of other sites only where they were allowed.

    Args:
        app: what is behind it.
        token: to be sent as header `Token`, or in `Authorization`; None = nobody needs one.
        hosts: names by which the server may be called; empty = any. A foreign name that leads to a loopback
            address is an attack from a browser.
        bodies: bytes that the long bodies of all requests may hold together, until they are answered.
        origin: of pages of another site that may ask, None = none.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, hosts: tuple[str, ...], origin: str | None, bodies: int
    ) -> None:
        self.app, self.token, self.hosts, self.origin, self.bodies = app, token, hosts, origin, bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = self._refuse(scope, Headers(scope=scope))
        if refused is not None:
            await refused(scope, receive, send)
            return
        held = 0

        async def counted() -> Message:
            nonlocal held
            message = await receive()
            length = len(message.get("body", b""))
            # Clicks are short, and go on where others send pictures.
            if held + length > JSON_BYTES and self.bodies < length:
                raise Refused(503, "busy: too much is being sent; try again in a moment")
            held += length
            self.bodies -= length
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self.bodies += held

    def _refuse(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts and _name(host) not in self.hosts:
            return _error(403, f"host: expected one of {', '.join(self.hosts)}")
        if origin not in (None, self.origin, f"http://{host}", f"https://{host}"):
            return _error(403, "origin: pages of another site are not answered; see cors= of pisam serve")
        preflight = scope["method"] == "OPTIONS" and origin is not None and origin == self.origin
        if self.token is None or scope["path"] in OPEN or preflight:
            return None
        if secrets.compare_digest(_token(headers).encode(), self.token.encode()):
            return None
        if scope["path"].startswith("/v1/"):  # X-AnyLabeling reads errors from answers that went well
            return JSONResponse(anylabeling_error("UNAUTHORIZED", "the API key is not the server's token"))
        return _error(401, "token: missing or wrong; send the header Token, or Authorization: Bearer")


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request, of `most` bytes and within `BODY_SECONDS`.

    Raises:
        Refused: longer, slower, or the sender went away.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > most:
        raise Refused(413, f"body: expected at most {_size(most)}")
    contents = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                contents += part
                if len(contents) > most:
                    raise Refused(413, f"body: expected at most {_size(most)}")
    except TimeoutError as error:
        raise Refused(408, f"body: did not arrive within {BODY_SECONDS} seconds") from error
    except ClientDisconnect as error:
        raise Refused(400, "body: ended too early") from error
    return bytes(contents)


async def read_json(request: Request, most: int = JSON_BYTES) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Refused: as `read_body`, or something else: not finite numbers, a key twice, text that cannot be sent.
    """
    body = await read_body(request, most)
    if body.count(b"[") + body.count(b"{") > JSON_CONTAINERS or body.count(b",") > JSON_COMMAS:
        raise Refused(413, "body: too many values")
    try:
        text = body.decode("utf-8-sig")
        value = parse_json(text or "{}")
        if re.search(r"\\u[dD][89a-fA-F]", text):  # halves of characters: an answer cannot repeat one alone
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(400, "body: not JSON") from error
    if not isinstance(value, dict):
        raise Refused(400, "body: expected a JSON object")
    return value


def numbers(value: Any, count: int, what: str) -> list[float]:
    """A list of `count` finite numbers; raises Refused: something else."""
    fits = (
        isinstance(value, list) and len(value) == count and all(type(each) in (int, float) for each in value)
    )
    if not fits or not all(abs(each) < 1e9 and math.isfinite(each) for each in value):
        raise Refused(400, f"{what}: expected {count} numbers")
    return [float(each) for each in value]


def flag(value: Any, what: str) -> bool:
    """True or False, or 1 or 0; raises Refused: something else."""
    if type(value) not in (bool, int) or value not in (0, 1):
        raise Refused(400, f"{what}: expected 0 or 1")
    return bool(value)


def anylabeling_error(code: str, message: str) -> dict[str, Any]:
    """X-AnyLabeling's way to say that something failed."""
    return {"success": False, "error": {"code": code, "message": message}}


def _size(number: int) -> str:
    return f"{number} bytes" if number < 2**20 else f"{number / 2**20:.0f} MB"


def _name(host: str) -> str:
    """The name in a `Host` header; "" where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)


def _token(headers: Headers) -> str:
    """The token that was sent: alone, as bearer, or as the password of basic authentication."""
    if "token" in headers:
        return headers["token"]
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
