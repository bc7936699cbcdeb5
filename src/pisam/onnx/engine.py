"""A Pi-SAM exported by `pisam export`, run by ONNX Runtime without torch: engine and predictor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pisam.core.errors import PisamError
from pisam.core.files import local_path, read_object, with_an_end
from pisam.core.locality import Heard, Start, join_answers
from pisam.core.types import Click, FloatArray, UInt8Array
from pisam.predictor.engine import Prompt, Size
from pisam.predictor.interactive import InteractivePredictor

FORMAT = 1
META = "meta.json"
FACTS = {"format": int, "image_size": int, "checkpoint_hash": str, "files": dict, "reprompt": bool}
GRAPHS = ("encoder", "decoder", "interactor")
AT_ONCE = 4  # prompts: more take memory and no less time
PADDING, UPPER_LEFT, LOWER_RIGHT = -1, 2, 3
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class OnnxState:
    """The answer to a prompt, or to clicks on it."""

    encoded: Arrays  # frame uint8 (1, 3, S, S), and what the encoder says of it
    prompt: Prompt
    # the decoder's outputs: low_res, logits, and what the interactor starts from; one row each
    objects: Arrays
    logits: FloatArray  # float32 (S, S)
    heard: Heard = field(default_factory=Heard)  # of SAM's answers to clicks so far


class OnnxEngine:
    """The graphs of a folder that `pisam export` wrote; arguments and errors as those of `OnnxPredictor`."""

    def __init__(
        self,
        folder: str | Path,
        encoder: str = "",
        *,
        threads: int = 0,
        providers: Sequence[str] | None = None,
    ) -> None:
        if type(threads) is not int or threads < 0:
            raise ValueError(f"threads: expected a whole number, 0 or more, got {threads!r:.40}")
        self.folder = local_path(folder, "folder")
        self.meta = read_meta(self.folder)
        files = {name: f"{name}.onnx" for name in GRAPHS}
        if encoder:
            files["encoder"] = f"encoder_{encoder}.onnx"
        self._hash = self.meta["files"].get(files["encoder"], "")
        self._graphs = {
            name: _load(self.folder, file, self.meta, threads, providers) for name, file in files.items()
        }
        seen = self._graphs["encoder"].get_inputs()[0].shape
        if seen != [1, 3, self.side, self.side]:
            raise PisamError(
                f"{self.folder / META}: image_size is {self.side}, its encoder takes {seen}; export the "
                "model again"
            )

    @property
    def side(self) -> int:
        """S of the square frame, in pixels."""
        return int(self.meta["image_size"])

    @property
    def remembers(self) -> bool:
        """See `Engine`: whether the decoder is asked again after each click."""
        return bool(self.meta["reprompt"])

    def encode(self, frame: UInt8Array) -> Arrays:
        """See `Engine`."""
        planes = np.ascontiguousarray(frame.transpose(2, 0, 1)[None])
        return {"frame": planes, **self._run("encoder", {"frame": planes})}

    def first(self, encoded: Arrays, prompts: Sequence[Prompt]) -> list[OnnxState]:
        """See `Engine`; prompts with equal numbers of points go through the decoder together."""
        states: dict[int, OnnxState] = {}
        lengths = [len(_tokens(prompt)) for prompt in prompts]
        for length in sorted(set(lengths)):
            rows = [row for row, own in enumerate(lengths) if own == length]
            for start in range(0, len(rows), AT_ONCE):
                group = rows[start : start + AT_ONCE]
                states |= zip(group, self._decode(encoded, [prompts[row] for row in group]), strict=True)
        return [states[row] for row in range(len(prompts))]

    def after(self, state: OnnxState, clicks: Sequence[Click]) -> OnnxState:
        """See `Engine`."""
        if not self.remembers:
            return self._interact(state, clicks)
        points = (*state.prompt.points, *clicks)
        asked = replace(state.prompt, points=points, mask=state.objects["low_res"][0, 0])
        new = replace(self._decode(state.encoded, [asked])[0], prompt=state.prompt)
        new = self._interact(new, clicks)
        start = _start(state.prompt)
        alone = self._interact(state, clicks) if state.heard.reads_alone(clicks, start) else new
        joined = join_answers(state.logits, alone.logits, new.logits, clicks, state.heard, start)
        return replace(new if joined.believed else alone, logits=joined.logits, heard=joined.heard)

    def _interact(self, state: OnnxState, clicks: Sequence[Click]) -> OnnxState:
        """The state with the interactor's answer to all clicks so far."""
        given = np.array(clicks, np.float32)[None]  # (1, M, 3)
        inputs = {
            "frame": state.encoded["frame"],
            **state.objects,
            "points": np.ascontiguousarray(given[..., :2]),
            "labels": given[..., 2].astype(np.int64),
            "valid": np.ones(given.shape[:2], bool),
        }
        return replace(state, logits=self._run("interactor", inputs)["logits"][0, 0])

    def logits(self, state: OnnxState, size: Size) -> FloatArray:
        """See `Engine`."""
        return cv2.resize(state.logits, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)

    def identity(self) -> str:
        """See `Engine`: the checkpoint and the encoder's file."""
        return f"onnx {self.meta['checkpoint_hash']} {self._hash}"

    def model_identity(self) -> str:
        """See `Engine`: as `identity`, whose checkpoint was exported whole."""
        return self.identity()

    def to_arrays(self, encoded: Arrays) -> dict[str, npt.NDArray[Any]]:
        """See `Engine`."""
        return {name: value for name, value in encoded.items() if name != "frame"}

    def from_arrays(self, arrays: Arrays, frame: UInt8Array) -> Arrays:
        """See `Engine`."""
        outputs = {output.name: output.shape for output in self._graphs["encoder"].get_outputs()}
        for name, shape in outputs.items():
            if list(arrays[name].shape) != shape or arrays[name].dtype != np.float32:
                raise ValueError(
                    f"{name}: expected float32 {shape}, got {arrays[name].dtype} {arrays[name].shape}"
                )
        return {"frame": np.ascontiguousarray(frame.transpose(2, 0, 1)[None])} | {
            n: arrays[n] for n in outputs
        }

    def _decode(self, encoded: Arrays, prompts: Sequence[Prompt]) -> list[OnnxState]:
        """One state per prompt; all have the same number of tokens."""
        tokens = np.array([_tokens(prompt) for prompt in prompts], np.float32).reshape(len(prompts), -1, 3)
        empty = np.zeros((self.side // 4, self.side // 4), np.float32)
        masks = [empty if prompt.mask is None else prompt.mask for prompt in prompts]
        outputs = self._run(
            "decoder",
            {
                **encoded,
                "points": np.ascontiguousarray(tokens[..., :2]),
                "labels": tokens[..., 2].astype(np.int64),
                "previous": np.stack(masks)[:, None].astype(np.float32),
                "has_previous": np.array([prompt.mask is not None for prompt in prompts], np.float32),
            },
        )
        logits = outputs.pop("logits")
        return [
            OnnxState(
                encoded,
                prompt,
                {name: value[row : row + 1] for name, value in outputs.items()},
                logits[row, 0],
            )
            for row, prompt in enumerate(prompts)
        ]

    def _run(self, name: str, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        graph = self._graphs[name]
        taken = {each.name: inputs[each.name] for each in graph.get_inputs()}
        return dict(zip((each.name for each in graph.get_outputs()), graph.run(None, taken), strict=True))


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the facts that `pisam export` noted beside its graphs.

    Raises:
        PisamError: no such folder or file, or of another format.
    """
    path = folder / META
    try:
        meta = read_object(path, "", FACTS)
    except PisamError as error:
        raise PisamError(f"{error}; expected a folder that pisam export wrote") from error
    if meta["format"] != FORMAT:
        raise PisamError(f"{path}: expected format {FORMAT}; export the model again")
    return meta


def _load(
    folder: Path, file: str, meta: dict[str, Any], threads: int, providers: Sequence[str] | None
) -> Any:
    """An inference session on a file whose hash is that of `meta`."""
    try:
        import onnxruntime
    except ImportError as error:
        raise PisamError("onnxruntime is not installed: pip install 'pisam[onnx]'") from error
    if file not in meta["files"]:
        exported = ", ".join(sorted(meta["files"]))
        raise PisamError(
            f"{folder}: {file} was not exported, only {exported}; export the model again with it"
        )
    try:
        graph = with_an_end(folder / file).read_bytes()
    except OSError as error:
        raise PisamError(f"{folder / file}: {error.strerror or error}; export the model again") from error
    if hashlib.sha256(graph).hexdigest() != meta["files"][file]:
        raise PisamError(
            f"{folder / file}: not what was exported with {META}, or damaged; export the model again"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    available = onnxruntime.get_available_providers()
    if not providers:
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    elif not isinstance(providers, (list, tuple)) or not all(name in available for name in providers):
        raise ValueError(f"providers: expected a list out of {', '.join(available)}, got {providers!r:.80}")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's errors share no other class
        raise PisamError(
            f"{folder / file}: ONNX Runtime does not take it ({str(error).strip().splitlines()[0]:.200}); "
            "export the model again"
        ) from error


def _start(prompt: Prompt) -> Start:
    return "mask" if prompt.mask is not None else "box" if prompt.only_box else "points"


def _tokens(prompt: Prompt) -> list[Click]:
    """Points and corners of a box as SAM orders and pads them: (x, y, label)."""
    points = list(prompt.points)
    if prompt.box is None:
        return [*points, (0.0, 0.0, PADDING)] if points else []
    x0, y0, x1, y1 = (float(edge) for edge in prompt.box)
    # The centres of the box's outermost pixels.
    return [*points, (x0 + 0.5, y0 + 0.5, UPPER_LEFT), (x1 - 0.5, y1 - 0.5, LOWER_RIGHT)]


class OnnxPredictor(InteractivePredictor):
    """`PiSamPredictor` without torch: the same verbs, the same masks.

    Args:
        folder: that `pisam export` wrote: encoder.onnx, decoder.onnx, interactor.onnx and meta.json.
        encoder: "", "int8" or "fp16": which encoder, where it was exported too.
        threads: of ONNX Runtime; 0 = one per core.
        providers: of ONNX Runtime; None = CUDA where it is installed, and the CPU.
        guarantee: whether each clicked pixel has its label after `click`, whatever the network says.

    Raises:
        PisamError: no such folder, a file of it is missing or damaged, or ONNX Runtime is not installed.
        ValueError: no such number of threads, or providers that are not here.
    """

    def __init__(
        self,
        folder: str | Path,
        encoder: str = "",
        *,
        threads: int = 0,
        providers: Sequence[str] | None = None,
        guarantee: bool = True,
    ) -> None:
        engine = OnnxEngine(folder, encoder, threads=threads, providers=providers)
        super().__init__(engine, guarantee=guarantee)
