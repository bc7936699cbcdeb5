"""Requests that nobody should be answered: each gets a 4xx, soon, and the server goes on."""

from __future__ import annotations

import json
import os
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from helpers.served import Client, Start, picture
from pisam.serve import listen, requests
from pisam.serve.app import Settings
from pisam.serve.pictures import Limits

Case = tuple[str, str, bytes]  # method, path, body
NUMBERS = (
    "NaN", "1e308", "1e999", "-Infinity", "true", "null", '"1"', "[]", "{}", "[[0]]", "-5", "91", "1e6",
    "0x1", "9" * 400,
)  # fmt: skip


def header_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with little behind it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def no_pictures() -> list[bytes]:
    """Uploads that are no picture, or too much of one."""
    rng, whole = np.random.default_rng(0), picture()[1]
    bodies = [rng.bytes(int(length)) for length in rng.integers(0, 2000, 60)]
    bodies += [whole[: int(cut)] for cut in rng.integers(0, len(whole) - 12, 40)]
    sides = ((25_000, 20_000), (2**31 - 1, 2**31 - 1), (0, 5), (2000, 600))
    bodies += [header_png(width, height) for width, height in sides]
    return [
        *bodies,
        b"GIF89a" + b"\0" * 100,
        b"%PDF-1.4",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0" * 300_000,
    ]


def nonsense() -> list[tuple[str, bytes]]:
    """Verbs of a session with bodies that they do not take."""
    bodies = [b"{", b"[]", b"null", b"1e999", b"[" * 50_000, b'{"a":' * 10_000, b"\xff\xfe", b"{}" * 40_000]
    cases = [(verb, body) for verb in ("box", "click", "points") for body in bodies]
    for number in NUMBERS:
        cases.append(("box", f'{{"box": [{number}, 0, 9, 9]}}'.encode()))
        cases.append(("box", f'{{"box": {number}}}'.encode()))
        cases.append(("click", f'{{"x": {number}, "y": 1}}'.encode()))
        cases.append(("click", f'{{"x": 1, "y": {number}, "foreground": 2}}'.encode()))
        cases.append(("points", f'{{"points": [[{number}, 1, 1]]}}'.encode()))
        cases.append(("points", f'{{"points": {number}}}'.encode()))
    many = json.dumps({"points": [[1, 1, 1]] * 1000}).encode()
    return [
        *cases,
        ("box", b'{"box": [5, 5, 5, 5]}'),
        ("points", many),
        ("points", b'{"points": [[1, 1, 0.5]]}'),
    ]


def cases_of(session: str) -> list[Case]:
    own = f"/api/sessions/{session}"
    cases = [("POST", "/api/images", body) for body in no_pictures()]
    cases += [("POST", f"{own}/{verb}", body) for verb in ("mask", "truth") for body in no_pictures()[::4]]
    cases += [("POST", f"{own}/{verb}", body) for verb, body in nonsense()]
    cases += [("POST", "/predict", body) for _, body in nonsense()[:30]]
    ids = ("x", "..", "%2e%2e", "a" * 5000, "%00", "..%2f..%2fetc%2fpasswd", "-1", "None", "%ff")
    cases += [("POST", f"/api/sessions/{each}/{verb}", b"{}") for each in ids for verb in ("undo", "click")]
    cases += [("GET", f"/api/sessions/{each}/download/mask", b"") for each in ids]
    paths = (
        "/../etc/passwd", "/page.js/../../setup.cfg", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page.py",
        "/static/../app.py", "/api", "/v1/predict/x", "/.git/config", "/page.html", "/api/samples/../../x",
    )  # fmt: skip
    cases += [("GET", path, b"") for path in paths]
    cases += [("POST", f"/api/samples/{each}", b"") for each in ("-1", "99", "1e3", "x", "9" * 400)]
    cases += [("GET", f"{own}/download/{each}", b"") for each in ("exe", "../mask", "mask%00", "mask")]
    return cases + [(method, "/api/images", b"") for method in ("GET", "PUT", "DELETE", "TRACE", "PATCH")]


def test_each_gets_a_4xx_in_bounded_memory_and_the_server_goes_on(start: Start) -> None:
    client = start(Settings(limits=Limits(upload=200_000, pixels=1_000_000)))
    session = client.begin(picture()[1])
    cases = cases_of(session)
    before = resident()
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda case: client.ask(*case)[0], cases))
    wrong = [
        (case[0], case[1][:80], case[2][:60], status)
        for case, status in zip(cases, statuses, strict=True)
        if not 400 <= status < 500
    ]
    assert not wrong
    assert len(cases) > 300 and resident() - before < 300 * 2**20
    assert client.ask("POST", f"/api/sessions/{session}/box", {"box": [10, 5, 60, 40]})[0] == 200


def resident() -> int:
    """Bytes of memory of this process, in which the server runs."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


HEAD = b"POST /api/images HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "beginning",
    [b"", b"POST /api/im", HEAD, HEAD + b"Content-Length: 1000\r\n\r\nslow"],
    ids=["nothing", "half a line", "half a head", "half a body"],
)
def test_who_is_slow_is_not_waited_for(
    client: Client, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(listen, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(beginning)
        answer = b""
        while part := connection.recv(4096):  # until the server closes
            answer += part
    assert answer.startswith(b"HTTP/1.1 408")
