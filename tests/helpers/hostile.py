"""Hostile requests to `pisam serve`, drawn from a seed, and what comes back, byte by byte."""

from __future__ import annotations

import base64
import io
import json
import random
import select
import socket
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image

from helpers.served import picture

HOST = "127.0.0.1"
NUMBERS = (
    "NaN", "Infinity", "-Infinity", "1e400", "-1e308", "true", "null", '"1"', "[]", "{}", "[[0]]", "-5",
    "1e7",
    "0x1", "9" * 400, "9" * 5000, '"\\ud800"', "1e", "'1'",
)  # fmt: skip
TRICKS = (
    "..", "../..", "%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "%00", "a%00b", "%ff%fe", "a" * 5000, "-1",
    "None",
    "%c0%ae%c0%ae", "....//", "..;", "~root", "%5c..%5c", "CON", "a%0d%0aX: 1", "*", "%",
)  # fmt: skip
PLACES = (
    "http://169.254.169.254/latest/meta-data/", "http://localhost:22/", "file:///etc/passwd", "gopher://x/",
    "//other.example/a.png", "http://127.0.0.1:9@other.example/a.png", "http://127.0.0.1:9.other.example/",
    "https://127.0.0.1:9/a.png", "ftp://127.0.0.1:9/a.png", "http://[::1]/", "http://[", "\\\\other\\a.png",
    "javascript:1", "data:image/png;base64,AAAA", "data:text/html,<p>", "http://127.0.0.1:99999/a.png",
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """One request.

    Attributes:
        what: kind, for messages.
        sent: bytes.
        rest: "" = the answer is waited for; "half" = the connection is shut for sending, "silent" = nothing
            more is sent, though more was announced; "drip" = bytes follow one by one.
        http: whether it is HTTP enough to be answered.
    """

    what: str
    sent: bytes
    rest: str = ""
    http: bool = True


def hostile(seed: int, count: int, own: str, ended: str) -> list[Hostile]:
    """Requests, of all kinds in turn.

    Args:
        seed: what it is drawn from.
        count: how many.
        own: id of a session with a mask, of a picture of 90 x 60 pixels, which they must not change.
        ended: id of a session that is no more.
    """
    rng = random.Random(seed)
    kinds: Sequence[Callable[[random.Random, str, str], Hostile]] = (
        _no_picture, _bomb, _wrong_json, _wrong_number, _wrong_id, _path, _head, _no_http, _method,
        _label_studio,
        _anylabeling,
    )  # fmt: skip
    slow = [_unfinished(rng, own) for _ in range(count // 50)]
    return slow + [kinds[index % len(kinds)](rng, own, ended) for index in range(count - len(slow))]


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as bytes, not checked in any way; an underscore in a header's name means a hyphen."""
    lines = {"Host": HOST, "Connection": "close", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def exchange(port: int, hostile: Hostile, patience: float = 60) -> tuple[bytes, float]:
    """What the server says until it closes the connection, and the seconds that took.

    Raises:
        TimeoutError: it does not close it.
    """
    start, answer, left = time.monotonic(), b"", memoryview(hostile.sent)
    with socket.create_connection((HOST, port), timeout=patience) as connection:
        connection.setblocking(False)
        while True:
            pace = 0.5 if hostile.rest == "drip" and not left else patience
            waiting, ready, _ = select.select([connection], [connection] if left else [], [], pace)
            try:
                if waiting:
                    part = connection.recv(2**16)
                    answer += part
                    if not part:
                        break
                if ready and not answer:  # what is answered early is not sent to its end
                    left = left[connection.send(left[: 2**18]) :]
                    if not left and hostile.rest == "half":
                        connection.shutdown(socket.SHUT_WR)
                if not waiting and not ready and hostile.rest == "drip":
                    connection.send(b"a")
            except (ConnectionResetError, BrokenPipeError):
                break
            if answer:
                left = left[:0]
            if time.monotonic() - start > patience:
                raise TimeoutError(hostile.what)
    return answer, time.monotonic() - start


def refused(hostile: Hostile, answer: bytes) -> bool:
    """Whether an answer is a 4xx, X-AnyLabeling's way to say so, or none where there was no request."""
    if b"POST /v1/" in hostile.sent[:10] and answer.startswith(b"HTTP/1.1 200"):
        return b'"success":false' in answer
    return answer.startswith(b"HTTP/1.1 4") or (not answer and not hostile.http)


def png_of(width: int, height: int, data: bytes) -> bytes:
    """A PNG whose header claims a size, whatever is behind it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff_of(pages: int, tile: int = 0) -> bytes:
    """A TIFF of 16 x 16 pixels: of some pages, or in one tile that is far larger."""
    tags = [(256, 16), (257, 16), (258, 8), (259, 8 if tile else 1), (262, 1), (277, 1)]
    pixels = zlib.compress(bytes(tile**2)) if tile else bytes(256)
    tags += (
        [(322, tile), (323, tile), (324, 0), (325, len(pixels))]
        if tile
        else [(273, 0), (278, 16), (279, 256)]
    )
    size = 2 + 12 * len(tags) + 4
    where = 8 + pages * size
    rows = [
        struct.pack("<HHII", tag, 4, 1, where if tag in (273, 324) else value) for tag, value in sorted(tags)
    ]
    page = struct.pack("<H", len(tags)) + b"".join(rows)
    following = [8 + size * (number + 1) if number < pages - 1 else 0 for number in range(pages)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(page + struct.pack("<I", n) for n in following) + pixels


def jpeg_of(scans: int) -> bytes:
    """A progressive JPEG of 16 megapixels, whose last scan comes again and again."""
    buffer = io.BytesIO()
    Image.new("L", (4000, 4000)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + data[-2:]


@cache
def _bombs() -> tuple[tuple[str, bytes], ...]:
    zeros = zlib.compress(bytes(2**24), 9)
    return (
        ("500 megapixels", png_of(25_000, 20_000, zlib.compress(b"\0" * 100))),
        ("a bomb of PNG", png_of(25_000, 20_000, zeros * 8)),
        ("a small picture with much behind it", png_of(10, 10, zeros)[:-9]),
        ("sides of 2**31", png_of(2**31 - 1, 2**31 - 1, b"")),
        ("no width", png_of(0, 5, b"")),
        ("a large tile", tiff_of(1, 6000)),
        ("pages", tiff_of(5000)),
        ("scans", jpeg_of(2000)),
        ("32 megabytes and one", bytes(32 * 2**20 + 1)),
    )


def _upload(rng: random.Random, own: str, body: bytes) -> tuple[str, bytes]:
    path = rng.choice(("/api/images", f"/api/sessions/{own}/mask", f"/api/sessions/{own}/truth"))
    return path, request(
        "POST", path, body, Content_Type=rng.choice(("image/png", "x", "a/b; q=" + "c" * 500))
    )


def _no_picture(rng: random.Random, own: str, _: str) -> Hostile:
    whole = picture()[1]
    flipped = bytearray(whole)
    flipped[rng.randrange(8, len(whole) - 12)] ^= 1 << rng.randrange(8)
    body = rng.choice(
        (
            rng.randbytes(rng.randrange(3000)),
            whole[: rng.randrange(len(whole) - 12)],
            bytes(flipped),
            rng.choice(
                (b"GIF89a", b"%PDF-1.4", b"%!PS", b"<svg/>", b"BM", b"RIFF", b"II*\0", b"\xff\xd8\xff")
            )
            + rng.randbytes(200),
        )
    )
    path, sent = _upload(rng, own, body)
    return Hostile(f"no picture: {path} {body[:20]!r} of {len(body)}", sent)


def _bomb(rng: random.Random, own: str, _: str) -> Hostile:
    what, body = rng.choice(_bombs())
    path, sent = _upload(rng, own, body)
    return Hostile(f"bomb: {what} to {path}", sent)


def _wrong_json(rng: random.Random, own: str, _: str) -> Hostile:
    verb = rng.choice(("box", "click", "points"))
    depth = rng.choice((10, 1000, 30_000))
    bodies = (
        b"{", b"[]", b"null", b"[" * depth, b'{"a":' * depth, b"\xff\xfe", b"{}" * 40_000,
        b'{"box": ' + b"[" * depth,
        json.dumps({"points": [[1, 1, 1]] * 1000}).encode(), b'{"box": [5, 5, 5, 5]}', b" " * 70_000, b"\0",
        b'{"a": "' + b"x" * 3_000_000 + b'"}', '{"box": 1}'.encode("utf-16"), b'{"points": [[1, 1, 0.5]]}',
    )  # fmt: skip
    body = rng.choice(bodies)
    return Hostile(f"JSON: {verb} {body[:30]!r}", request("POST", f"/api/sessions/{own}/{verb}", body))


def _wrong_number(rng: random.Random, own: str, _: str) -> Hostile:
    number = rng.choice(NUMBERS)
    verb, text = rng.choice(
        (
            ("box", f'{{"box": [{number}, 0, 9, 9]}}'),
            ("box", f'{{"box": [0, 0, 9, {number}]}}'),
            ("box", f'{{"box": {number}}}'),
            ("click", f'{{"x": {number}, "y": 1}}'),
            ("click", f'{{"x": 1, "y": {number}, "foreground": true}}'),
            ("click", f'{{"x": 1, "y": 1, "foreground": {"1" if number == "true" else number}}}'),
            ("points", f'{{"points": [[{number}, 1, 1]]}}'),
            ("points", f'{{"points": {number}}}'),
        )
    )
    return Hostile(
        f"number: {verb} {text[:60]}", request("POST", f"/api/sessions/{own}/{verb}", text.encode())
    )


def _wrong_id(rng: random.Random, own: str, ended: str) -> Hostile:
    place = rng.randrange(len(own))
    other = own[:place] + ("a" if own[place] != "a" else "b") + own[place + 1 :]
    name = rng.choice((other, ended, own + "x", own[:-1], own.swapcase() + "_", "", *TRICKS))
    method, verb = rng.choice(
        (("POST", "undo"), ("POST", "click"), ("GET", "image"), ("GET", "download/mask"))
    )
    body = b'{"x": 1, "y": 1}' if verb == "click" else b""
    return Hostile(f"id: {verb} {name[:60]}", request(method, f"/api/sessions/{name}/{verb}", body))


def _path(rng: random.Random, own: str, _: str) -> Hostile:
    trick = rng.choice(TRICKS)
    path = rng.choice(
        (
            f"/{trick}/etc/passwd", f"/page.js/{trick}/setup.cfg", f"/static/{trick}",
            f"/api/samples/{trick}",
            f"/api/sessions/{own}/download/{trick}", f"/api/sessions/{own}/{trick}/image", "/.git/config",
            f"/v1/models/{trick}/x", "/page.html", f"/api/images/{trick}.png", "//etc/passwd", "/page.py",
        )
    )  # fmt: skip
    return Hostile(f"path: {path[:60]}", request("GET", path.replace(" ", "+")))


def _head(rng: random.Random, own: str, _: str) -> Hostile:
    path = f"/api/sessions/{own}/undo"
    name, value = rng.choice(
        (
            ("Host", "attacker.example"), ("Host", ""), ("Host", "127.0.0.1.attacker.example"), ("Host",
            "[::"),
            ("Host", "127.0.0.1@attacker.example"), ("Origin", "https://attacker.example"), ("Origin",
            "null"),
            ("Origin", "http://127.0.0.1.attacker.example"), ("Content-Length", "-1"), ("Content-Length",
            "1e9"),
            ("Content-Length", "9" * 30), ("Content-Length", "1, 2"), ("Transfer-Encoding", "gzip"), ("X",
            "a" * 200_000),
            ("X", "a\0b"), ("Transfer-Encoding", "chunked\r\nTransfer-Encoding: chunked"), ("Expect",
            "nonsense\r\nHost: b"),
            ("a b", "c"), ("", "c"), ("Host", "a\r\nHost: b"),
        )
    )  # fmt: skip
    sent = request("POST", path, b"{}").replace(
        b"Host: 127.0.0.1\r\n", b"" if name == "Host" else b"Host: 127.0.0.1\r\n"
    )
    if name == "Content-Length":
        sent = sent.replace(b"Content-Length: 2\r\n", b"")
    sent = sent.replace(b"\r\n", f"\r\n{name}: {value}\r\n".encode(), 1)
    return Hostile(f"head: {name[:30]}: {value[:40]!r}", sent)


def _no_http(rng: random.Random, _: str, __: str) -> Hostile:
    sent = rng.choice(
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"SSH-2.0-x\r\n\r\n",
            rng.randbytes(500) + b"\r\n\r\n",
            b"\r\n" * 40_000, b"GET " + b"/" * 300_000,
            b"POST /api/images HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
            b"GET /x HTTP/1.1\nHost: 127.0.0.1\nConnection: close\n\n", b"{}\r\n\r\n", b"\0" * 70_000,
        )
    )  # fmt: skip
    return Hostile(f"no HTTP: {sent[:30]!r}", sent, "half", http=False)


def _method(rng: random.Random, own: str, _: str) -> Hostile:
    method = rng.choice(("PUT", "PATCH", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "GETS", "a", "DELETE"))
    paths = (
        "/api/images",
        "/api/samples",
        "/predict",
        "/v1/predict",
        f"/api/sessions/{own}/box",
        "/",
        "/health",
    )
    return Hostile("method: " + method, request(method, rng.choice(paths), b"{}"))


def _label_studio(rng: random.Random, _: str, __: str) -> Hostile:
    config = '<View><Image name="i" value="$p"/><BrushLabels name="t" toName="i"/></View>'
    laughs = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]>' + config
    uri = f"data:image/png;base64,{base64.b64encode(picture()[1]).decode()}"
    box = {
        "type": "rectanglelabels",
        "value": {"x": 1, "y": 1, "width": 50, "height": 50, "rectanglelabels": ["a"]},
    }
    asked = {
        "tasks": [{"data": {"p": uri}}],
        "label_config": config,
        "params": {"context": {"result": [box]}},
    }
    value = box["value"]
    assert isinstance(value, dict)
    number = rng.choice(("1", None, [], {}, True, float("nan"), 1e300, -float("inf"), 10**400))
    change = rng.choice(
        (
            {
                "tasks": rng.choice(
                    ([], {}, None, "x", 5, [asked["tasks"][0]] * 17, [0], [None], [{"data": []}])
                )
            },
            {"tasks": [{"data": {"p": rng.choice((*PLACES, *TRICKS, 5, None, [], {"a": 1}))}}]},
            {"tasks": [{"data": {"p": rng.choice(PLACES)}}]},
            {
                "label_config": rng.choice(
                    (laughs, "", "<View>", "<a>" * 60_000, 5, None, [], "x" * 10**6, "<View/>")
                )
            },
            {"params": {"context": {"result": [{**box, "value": {**value, "x": number}}]}}},
            {"params": {"context": {"result": [box] * 1000}}},
            {"params": {"context": {"result": rng.choice(("x", {"a": 1}, 5, True))}}},
        )
    )
    body = json.dumps(asked | change).encode()
    if rng.random() < 0.1:
        body = rng.choice(
            (b"[" * 500_000, b'{"tasks": [' + b"{}," * 500_000 + b"{}]}", body[:-5], b"{" + body)
        )
    return Hostile(f"Label Studio: {str(change)[:80]}", request("POST", "/predict", body))


def _anylabeling(rng: random.Random, _: str, __: str) -> Hostile:
    asked = {"model": "pisam", "image": base64.b64encode(picture()[1]).decode(), "params": {}}
    number = rng.choice((None, "1", [], {}, True, float("nan"), 1e300, -float("inf")))
    marks = rng.choice(
        (
            "x", 5, {"a": 1}, [{"type": "rectangle", "data": [1, 1, number, 9]}], [{"type": "point",
            "data": [number, 1]}],
            [{"type": "point", "data": 5}], [0], [None], [{"type": "rectangle", "data": [1, 1, 9, 9]}] * 1000,
            [{"type": "rectangle", "data": [5, 5, 5, 5]}], [{"type": "point", "data": [10**6, 1],
            "label": 1}],
        )
    )  # fmt: skip
    change = rng.choice(
        (
            {"model": rng.choice(("", "x", None, 5, [], {"a": 1}, "../pisam", "pisam\0"))},
            {
                "image": rng.choice(
                    (None, 5, "", "!", "data:", "data:image/png;base64,!!", *PLACES, "A" * 40_000_000)
                )
            },
            {"image": base64.b64encode(rng.choice(_bombs())[1]).decode()},
            {"params": {"marks": marks}},
            {"params": {"marks": [], "epsilon_factor": rng.choice(("x", [1], True, {"a": 1}))}},
        )
    )
    return Hostile(
        f"X-AnyLabeling: {str(change)[:80]}",
        request("POST", "/v1/predict", json.dumps(asked | change).encode()),
    )


def _unfinished(rng: random.Random, own: str) -> Hostile:
    """A request that does not come to its end."""
    path = rng.choice(("/api/images", f"/api/sessions/{own}/box", "/predict"))
    whole = request("POST", path, b"", Content_Length="60000" if "sessions" in path else "20000000")
    head = whole[: rng.randrange(len(whole) - 4)]
    body = whole + rng.randbytes(rng.randrange(1, 5000))
    chunk = (
        request("POST", path, b"", Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"")
        + b"5\r\nabc"
    )
    sent = rng.choice((head, body, chunk))
    rest = rng.choice(("half", "silent", "drip"))
    return Hostile(f"unfinished: {rest} after {sent[-20:]!r}", sent, rest, http=rest != "half")
