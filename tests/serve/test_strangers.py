"""Requests that nobody should be answered: each gets a 4xx, soon, and the server goes on."""

from __future__ import annotations

import json
import os
import socket
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from helpers.hostile import jpeg_of, png_of, tiff_of
from helpers.served import Client, Start, picture
from pisam.core.errors import PisamError
from pisam.onnx.engine import OnnxEngine
from pisam.serve import app, listen, requests, sessions
from pisam.serve.app import Settings
from pisam.serve.pictures import Limits, Refused, decode_image

UNKNOWN = (  # keys that a verb does not have
    ("click", {"x": 1, "y": 1, "label": 0}),
    ("click", {"x": 1, "y": 1, "": 0}),
    ("box", {"box": [1, 1, 9, 9], "labels": [0]}),
    ("points", {"points": [[1, 1, 1]], "box": [1, 1, 9, 9]}),
    ("undo", {"clicks": 2}),
)
Case = tuple[str, str, bytes]  # method, path, body
NUMBERS = (
    "NaN", "1e308", "1e999", "-Infinity", "true", "null", '"1"', "[]", "{}", "[[0]]", "-5", "91", "1e6",
    "0x1", "9" * 400,
)  # fmt: skip


def no_pictures() -> list[bytes]:
    """Uploads that are no picture, or too much of one."""
    rng, whole = np.random.default_rng(0), picture()[1]
    bodies = [rng.bytes(int(length)) for length in rng.integers(0, 2000, 60)]
    bodies += [whole[: int(cut)] for cut in rng.integers(0, len(whole) - 12, 40)]
    sides = ((25_000, 20_000), (2**31 - 1, 2**31 - 1), (0, 5), (2000, 600))
    bodies += [png_of(width, height, zlib.compress(b"\0" * 100)) for width, height in sides]
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
        *((verb, json.dumps(body).encode()) for verb, body in UNKNOWN),
        ("box", b'{"box": [1, 1, 9, 9], "box": [1, 1, 9, 9]}'),
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
    cases += [("POST", f"/api/samples/{each}", b"") for each in ("-1", "99", "1e3", "x", "9" * 5000)]
    cases += [("GET", f"{own}/download/{each}", b"") for each in ("exe", "../mask", "mask%00", "mask")]
    return cases + [(method, "/api/images", b"") for method in ("GET", "PUT", "DELETE", "TRACE", "PATCH")]


def test_each_gets_a_4xx_in_bounded_memory_and_the_server_goes_on(start: Start) -> None:
    client = start(Settings(limits=Limits(upload=200_000, pixels=1_000_000)))
    session = client.begin(picture()[1])
    cases = cases_of(session)
    before = resident()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda case: client.ask(*case), cases))
    wrong = [
        (case[0], case[1][:80], case[2][:60], status, answer)
        for case, (status, answer) in zip(cases, answers, strict=True)
        if not 400 <= status < 500 or (list(answer) != ["error"] and case[1][:4] != "/v1/")
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


def test_the_head_of_a_further_request_is_not_waited_for_either(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "HEAD_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(b"GET /page.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        connection.sendall(b"GET /page.js HT")
        rest = b""
        while part := connection.recv(4096):
            rest += part
    assert b"HTTP/1.1 408" in rest


def test_who_does_not_read_its_answer_is_not_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "TAKE_SECONDS", 0.3)
    client, large = start(Settings()), picture(0, 2500, 2000)[1]
    session = client.begin(large)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", client.port))
        connection.sendall(f"GET /api/sessions/{session}/image HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        with pytest.raises(ConnectionError):
            while True:  # goes on sending, without reading, until the server has closed
                connection.sendall(b"\r\n")
    assert client.ask("GET", f"/api/sessions/{session}/image")[0] == 200


def test_bodies_on_their_way_are_bounded_together_and_clicks_go_on(start: Start) -> None:
    client = start(Settings(limits=Limits(upload=200_000)))
    session = client.begin(picture()[1])
    client.ask("POST", f"/api/sessions/{session}/box", {"box": [10, 5, 60, 40]})
    head = b"POST /api/images HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"
    held = [socket.create_connection(("127.0.0.1", client.port), timeout=30) for _ in range(app.BODIES + 1)]
    for connection in held:
        connection.sendall(head + bytes(199_999))
    upload = ("POST", "/api/images", picture(1, 190, 190)[1])
    until(lambda: client.ask(*upload)[0] == 503)
    assert client.ask("POST", f"/api/sessions/{session}/click", {"x": 30, "y": 20})[0] == 200
    for connection in held:
        connection.close()
    until(lambda: client.ask(*upload)[0] == 201)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what becomes true soon."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (jpeg_of(200), "more than 100 scans"),
        (tiff_of(1, 6000), "36000000 pixels"),
        (tiff_of(5000), "several pages"),
    ],
    ids=["scans", "tile", "pages"],
)
def test_small_files_that_take_long_are_refused_at_once(contents: bytes, message: str) -> None:
    start = time.process_time()
    with pytest.raises(Refused, match=message):
        decode_image(contents, Limits())
    assert time.process_time() - start < 1


def test_json_of_many_values_is_refused_before_it_is_read(client: Client) -> None:
    for many in (b"[]," * 70_000, b"{}," * 70_000, b"1," * 2_200_000):
        assert client.ask("POST", "/predict", b'{"tasks": [' + many + b"1]}")[0] == 413
    assert client.ask("POST", "/setup", b'{"masks": [' + b"1," * 200_000 + b"1]}")[0] == 200


def test_clicks_on_one_object_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "CLICKS", 2)
    session = f"/api/sessions/{client.begin(picture()[1])}"
    client.ask("POST", f"{session}/box", {"box": [10, 5, 60, 40]})
    statuses = [client.ask("POST", f"{session}/click", {"x": 30, "y": 20 + y})[0] for y in range(3)]
    assert statuses == [200, 200, 400]
    assert client.ask("POST", f"{session}/undo", {})[1]["clicks"] == [[30, 20, 1]]


def test_whoever_is_told_the_address_can_ask_at_once(engine: OnnxEngine) -> None:
    def started(address: str) -> None:
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2].strip("/")))).close()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        listen.listen(engine, Settings(), "127.0.0.1", 0, started)


def test_the_address_that_is_told_holds_any_token(engine: OnnxEngine) -> None:
    told: list[str] = []

    def started(address: str) -> None:
        told.append(address)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        listen.listen(engine, Settings(token="a+b&c#d%20 e"), "127.0.0.1", 0, started)
    assert parse_qs(urlsplit(told[0]).query, strict_parsing=True) == {"token": ["a+b&c#d%20 e"]}


@pytest.mark.parametrize("host", ["\xfc" * 64, "no such name"])
def test_a_host_that_cannot_be_is_a_pisam_error(engine: OnnxEngine, host: str) -> None:
    with pytest.raises(PisamError, match="give another host="):
        listen.listen(engine, Settings(), host, 0, print)
