"""From the names on the command line to models that can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.files import local_path, sha256_of_files
from pisam.evaluation.benchmark.adapters.engine import Encodings, EngineEntrant
from pisam.evaluation.benchmark.adapters.mask_folder import MaskFolder
from pisam.evaluation.benchmark.adapters.onnx_sam import OnnxSam
from pisam.evaluation.benchmark.adapters.transformers_sam import TransformersSam
from pisam.evaluation.benchmark.adapters.user_file import load_class
from pisam.evaluation.benchmark.entrant import file_stem, name_of
from pisam.evaluation.models.trained import NAMES, compared_models, interacting_models, model_facts
from pisam.onnx.engine import META, OnnxEngine

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
