"""The models that a command line names: our own, masks in a folder, a class of the user's, other SAMs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.files import local_path, sha256_of, sha256_of_files
from pisam.core.types import UInt8Array
from pisam.data.reading.reader import read_given
from pisam.data.transforms import squash
from pisam.evaluation.benchmark.entrant import (
    Answer,
    Box,
    Clicks,
    FixedAnswer,
    WrongAnswer,
    facts_of,
    file_stem,
    name_of,
)
from pisam.evaluation.benchmark.other_sams import OnnxSam, TransformersSam
from pisam.evaluation.models import NAMES, compared_models, interacting_models, model_facts
from pisam.onnx.engine import META, OnnxEngine
from pisam.predictor.engine import Engine, Prompt
from pisam.predictor.session import SeenImage


class Encodings:
    """Cache of each image encoder's answer to the last image, so that models with one SAM encode it once."""

    def __init__(self) -> None:
        self.image: UInt8Array | None = None
        self.seen: dict[str, SeenImage] = {}

    def of(self, engine: Engine, encoder: str, image: UInt8Array) -> SeenImage:
        """Encode the image, unless that was done."""
        if self.image is None or not np.array_equal(image, self.image):
            self.image, self.seen = image, {}
        if encoder not in self.seen:
            frame, (height, width) = squash(image, engine.side), image.shape[:2]
            self.seen[encoder] = SeenImage(frame, engine.encode(frame), (height, width))
        return self.seen[encoder]


class EngineEntrant:
    """`sam`, `sam+mask`, `hq`, `hq+mask`, `pi`, or `onnx:DIR` of an export: answers at the image's own size.

    Without a box the first click alone prompts the decoder, as SAM's point; the others are clicks on its
    answer. Clicks are not guaranteed to be obeyed.
    """

    def __init__(
        self, engine: Engine, name: str, facts: dict[str, Any], encodings: Encodings | None = None
    ) -> None:
        self.engine, self.name, self.facts = engine, name, facts
        self.encodings, self.encoder = encodings or Encodings(), engine.identity()

    def encode(self, image: UInt8Array) -> None:
        """Through the image encoder, once for all models that share it."""
        self.seen = self.encodings.of(self.engine, self.encoder, image)

    def answer(self, prompt: Box | None, clicks: Clicks, previous: Answer | None) -> Answer:
        """The first answer, then what the clicks made of it."""
        placed = self.seen.in_frame([(x, y, int(label)) for x, y, label in clicks.tolist()])
        kept = 0 if prompt is not None else 1
        box = None if prompt is None else (np.reshape(prompt, (2, 2)) * self.seen.scale).ravel()
        asked = Prompt(box if box is None else box.astype(np.float32), tuple(placed[:kept]))
        state = previous.memory if previous else self.engine.first(self.seen.encoded, [asked])[0]
        if placed[kept:]:
            state = self.engine.after(state, placed[kept:])
        return FixedAnswer(self.engine.logits(state, self.seen.size), state)


class MaskFolder:
    """`masks:DIR`: `DIR/SET/IMAGE/K.png` is the mask after K clicks (01.png as well), 0.png that of the box.

    Each is read as any mask is, 0/1 or 0/255, and may be empty. The program must click by the same rule; then
    its clicks are the recorded ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.facts = {"kind": "folder of masks", "sha256": sha256_of_files(folder, "*/*/*.png")}
        self.answers_controls = False  # it holds no answers to other clicks
        self.files: dict[int, Path] = {}

    def begin(self, set_name: str, image: str) -> None:
        """Find the masks of an image; raises WrongAnswer: two of them are of one number."""
        here = self.folder / set_name / image
        self.files = {}
        for file in sorted(here.glob("*.png")):
            if file.stem.isdecimal() and (first := self.files.setdefault(int(file.stem), file)) != file:
                raise WrongAnswer(f"has two masks of one number, {first.name} and {file.name}")

    def encode(self, image: UInt8Array) -> None:
        """Nothing to look at."""

    def answer(self, prompt: Box | None, clicks: Clicks, previous: object) -> np.ndarray:
        """The mask after so many clicks; raises WrongAnswer: there is none, or none that can be read."""
        file = self.files.get(len(clicks))
        if file is None:
            raise WrongAnswer(f"has no mask {len(clicks)}.png")
        try:
            return np.where(read_given(file), np.float32(1), np.float32(-1))
        except PisamError as error:
            raise WrongAnswer(str(error).replace(str(file), file.name)) from error


def load_class(path: Path, name: str) -> Any:
    """An object of class `name` of a Python file, made without arguments.

    Runs the file, which may import what lies beside it: name none but your own. Its hash is kept with the
    results, lest those of an earlier state be taken for its own.

    Raises:
        PisamError: no such file or class, or an error of its own, with the line.
    """
    if not path.is_file():
        raise PisamError(f"models: no file {path}")
    spec = importlib.util.spec_from_file_location(f"pisam_entrant_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look there
    sys.path.append(str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
        made = getattr(module, name, None)
        entrant = made() if callable(made) else None
        if entrant is not None:
            type(entrant).code_sha256 = sha256_of(path)
            facts_of(entrant)  # its properties may fail, too
    except (Exception, SystemExit) as error:
        where, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(path):
                where = f":{trace.tb_lineno}"
            trace = trace.tb_next
        raise PisamError(f"models: {path}{where}: {type(error).__name__}: {error}") from error
    if entrant is None:
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and key[:1] != "_"]
        raise PisamError(f"models: {path} has no class {name}; it has {', '.join(classes) or 'none'}")
    if missing := [method for method in ("encode", "answer") if not callable(getattr(entrant, method, None))]:
        raise PisamError(f"models: {path}:{name} has no method {missing[0]}; see docs/benchmark.md")
    return entrant


OWN = ("sam", "sam+mask", "hq", "hq+mask", "pi")
EXPECTED = (
    f"{', '.join(OWN)}, FILE.py:CLASS, transformers:DIR, transformers+mask:DIR, onnx:DIR, "
    "onnx+mask:DIR or masks:DIR"
)


def entrants_of(
    names: Sequence[str], config: Config | None, checkpoints: Sequence[Path] = (), device: Any = "cpu"
) -> list[Any]:
    """The models, in the order of their names.

    Args:
        names: see `EXPECTED`. What follows the colon is a path; a class of a Python file is run.
        config: of this package's own models; None where none may be named.
        checkpoints: of Pi-SAM and HQ-SAM, as in `interacting_models`.
        device: where they work.

    Raises:
        PisamError: an unknown kind, what is missing of one, or two of one name.
    """
    if not names:
        raise PisamError(f"models: expected some of {EXPECTED}")
    wanted = [name for name in names if name in OWN]
    if wanted and config is None:
        raise PisamError(
            f"models: {wanted[0]} is one of an experiment's; give EXPERIMENT in place of images=DIR"
        )
    own = own_entrants(wanted, config, checkpoints, device) if config is not None and wanted else {}
    entrants = [own[name] if name in OWN else _foreign(name, device) for name in names]
    called: dict[str, str] = {}  # by the file of results, which two models cannot share
    for name in map(name_of, entrants):
        if (stem := file_stem(name)) in called:
            other = called[stem]
            what = f"called {name}" if name == other else f"called {other} and {name}, one file name"
            raise PisamError(f"models: two are {what}; rename a folder, or give a class another `name`")
        called[stem] = name
    return entrants


def own_entrants(
    names: Sequence[str], config: Config, checkpoints: Sequence[Path] = (), device: Any = "cpu"
) -> dict[str, Any]:
    """SAM, HQ-SAM and Pi-SAM by the names in `OWN`; those with one SAM share its encoding of an image."""
    from pisam.modeling.sam_segmenters import HqSamSegmenter, SamSegmenter
    from pisam.modeling.segmenters import PiSamSegmenter, share_encoders
    from pisam.predictor.predictor import TorchEngine

    networks: dict[str, Any] = {}
    if "pi" in names:
        networks = dict(interacting_models(config, checkpoints))
    kinds = ["hq"] if any(name.startswith("hq") for name in names) and "hq" not in networks else []
    kinds += ["sam"] if not networks and any(name.startswith("sam") for name in names) else []
    if kinds:
        given = [] if networks else list(checkpoints)
        networks |= {kind: each.model for kind, each in compared_models(config, kinds, given).items()}
    share_encoders(networks.values())
    encodings, entrants = Encodings(), {}
    for name in names:
        kind, _, mask = name.partition("+")
        title = NAMES[kind] + ("+mask" if mask else "")
        network = networks.get(kind) or next(iter(networks.values()))
        network.to(device)
        made = {"sam": SamSegmenter, "hq": HqSamSegmenter, "pi": PiSamSegmenter}[kind]
        segmenter: Any = made(network, title) if kind == "pi" else made(network, title, mask_input=bool(mask))
        facts = _plain(model_facts(config, segmenter))
        entrants[name] = EngineEntrant(TorchEngine(segmenter), title, facts, encodings)
    return entrants


def _foreign(name: str, device: Any) -> Any:
    kind, colon, rest = name.partition(":")
    if colon and kind.endswith(".py"):
        return load_class(local_path(kind, "models"), rest)
    kind, plus, option = kind.partition("+")
    if not (colon and rest) or kind not in ("transformers", "onnx", "masks") or (plus and option != "mask"):
        raise PisamError(f"models: got {name}, expected {EXPECTED}")
    folder = local_path(rest, "models")
    if not folder.is_dir():
        raise PisamError(f"models: {name}: no such folder")
    match kind:
        case "transformers":
            return TransformersSam(folder, mask_input=bool(plus), device=device)
        case "onnx":
            exported = (folder / META).is_file()
            return _exported(folder, name) if exported else OnnxSam(folder, mask_input=bool(plus))
    return MaskFolder(folder)


def _exported(folder: Path, name: str) -> EngineEntrant:
    """A Pi-SAM that `pisam export` wrote."""
    if name.startswith("onnx+mask:"):
        raise PisamError(f"models: {name}: an export of Pi-SAM; give onnx:{folder}, it keeps its own mask")
    engine = OnnxEngine(folder)
    kept = ("backbone", "image_size", "checkpoint_hash", "frozen_hash", "reprompt")
    facts = {"kind": "Pi-SAM, ONNX"} | {key: engine.meta.get(key) for key in kept}
    facts["sha256"] = sha256_of_files(folder, "[!.]*")
    return EngineEntrant(engine, folder.name, facts)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Nested facts under dotted names, without paths and what the benchmark's protocol says itself."""
    kept = ("backbone", "decoder", "frozen_hash", "checkpoint_hash", "image_size", "hq_mask", "precision")
    flat = {**facts, **facts.get("protocol", {})}
    return {key: flat[key] for key in kept if isinstance(flat.get(key), str | int | float | bool)}
