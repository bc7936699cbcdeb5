"""A trained Pi-SAM as a folder or repository of Hugging Face's hub: weights, facts, and a model card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download

from pisam.core.errors import PisamError
from pisam.core.files import local_path, read_object, write_json
from pisam.modeling.backbones import check_image_size
from pisam.modeling.checkpoint import load_model
from pisam.modeling.pisam import PiSam
from pisam.modeling.shared_weights import save_model

WEIGHTS, FACTS = "model.safetensors", "config.json"
CARD = """---
library_name: pisam
pipeline_tag: image-segmentation
license: mit
tags: [segment-anything, interactive-segmentation, high-resolution]
---
# Pi-SAM on {backbone}

Segment Anything with precise interaction: a mask from a box, repaired by clicks. Own parts alone, for
frames of {image_size} px; frozen SAM ({backbone}) stays in SAM's file, of hash `{frozen_hash}`.

```python
from pisam import PiSamPredictor
from pisam.modeling.pisam import PiSam

predictor = PiSamPredictor(PiSam.from_pretrained("{source}", weights="folder of SAM's weights"))
```

Data, training and scores: to be filled in by whoever publishes it.
"""


class HubModel(ModelHubMixin):
    """A model as the hub's functions see it."""

    def __init__(self, model: PiSam) -> None:
        self.model = model

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(self.model, save_directory / WEIGHTS, half=False)
        write_json(self.model.identity(), save_directory / FACTS)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        weights: str | Path | None = None,
        image_size: int | None = None,
        **options: Any,
    ) -> HubModel:
        folder = Path(model_id)
        named: dict[str, Any] = {name: options.get(name) for name in ("revision", "cache_dir", "token")}
        local = options.get("local_files_only", False)
        file = folder / WEIGHTS
        if not folder.is_dir():
            file = Path(hf_hub_download(model_id, WEIGHTS, local_files_only=local, **named))
        return cls(load_model(file, weights, image_size))

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        return ModelCard(CARD.format(source=kwargs.get("repo_url") or ".", **self.model.identity()))


def save_pretrained(model: PiSam, folder: str | Path, **options: Any) -> None:
    """Write `model.safetensors`, `config.json` and, where there is none, a model card `README.md`.

    Args:
        model: a trained one.
        folder: to write to; it is made.
        options: of huggingface_hub's `ModelHubMixin.save_pretrained`, such as `push_to_hub=True`.

    Raises:
        ValueError: no Pi-SAM.
        PisamError: the folder cannot be written, or holds the files of another model, which are kept.
    """
    if not isinstance(model, PiSam):
        raise ValueError(f"save_pretrained: expected what load_model gives, got {type(model).__name__}")
    target = _folder(folder, "save_pretrained")
    facts = target / FACTS
    ours = facts.is_file() and model.identity().keys() <= read_object(facts, "save_pretrained: ").keys()
    if not ours and (there := [file for file in (facts, target / WEIGHTS) if file.exists()]):
        raise PisamError(f"save_pretrained: {there[0]} is of another model; give another folder")
    try:
        HubModel(model).save_pretrained(target, **options)
    except OSError as error:
        raise PisamError(f"save_pretrained: {target} is not written: {_first_line(error)}") from error


def push_to_hub(model: PiSam, repo_id: str, **options: Any) -> str:
    """Publish a model, private unless `private=False`; returns the address of the commit.

    Args:
        model: a trained one.
        repo_id: OWNER/NAME.
        options: of huggingface_hub's `ModelHubMixin.push_to_hub`.
    """
    return str(HubModel(model).push_to_hub(repo_id, **{"private": True, **options}))


def from_pretrained(
    source: str | Path, weights: str | Path | None = None, image_size: int | None = None, **options: Any
) -> PiSam:
    """The model of a folder, or of a repository of the hub, in evaluation mode.

    Args:
        source: a folder that `save_pretrained` wrote, or OWNER/NAME.
        weights: SAM's, as in `build_model`.
        image_size: side of the frame, as in `load_model`.
        options: `revision`, `cache_dir`, `token`, `local_files_only`.

    Raises:
        PisamError: no weights there, damaged ones, or ones of another SAM.
        ValueError: an `image_size` that is no multiple of 64.
    """
    if image_size is not None:
        check_image_size(image_size)
    folder = _folder(source, "from_pretrained")
    expected = "neither a folder that save_pretrained wrote nor OWNER/NAME on the hub"
    if not folder.is_dir() and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise PisamError(f"from_pretrained: {folder}: {expected}")
    try:
        return HubModel.from_pretrained(
            str(folder if folder.is_dir() else source), weights=weights, image_size=image_size, **options
        ).model
    except (OSError, ValueError) as error:  # of the hub: no such repository, no network
        raise PisamError(f"from_pretrained: {source}: {expected} ({_first_line(error)})") from error


def _folder(location: str | Path, what: str) -> Path:
    if location == "":  # which would be the folder that this runs in
        raise PisamError(f"{what}: expected a folder, got an empty path")
    return local_path(location, what)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
