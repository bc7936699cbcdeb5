"""transformers' models answer through the adapter as they answer alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pisam.core.errors import PisamError
from pisam.core.files import sha256_of_files
from pisam.evaluation.benchmark.entrant import as_logits

transformers = pytest.importorskip("transformers")

from helpers.tiny_transformers import SIDE, save_tiny  # noqa: E402
from pisam.evaluation.benchmark.other_sams import CLASSES, TransformersSam  # noqa: E402

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
CLICKS = np.array([[20.5, 10.5, 1], [60.5, 40.5, 0]])


@pytest.fixture(
    scope="module", params=[kind for kind, name in CLASSES.items() if hasattr(transformers, name)]
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param))


def test_clicks_box_and_previous_mask_are_told(folder: Path) -> None:
    plain, told = TransformersSam(folder), TransformersSam(folder, mask_input=True)
    for model in (plain, told):
        model.encode(IMAGE)
    size = IMAGE.shape[:2]
    first = plain.answer(None, CLICKS[:1], None)
    assert as_logits(first, size).std() > 0
    second = as_logits(plain.answer(None, CLICKS, first), size)
    assert not np.allclose(second, first.logits)
    np.testing.assert_array_equal(second, as_logits(plain.answer(None, CLICKS, None), size))
    assert not np.allclose(
        second, as_logits(told.answer(None, CLICKS, told.answer(None, CLICKS[:1], None)), size)
    )
    boxed = as_logits(plain.answer((8, 4, 60, 44), CLICKS[:0], None), size)
    assert not np.allclose(boxed, first.logits)
    assert plain.facts["sha256"] == sha256_of_files(folder, "*") == told.facts["sha256"]
    assert plain.facts["kind"] in CLASSES.values() and told.name.endswith("+mask")


def test_the_answer_is_that_of_the_model_with_its_own_processor(folder: Path) -> None:
    """Coordinates and resizing are the package's own, but for the half pixel of a centre."""
    model = TransformersSam(folder)
    padded = "reshaped_input_sizes" in model.processor(images=IMAGE, return_tensors="pt")
    if not padded:
        processor = transformers.Sam2Processor(model.processor, target_size=SIDE)
    else:
        name = {"SamModel": "SamProcessor", "SamHQModel": "SamHQProcessor"}[model.facts["kind"]]
        processor = getattr(transformers, name)(model.processor)
    model.encode(IMAGE)
    ours = as_logits(model.answer(None, CLICKS, None), IMAGE.shape[:2])
    scale = SIDE / max(IMAGE.shape) if padded else SIDE / np.array([80, 48])
    index = (CLICKS[:, :2] * scale - 0.5) / scale  # what its scaling turns into ours
    asked = processor(
        images=IMAGE,
        input_points=[[index.tolist()]],
        input_labels=[[CLICKS[:, 2].astype(int).tolist()]],
        return_tensors="pt",
    )
    with torch.inference_mode():
        kept = {key: asked[key] for key in ("pixel_values", "input_points", "input_labels")}
        kept["input_points"] = kept["input_points"].float()
        masks = model.model(**kept, multimask_output=False).pred_masks
    sizes = {"original_sizes": asked["original_sizes"]}
    if padded:
        sizes["reshaped_input_sizes"] = asked["reshaped_input_sizes"]
    (theirs,) = model.processor.post_process_masks(masks, **sizes, binarize=False)
    np.testing.assert_allclose(ours, theirs.reshape(48, 80).numpy(), atol=1e-4)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    transformers.BertConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(PisamError, match=r"a model of type bert; transformers has sam, sam_hq"):
        TransformersSam(tmp_path)


def test_a_folder_without_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match="not readable"):
        TransformersSam(tmp_path)
