"""The server's own API: sessions beside the predictor, many users, bounds, who may ask."""

from __future__ import annotations

import base64
import io
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from helpers.served import Client, Start, decoded, picture, png
from pisam.data.generated.sets import NAMES, sample
from pisam.onnx.engine import OnnxEngine
from pisam.predictor.interactive import InteractivePredictor
from pisam.serve.app import Settings
from pisam.serve.pictures import Limits
from pisam.serve.sessions import Store

BOX = [10, 5, 60, 40]


def test_a_session_answers_as_the_predictor_does(client: Client, engine: OnnxEngine) -> None:
    pixels, contents = picture()
    session = f"/api/sessions/{client.begin(contents)}"
    predictor = InteractivePredictor(engine)
    predictor.set_image(pixels)
    points = {"points": [[30, 20, 1], [5, 5, 0]]}
    steps = [
        ("box", {"box": BOX}, lambda: predictor.set_box(BOX)),
        ("click", {"x": 30.5, "y": 20.5, "foreground": True}, lambda: predictor.click(30.5, 20.5)),
        ("click", {"x": 5, "y": 50, "foreground": False}, lambda: predictor.click(5, 50, False)),
        ("undo", {}, predictor.undo),
        ("redo", {}, predictor.redo),
        ("points", points, lambda: predictor.set_points([(30, 20), (5, 5)], [1, 0])),
    ]
    for verb, body, act in steps:
        status, answer = client.ask("POST", f"{session}/{verb}", body)
        assert status == 200
        np.testing.assert_array_equal(decoded(answer["mask"]), act())
        assert answer["clicks"] == [list(click) for click in predictor.clicks]
    mask = predictor.mask
    _, contents = client.ask("GET", f"{session}/download/mask")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(contents))), mask * np.uint8(255))
    _, coco = client.ask("GET", f"{session}/download/coco")
    np.testing.assert_array_equal(coco_masks.decode(coco["annotations"][0]["segmentation"]), mask)
    _, contents = client.ask("GET", f"{session}/download/rgba")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(contents)))[..., :3], pixels)
    assert client.ask("GET", f"{session}/download/soft")[0] == 200
    assert client.ask("GET", f"{session}/download/polygons")[1]["width"] == 90
    assert client.ask("DELETE", session)[0] == 204
    assert client.ask("POST", f"{session}/undo", {})[0] == 404


def test_a_given_mask_is_repaired_and_compared_with_the_truth(client: Client) -> None:
    session = f"/api/sessions/{client.begin(picture()[1])}"
    truth = np.zeros((60, 90), np.uint8)
    truth[10:40, 20:70] = 255
    given = truth.copy()
    given[10:20, 20:40] = 0
    assert client.ask("POST", f"{session}/truth", png(truth))[1]["iou"] is None
    _, answer = client.ask("POST", f"{session}/mask", png(given))
    np.testing.assert_array_equal(decoded(answer["mask"]), given > 0)
    assert answer["iou"] == pytest.approx(1300 / 1500)
    _, answer = client.ask("POST", f"{session}/click", {"x": 30, "y": 15})
    assert decoded(answer["mask"])[15, 30]
    status, answer = client.ask("POST", f"{session}/mask", png(truth[1:]))
    assert (status, answer["error"]) == (400, "mask: expected 90x60 pixels, as the picture has")
    for verb in ("mask", "truth"):
        status, answer = client.ask("POST", f"{session}/{verb}", png((truth // 255).astype(np.uint16) * 300))
        assert status == 400 and answer["error"].startswith("image: values reach 1 of 255")


def test_samples_come_with_their_true_masks(client: Client) -> None:
    assert client.ask("GET", "/api/samples")[1] == {"samples": list(NAMES)}
    status, begun = client.ask("POST", "/api/samples/1")
    pixels, mask = sample(1)
    assert status == 201 and (begun["height"], begun["width"]) == mask.shape
    np.testing.assert_array_equal(decoded(begun["truth"]), mask)
    session = f"/api/sessions/{begun['session']}"
    _, shown = client.ask("GET", f"{session}/image")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown))), pixels)
    _, answer = client.ask("POST", f"{session}/box", {"box": [0, 0, *mask.shape[::-1]]})
    found = decoded(answer["mask"])
    assert answer["iou"] == pytest.approx((found & mask).sum() / (found | mask).sum())


def test_twenty_users_at_once_each_see_their_own_picture(client: Client, engine: OnnxEngine) -> None:
    def use(seed: int) -> None:
        pixels, contents = picture(seed, 60 + seed, 50)
        predictor = InteractivePredictor(engine)
        predictor.set_image(pixels)
        session = f"/api/sessions/{client.begin(contents)}"
        expected = predictor.set_box([5, 5, 50, 45])
        _, answer = client.ask("POST", f"{session}/box", {"box": [5, 5, 50, 45]})
        np.testing.assert_array_equal(decoded(answer["mask"]), expected)
        for x in (10, 20, 30):
            expected = predictor.click(x, 25, x != 20)
            _, answer = client.ask("POST", f"{session}/click", {"x": x, "y": 25, "foreground": x != 20})
            np.testing.assert_array_equal(decoded(answer["mask"]), expected)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(use, range(20)))


def test_requests_of_one_session_wait_for_each_other(client: Client) -> None:
    session = f"/api/sessions/{client.begin(picture()[1])}"
    client.ask("POST", f"{session}/box", {"box": BOX})
    barrier = threading.Barrier(8)

    def click(index: int) -> int:
        barrier.wait()
        return client.ask("POST", f"{session}/click", {"x": 10 + index, "y": 20})[0]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(click, range(8))) == {200}
    _, answer = client.ask("POST", f"{session}/undo", {})
    assert len(answer["clicks"]) == 7 and answer["undo"] == 7


def test_sessions_are_bounded_and_forgotten(start: Start) -> None:
    client = start(Settings(sessions=3))
    sessions = [client.begin(picture(seed)[1]) for seed in range(5)]
    found = [client.ask("POST", f"/api/sessions/{each}/box", {"box": BOX})[0] for each in sessions]
    assert found == [404, 404, 200, 200, 200]
    client = start(Settings(seconds=0.0))
    assert client.ask("POST", f"/api/sessions/{client.begin(picture()[1])}/box", {"box": BOX})[0] == 404


def test_memory_bounds_sessions(start: Start) -> None:
    client = start(Settings(memory=600_000))  # a picture counts some 200 kB, an answer some 300 kB
    first, second = (client.begin(picture(seed)[1]) for seed in range(2))
    assert client.ask("POST", f"/api/sessions/{second}/box", {"box": BOX})[0] == 200
    client.begin(picture(2)[1])
    assert client.ask("POST", f"/api/sessions/{first}/box", {"box": BOX})[0] == 404


def test_old_answers_make_room_before_sessions_do(start: Start) -> None:
    client = start(Settings(memory=2_500_000))  # an answer counts some 300 kB
    sessions = [f"/api/sessions/{client.begin(picture(seed)[1])}" for seed in range(2)]
    for session in sessions:
        client.ask("POST", f"{session}/box", {"box": BOX})
    for x in range(8):
        answers = [client.ask("POST", f"{each}/click", {"x": 10 + x, "y": 20}) for each in sessions]
        assert [status for status, _ in answers] == [200, 200]
    for _, answer in answers:
        assert len(answer["clicks"]) == 8 and 1 <= answer["undo"] <= 5


def test_what_is_as_large_as_a_picture_is_not_kept(engine: OnnxEngine) -> None:
    store = Store(engine, Limits())
    image = store.encode(picture()[1])
    predictor = image.predictor.another()
    mask = predictor.set_box(BOX)
    predictor.forget_pixels()
    np.testing.assert_array_equal(predictor.mask, mask)
    with pytest.raises(ValueError, match="pixels of a loaded image are not kept"):
        predictor.detailed()


def test_a_token_is_asked_of_everybody_but_for_the_page(start: Start) -> None:
    client = start(Settings(token="secret"))
    assert client.ask("GET", "/")[0] == client.ask("GET", "/health")[0] == 200
    assert client.ask("GET", "/api/samples")[0] == 401
    basic = base64.b64encode(b"user:secret").decode()
    for headers in (
        {"Token": "secret"},
        {"Authorization": "Bearer secret"},
        {"Authorization": f"Basic {basic}"},
    ):
        assert client.ask("GET", "/api/samples", headers=headers)[0] == 200
    for headers in ({"Token": "secre"}, {"Authorization": "Basic !"}, {"Token": "secret2"}):
        assert client.ask("GET", "/api/samples", headers=headers)[0] == 401
    _, answer = client.ask("GET", "/v1/models")
    assert answer["success"] is False and answer["error"]["code"] == "UNAUTHORIZED"


def test_pages_of_other_sites_are_not_answered_unless_asked_for(start: Start, client: Client) -> None:
    foreign = {"Origin": "https://tools.example"}
    assert client.ask("GET", "/api/samples", headers=foreign)[0] == 403
    assert client.ask("GET", "/api/samples", headers={"Host": "attacker.example"})[0] == 403
    assert client.ask("GET", "/api/samples", headers={"Host": "[::"})[0] in (400, 403)
    own = {"Origin": f"http://127.0.0.1:{client.port}"}
    assert client.ask("GET", "/api/samples", headers=own)[0] == 200
    other = start(Settings(cors="https://tools.example"))
    assert other.ask("GET", "/api/samples", headers=foreign)[0] == 200
    assert other.ask("GET", "/api/samples", headers={"Origin": "https://else.example"})[0] == 403


def test_a_temporary_folder_that_takes_no_file_is_told(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uploads = [("/api/images", png(picture(6)[0]))]
    session = client.begin(picture()[1])
    uploads += [(f"/api/sessions/{session}/{verb}", picture()[1]) for verb in ("mask", "truth")]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    for path, contents in uploads:
        status, answer = client.ask("POST", path, contents)
        assert status == 507 and "temporary folder" in answer["error"]
