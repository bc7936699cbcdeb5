"""A model saved as the hub keeps it, and loaded from there; no network is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.small_runs import small_model
from pisam.core.errors import PisamError
from pisam.modeling.checkpoint import load_model
from pisam.modeling.hub import FACTS, WEIGHTS, from_pretrained, save_pretrained
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.shared_weights import save_model


def test_saved_folder_gives_the_same_model_and_says_what_it_is(tmp_path: Path) -> None:
    model = small_model()
    torch.nn.init.normal_(model.interactor.residual.weight)
    model.save_pretrained(tmp_path / "folder")
    for loaded in (PiSam.from_pretrained(tmp_path / "folder"), load_model(tmp_path / "folder")):
        assert not loaded.training
        for name, value in model.own_state().items():
            assert loaded.own_state()[name].equal(value)
    assert json.loads((tmp_path / "folder" / FACTS).read_text()) == model.identity()
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "license: mit" in card and model.identity()["frozen_hash"] in card and "nano" in card


def test_card_of_the_user_is_kept(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    save_pretrained(small_model(), tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("damage", ["absent", "cut", "another model", "no facts"])
def test_damaged_folder_is_one_error(damage: str, tmp_path: Path) -> None:
    save_pretrained(small_model(), tmp_path)
    file = tmp_path / WEIGHTS
    match damage:
        case "absent":
            file.unlink()
        case "cut":
            file.write_bytes(file.read_bytes()[:1000])
        case "another model":
            file.write_bytes(file.read_bytes().replace(b'\\"image_size\\": 64', b'\\"image_size\\": 63'))
        case "no facts":
            file.write_bytes(file.read_bytes().replace(b'"pisam"', b'"wisam"'))
    with pytest.raises(PisamError, match=r"model\.safetensors"):
        from_pretrained(tmp_path)


def test_files_of_another_model_are_kept(tmp_path: Path) -> None:
    for name in (FACTS, WEIGHTS):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text('{"model_type": "bert"}')
        with pytest.raises(PisamError, match="is of another model; give another folder"):
            save_pretrained(small_model(), folder)
        assert [file.name for file in folder.iterdir()] == [name]
    save_pretrained(small_model(), tmp_path / "ours")
    save_pretrained(small_model(), tmp_path / "ours")  # what is ours is replaced


@pytest.mark.parametrize("wrong", [None, 5, b"x", "", "\0", "/dev/null", "/dev/null/x"])
def test_a_folder_that_is_none_is_one_error(wrong: object) -> None:
    with pytest.raises(PisamError, match="save_pretrained"):
        save_pretrained(small_model(), wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [None, 5, b"x", "", "\0", "/dev/null", "./typo", "a/b/c", "a b/c", "nobody/here"]
)
def test_a_source_that_is_none_is_one_error(wrong: object) -> None:
    with pytest.raises(PisamError, match="from_pretrained") as error:
        from_pretrained(wrong, local_files_only=True)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    """Loading would refuse them: the model would be lost."""
    file = tmp_path / WEIGHTS
    model = small_model()
    save_model(model, file)
    good, weight = file.read_bytes(), model.interactor.residual.weight
    for value in (1e6, torch.nan, torch.inf):
        torch.nn.init.constant_(weight, value)
        with pytest.raises(PisamError, match=r"interactor.residual.weight has values that are NaN, infinite"):
            save_model(model, file)
        assert file.read_bytes() == good
    torch.nn.init.constant_(weight, 1e6)
    save_model(model, file, half=False)
    assert load_model(file).own_state()["interactor.residual.weight"].equal(weight)


def test_what_is_no_model_is_not_saved(tmp_path: Path) -> None:
    for save in (save_pretrained, save_model):
        with pytest.raises(ValueError, match="expected what load_model gives, got Linear"):
            save(torch.nn.Linear(1, 1), tmp_path / "x.safetensors")  # type: ignore[arg-type]
    for path in (None, 5, b"x"):
        with pytest.raises(PisamError, match="save_model: expected a path"):
            save_model(small_model(), path)  # type: ignore[arg-type]


def test_a_folder_is_taken_up_in_another_frame(tmp_path: Path) -> None:
    model = build_model("nano", image_size=64)
    model.save_pretrained(tmp_path / "model")
    larger = load_model(tmp_path / "model", image_size=128)
    assert larger.image_size == 128
    assert all(value.equal(larger.own_state()[name]) for name, value in model.own_state().items())
    for wrong in (100, "128", True):
        with pytest.raises(ValueError, match=f"image_size must be a positive multiple of 64.*got {wrong!r}"):
            load_model(tmp_path / "model", image_size=wrong)  # type: ignore[arg-type]
