"""What annotation tools say and read: Label Studio's ML backend, X-AnyLabeling's remote server."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle

from helpers.served import Client, Start, picture
from pisam.onnx.engine import OnnxEngine
from pisam.predictor.formats import keyholes, label_studio_rle
from pisam.predictor.interactive import InteractivePredictor
from pisam.serve.app import Settings

BOX = (9.0, 6.0, 63.0, 42.0)
CONFIG = """<View><Image name="img" value="$picture" zoom="true"/>
<{tag} name="tag" toName="img"><Label value="Leaf" background="#FF0000"/></{tag}>
<KeyPointLabels name="kp" toName="img" smart="true"><Label value="Leaf"/></KeyPointLabels></View>"""
WIDTH, HEIGHT = 90, 60


def region(kind: str, **value: float) -> dict:
    positive = value.pop("is_positive", None)
    return {
        "type": kind,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {**value, kind: ["Leaf"]},
        **({} if positive is None else {"is_positive": bool(positive)}),
    }


RECTANGLE = region("rectanglelabels", x=10, y=10, width=60, height=60)
POINTS = [
    region("keypointlabels", x=50, y=50, width=0.5, is_positive=1),
    region("keypointlabels", x=20, y=80, width=0.5, is_positive=0),
]


def uri(contents: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(contents).decode()}"


def task(location: str, context: list[dict], tag: str = "BrushLabels") -> dict:
    return {
        "tasks": [{"id": 1, "data": {"picture": location}}],
        "label_config": CONFIG.format(tag=tag),
        "params": {"context": {"result": context}},
    }


@pytest.fixture(scope="module")
def expected(engine: OnnxEngine) -> np.ndarray:
    """The mask of the box and the points."""
    predictor = InteractivePredictor(engine)
    predictor.set_image(picture()[0])
    predictor.set_box(BOX)
    predictor.click(45, 30, True)
    return predictor.click(18, 48, False)


def test_label_studio_reads_the_mask_of_its_rectangle_and_keypoints(
    client: Client, expected: np.ndarray
) -> None:
    assert client.ask("GET", "/health")[1]["status"] == "UP"
    status, answer = client.ask("POST", "/setup", {"project": "1", "schema": CONFIG, "extra_params": ""})
    assert status == 200 and answer["model_version"].startswith("pisam")
    status, answer = client.ask("POST", "/predict", task(uri(picture()[1]), [RECTANGLE, *POINTS]))
    assert status == 200
    (found,) = answer["results"][0]["result"]
    assert (found["type"], found["from_name"], found["to_name"]) == ("brushlabels", "tag", "img")
    assert (found["original_width"], found["original_height"]) == (WIDTH, HEIGHT)
    assert found["value"]["format"] == "rle" and found["value"]["brushlabels"] == ["Leaf"]
    pixels = decode_rle(found["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(pixels, np.repeat(expected[..., None] * np.uint8(255), 4, axis=2))


def test_label_studio_gets_polygons_where_its_labels_are_polygons(
    client: Client, expected: np.ndarray
) -> None:
    asked = task(uri(picture()[1]), [RECTANGLE, *POINTS], "PolygonLabels")
    _, answer = client.ask("POST", "/predict", asked)
    found = answer["results"][0]["result"]
    assert found and all(each["type"] == "polygonlabels" for each in found)
    points = np.array([point for each in found for point in each["value"]["points"]])
    assert points.min() >= 0 and points.max() <= 100
    ys, xs = np.nonzero(expected)
    np.testing.assert_allclose(points.max(axis=0), [xs.max() * 100 / WIDTH, ys.max() * 100 / HEIGHT], atol=3)


def test_nothing_drawn_means_nothing_found(client: Client) -> None:
    for context in ([], POINTS[1:]):
        _, answer = client.ask("POST", "/predict", task(uri(picture()[1]), context))
        assert answer["results"][0]["result"] == []


@pytest.mark.parametrize("seed", range(6))
def test_brush_is_decoded_by_label_studio_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = cv2.GaussianBlur(rng.random((37, 300), np.float32), (0, 0), 0.5 + seed) > 0.5
    mask = np.full((400, 500), bool(seed % 2)) if seed > 3 else mask  # runs longer than 2 to the 16
    decoded = decode_rle(label_studio_rle(mask)).reshape(*mask.shape, 4)
    np.testing.assert_array_equal(decoded, np.repeat(mask[..., None] * np.uint8(255), 4, axis=2))


def test_holes_hang_on_their_outline() -> None:
    mask = np.zeros((50, 60), bool)
    mask[5:45, 5:55] = True
    mask[15:25, 15:25] = mask[30:40, 30:45] = False
    (line,) = keyholes(mask)
    drawn = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(drawn, [np.array(line, np.int32)], 1)
    assert np.count_nonzero(drawn[16:24, 16:24]) <= 10  # but for the way there
    assert np.mean(drawn.astype(bool) == mask) > 0.97


BROKEN = {  # paths, and what comes from there
    "/garbage": b"\0\1 no HTTP\r\n\r\n",
    "/chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "/headers": b"HTTP/1.0 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "/line": b"HTTP/1.0 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
    "/short": b"HTTP/1.0 200 OK\r\nContent-Length: 99999\r\n\r\n" + picture()[1],
}


@pytest.fixture
def host() -> Iterator[tuple[str, list[str]]]:
    """A Label Studio that gives one picture to who has its token, and one that leads elsewhere."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(f"{self.path} {self.headers.get('Authorization')}")
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:1/secret")
                self.end_headers()
                return
            self.wfile.write(BROKEN.get(self.path, b"HTTP/1.0 200 OK\r\n\r\n" + picture()[1]))

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_pictures_are_fetched_from_the_named_host_alone(
    start: Start, client: Client, host: tuple[str, list[str]], expected: np.ndarray
) -> None:
    address, seen = host
    ours = start(Settings(label_studio=address, label_studio_key="key"))
    for location in ("/data/upload/1.png", f"{address}/data/upload/1.png"):
        status, answer = ours.ask("POST", "/predict", task(location, [RECTANGLE, *POINTS]))
        assert status == 200
        pixels = decode_rle(answer["results"][0]["result"][0]["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)
        np.testing.assert_array_equal(pixels[..., 0] > 0, expected)
    assert seen == ["/data/upload/1.png Token key"] * 2
    port = address.rpartition(":")[2]
    for location in (
        "http://127.0.0.1:1/x",
        f"http://127.0.0.1:{port}1/x",
        f"http://localhost:{port}/x",
        f"{address}@127.0.0.1:1/x",
        "//127.0.0.1:1/x",
        "file:///etc/passwd",
        "s3://bucket/x",
        "http://[::1",
        "/away",
        7,
    ):
        assert ours.ask("POST", "/predict", task(location, [RECTANGLE]))[0] == 400
    assert len(seen) == 3  # the redirection's own, which was not followed
    assert client.ask("POST", "/predict", task(f"{address}/x", [RECTANGLE]))[0] == 400
    assert len(seen) == 3


def test_names_of_files_are_encoded_and_broken_answers_are_told(
    start: Start, host: tuple[str, list[str]]
) -> None:
    address, seen = host
    ours = start(Settings(label_studio=address))
    for path, sent in (
        ("/a b/é.png?d=a b%20c", "/a%20b/%C3%A9.png?d=a%20b%20c"),
        ("/\0.png#x", "/%00.png"),
        (address.upper().replace("HTTP", "http"), "/"),
    ):
        assert ours.ask("POST", "/predict", task(path, [RECTANGLE]))[0] == 200
        assert seen.pop() == f"{sent} None"
    for path in BROKEN:
        status, answer = ours.ask("POST", "/predict", task(path, [RECTANGLE]))
        assert status == 400 and "does not give it (broken answer" in answer["error"], path


def test_entities_of_a_labelling_configuration_are_not_expanded(client: Client) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;">]><View>&c;</View>'
    for config in (bomb, "<View>", "x", None, 5, "<View/>"):
        asked = task(uri(picture()[1]), [RECTANGLE]) | {"label_config": config}
        assert client.ask("POST", "/predict", asked)[0] == 400


@pytest.mark.parametrize(
    "change",
    [
        {"is_positive": "0"},
        {"is_positive": 2},
        {"is_positive": None},
        {"image_rotation": 90},
        {"value": {"rotation": 30}},
        {"value": {"rotation": "30"}},
        {"value": {"keypointlabels": 5}},
        {"value": {"keypointlabels": {"a": 1}}},
        {"value": {"keypointlabels": ["\ud800"]}},
        {"value": {"x": float("nan")}},
    ],
    ids=str,
)
def test_regions_that_mean_nothing_are_refused(client: Client, change: dict) -> None:
    wrong = {**POINTS[0], **change, "value": {**POINTS[0]["value"], **change.get("value", {})}}
    status, answer = client.ask("POST", "/predict", task(uri(picture()[1]), [RECTANGLE, wrong]))
    assert status == 400 and "error" in answer


def test_a_label_beyond_the_first_plane_of_unicode_comes_back(client: Client) -> None:
    drawn = region("keypointlabels", x=50, y=50, is_positive=1)
    drawn["value"]["keypointlabels"] = ["\U0001f33f"]
    _, answer = client.ask("POST", "/predict", task(uri(picture()[1]), [RECTANGLE, drawn]))
    assert answer["results"][0]["result"][0]["value"]["brushlabels"] == ["\U0001f33f"]


MARKS = [
    {"type": "rectangle", "data": list(BOX)},
    {"type": "point", "data": [45, 30], "label": 1},
    {"type": "point", "data": [18, 48], "label": 0},
]


def test_x_anylabeling_reads_polygons_of_its_marks(client: Client, expected: np.ndarray) -> None:
    _, answer = client.ask("GET", "/v1/models")
    assert answer["success"] and list(answer["data"]) == ["pisam"]
    assert {"name", "value"} == set(answer["data"]["pisam"]["widgets"][0])
    assert client.ask("GET", "/v1/models/pisam/info")[1]["data"]["display_name"] == "Pi-SAM"
    asked = {"model": "pisam", "image": uri(picture()[1]), "params": {"marks": MARKS, "epsilon_factor": 0}}
    status, answer = client.ask("POST", "/v1/predict", asked)
    assert status == 200 and answer["success"]
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    for shape in answer["data"]["shapes"]:
        assert shape["shape_type"] == "polygon" and shape["points"][0] == shape["points"][-1]
        cv2.fillPoly(drawn, [np.array(shape["points"], np.int32)], 1)
    inside = cv2.erode(expected.astype(np.uint8), np.ones((3, 3)))
    assert drawn[inside > 0].mean() > 0.95
    bare = {**asked, "image": base64.b64encode(picture()[1]).decode()}
    assert client.ask("POST", "/v1/predict", bare)[1] == answer
    marks = {**asked, "params": {"marks": []}}
    assert client.ask("POST", "/v1/predict", marks)[1]["data"]["shapes"] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "sam"}, "MODEL_NOT_FOUND"),
        ({"image": "data:image/png;base64,AAAA"}, "INVALID_IMAGE"),
        ({"image": "@@@"}, "INVALID_IMAGE"),
        ({"image": None}, "INVALID_IMAGE"),
        ({"params": {"marks": [{"type": "rectangle", "data": [1]}]}}, "INFERENCE_ERROR"),
        ({"params": {"marks": [{"type": "polygon", "data": [9, 9]}]}}, "INFERENCE_ERROR"),
        ({"params": {"marks": [{"data": [9, 9]}]}}, "INFERENCE_ERROR"),
        ({"params": {"marks": 5}}, "INFERENCE_ERROR"),
        ({"params": {"marks": [MARKS[1] | {"label": "0"}]}}, "INFERENCE_ERROR"),
        ({"params": {"marks": MARKS, "epsilon_factor": 10**400}}, "INFERENCE_ERROR"),
        ({"params": {"marks": MARKS, "epsilon_factor": "1"}}, "INFERENCE_ERROR"),
    ],
)
def test_x_anylabeling_reads_what_went_wrong(client: Client, change: dict, code: str) -> None:
    asked = {"model": "pisam", "image": uri(picture()[1]), "params": {"marks": MARKS}} | change
    status, answer = client.ask("POST", "/v1/predict", asked)
    assert (status, answer["success"], answer["error"]["code"]) == (200, False, code)


def test_a_picture_that_comes_again_is_not_encoded_again(
    client: Client, engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = engine.encode
    monkeypatch.setattr(engine, "encode", lambda frame: (encoded.append(1), encode(frame))[1])
    asked = {"model": "pisam", "image": uri(picture(77)[1]), "params": {"marks": MARKS}}
    for _ in range(3):
        assert client.ask("POST", "/v1/predict", asked)[1]["success"]
    assert len(encoded) == 1
