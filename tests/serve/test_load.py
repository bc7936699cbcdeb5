"""The server's own process with the trained model: twenty users at once, then a thousand hostile requests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from helpers.exported import pisam
from helpers.hostile import Hostile, exchange, hostile, refused
from helpers.served import Client, decoded, picture
from pisam.core.seeding import derive_seed
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.transforms import box_of
from pisam.onnx.engine import OnnxEngine
from pisam.predictor.interactive import InteractivePredictor

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TRAINED = ROOT / "experiments" / "results" / "real_small" / "pisam_vit_t.safetensors"
USERS = 20
SECONDS = float(
    os.environ.get("PISAM_LOAD_SECONDS", "5")
)  # of clicking; docs/serving.md has the whole minute
FEWEST = 2  # answers to each, however slow the machine
SEED = int(os.environ.get("PISAM_LOAD_SEED", "15"))
REQUESTS = 1000
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def weights(shared: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PISAM_WEIGHTS", str(shared / "weights"))
        yield


@pytest.fixture(scope="module")
def models(weights: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The trained model for torch, and as `pisam export` writes it."""
    folder = tmp_path_factory.mktemp("model") / "exported"
    assert pisam("export", TRAINED, f"out={folder}") == 0
    return {"torch": TRAINED, "onnx": folder}


@contextmanager
def serving(model: Path, *options: str) -> Iterator[Served]:
    """`pisam serve` in a process of its own, on a free port."""
    command = [sys.executable, "-m", "pisam.cli", "serve", str(model), "port=0", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            address = process.stdout.readline()
            assert address.startswith("http://127.0.0.1:"), process.stderr.read()
            said: list[str] = []
            listening = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
            listening.start()
            yield Served(process, Client(int(urlsplit(address.strip()).port or 0)), said)
        finally:
            process.terminate()
            process.wait(30)


@dataclass
class Served:
    """A server's process.

    Attributes:
        client: of it.
        said: lines of its standard error.
    """

    process: subprocess.Popen[str]
    client: Client
    said: list[str]

    def resident(self) -> int:
        """Bytes of memory of the process."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watched:
    """The highest memory of a server within a block."""

    def __init__(self, served: Served) -> None:
        self.served, self.peak = served, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, self.served.resident())


@dataclass
class User:
    """Somebody with a picture of their own, who clicks near its object.

    Attributes:
        asked: verbs and bodies, in their order.
        masks: what was answered, as data URIs.
        waited: seconds until each answer.
    """

    number: int
    image: Path
    truth: Path
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def use(self, client: Client, seconds: float) -> None:
        """Upload, drag a box, then click where the mask is, or is not; undo and redo now and then."""
        rng = np.random.default_rng(derive_seed(SEED, self.number))
        name = client.begin(self.image.read_bytes())
        x0, y0, x1, y1 = box = box_of(read_mask(self.truth)).tolist()
        height, width = read_mask(self.truth).shape
        answer = self._ask(client, name, "box", {"box": box})
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(self.asked) < FEWEST:
            choice = rng.random()
            if answer["redo"] and choice < 0.3:
                answer = self._ask(client, name, "redo", {})
            elif answer["undo"] and choice < 0.15:
                answer = self._ask(client, name, "undo", {})
            else:
                aside = 0.1 * max(x1 - x0, y1 - y0)
                x = float(np.clip(rng.uniform(x0 - aside, x1 + aside), 0, width - 1))
                y = float(np.clip(rng.uniform(y0 - aside, y1 + aside), 0, height - 1))
                there = bool(decoded(answer["mask"])[int(y), int(x)])
                answer = self._ask(client, name, "click", {"x": x, "y": y, "foreground": not there})
        assert client.ask("DELETE", f"/api/sessions/{name}")[0] == 204

    def _ask(self, client: Client, session: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        start = time.monotonic()
        status, answer = client.ask("POST", f"/api/sessions/{session}/{verb}", body)
        assert status == 200, (self.number, verb, status, answer)
        self.waited.append(time.monotonic() - start)
        self.asked.append((verb, body))
        self.masks.append(answer["mask"])
        return answer

    def check(self, predictor: InteractivePredictor) -> None:
        """Ask a predictor the same, alone: its masks are those that were answered."""
        predictor.set_image(read_image(self.image))
        for step, ((verb, body), mask) in enumerate(zip(self.asked, self.masks, strict=True)):
            match verb:
                case "box":
                    expected = predictor.set_box(body["box"])
                case "click":
                    expected = predictor.click(body["x"], body["y"], body["foreground"])
                case _:
                    expected = predictor.undo() if verb == "undo" else predictor.redo()
            assert np.array_equal(decoded(mask), expected), (self.number, step, verb)


def users(shared: Path) -> list[User]:
    """One per photograph, of all sets."""
    masks = sorted((shared / "data").glob("*/val/masks/*"))
    assert len(masks) >= USERS
    chosen = [masks[len(masks) * number // USERS] for number in range(USERS)]
    images = [next((path.parents[1] / "images").glob(f"{path.stem}.*")) for path in chosen]
    return [
        User(number, image, mask) for number, (image, mask) in enumerate(zip(images, chosen, strict=True))
    ]


def engine_of(kind: str, model: Path) -> Any:
    if kind == "onnx":
        return OnnxEngine(model)
    from pisam.modeling.checkpoint import load_model
    from pisam.predictor import PiSamPredictor

    return PiSamPredictor(load_model(model)).engine


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_twenty_users_click_at_once_and_each_sees_their_own_picture(
    shared: Path, models: dict[str, Path], kind: str
) -> None:
    everybody = users(shared)
    with serving(models[kind]) as served, Watched(served) as watched:
        User(-1, everybody[0].image, everybody[0].truth).use(served.client, 0)  # what is made once, is made
        before = served.resident()
        with ThreadPoolExecutor(USERS) as pool:
            list(pool.map(lambda user: user.use(served.client, SECONDS), everybody))
        after = served.resident()
        assert not served.said
    waited = np.concatenate([user.waited for user in everybody])
    print(
        f"\n{kind}, seed {SEED}: {len(waited)} answers to {USERS} users in {SECONDS:.0f} s; seconds waited: "
        f"median {np.median(waited):.2f}, 95 % {np.quantile(waited, 0.95):.2f}, most {waited.max():.2f}; MB: "
        f"{before // MEGABYTE} before, {watched.peak // MEGABYTE} at most, {after // MEGABYTE} after"
    )
    engine = engine_of(kind, models[kind])
    for user in everybody:
        user.check(InteractivePredictor(engine))


def test_a_thousand_hostile_requests_get_a_4xx_and_change_nothing(models: dict[str, Path]) -> None:
    box, click = {"box": [10, 5, 60, 40]}, {"x": 30, "y": 20, "foreground": False}
    with serving(models["onnx"], "label_studio=http://127.0.0.1:9") as served, Watched(served) as watched:
        client = served.client

        def use(session: str) -> list[Any]:
            answers = [
                client.ask("POST", f"{session}/box", box),
                client.ask("POST", f"{session}/click", click),
            ]
            return [
                *answers,
                client.ask("POST", f"{session}/undo", {}),
                client.ask("POST", f"{session}/redo", {}),
            ]

        ended, own = (client.begin(picture()[1]) for _ in range(2))
        client.ask("DELETE", f"/api/sessions/{ended}")
        expected = use(f"/api/sessions/{own}")
        assert [status for status, _ in expected] == [200] * 4
        before = served.resident()
        requests = hostile(SEED, REQUESTS, own, ended)
        slow = [each for each in requests if each.rest in ("silent", "drip")]
        quick = [each for each in requests if each not in slow]

        def send(each: Hostile) -> tuple[Hostile, bytes, float]:
            return each, *exchange(client.port, each)

        with ThreadPoolExecutor(len(slow)) as waiting, ThreadPoolExecutor(8) as pool:
            later = waiting.map(send, slow)  # they wait beside the others
            answers = [*pool.map(send, quick), *later]
        after = served.resident()
        wrong = [(each.what, answer[:80]) for each, answer, _ in answers if not refused(each, answer)]
        seconds = [taken for each, _, taken in answers if each not in slow]
        print(
            f"\nseed {SEED}: {len(requests)} hostile requests, {len(slow)} slow ones; seconds of the others: "
            f"median {np.median(seconds):.3f}, most {max(seconds):.2f}; MB: {before // MEGABYTE} before, "
            f"{watched.peak // MEGABYTE} at most, {after // MEGABYTE} after"
        )
        assert not wrong, f"{len(wrong)} of seed {SEED}, for example {wrong[:5]}"
        assert watched.peak - before < 800 * MEGABYTE
        assert "Traceback" not in "".join(served.said)
        # The session that they tried to change stands where it stood, and another one gets the same answers.
        redone = [client.ask("POST", f"/api/sessions/{own}/{verb}", {}) for verb in ("undo", "redo")]
        assert redone == expected[2:]
        assert use(f"/api/sessions/{client.begin(picture()[1])}") == expected
