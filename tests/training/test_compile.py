"""`trainer.compile`: both stages train compiled, and their checkpoints are the ordinary ones."""

from __future__ import annotations

from functools import partial, partialmethod
from pathlib import Path

import pytest
import torch

from helpers.small_runs import logged, small_config, small_model, write_sets
from pisam.commands.train import train
from pisam.modeling.checkpoint import load_model
from pisam.training.from_config import compile_network


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_compiled_stages_train_and_their_checkpoints_are_the_ordinary_ones(tmp_path: Path) -> None:
    root = write_sets(tmp_path / "sets")
    losses = {}
    for name in ("compiled", "plain"):
        options = [f"trainer.compile={name == 'compiled'}", f"run_dir={tmp_path / name}"]
        # Validation takes single images: training on them too spares compiling each part a second time.
        options += ["data.batch_size=1", "stage1.max_steps=2", "stage2.max_steps=2"]
        config = small_config(tmp_path, root, *options)
        for number in (1, 2):
            train(config, number)
            rows = logged(tmp_path / name, number)
            losses[name, number] = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses["compiled", 1]) == 2
    assert losses["compiled", 1] == pytest.approx(losses["plain", 1], rel=1e-3)
    assert losses["compiled", 2] == pytest.approx(losses["plain", 2], rel=1e-2)
    for number in (1, 2):
        paths = [tmp_path / name / f"stage{number}/checkpoints/best.ckpt" for name in ("compiled", "plain")]
        compiled, plain = (torch.load(path, weights_only=True)["state_dict"] for path in paths)
        assert compiled.keys() == plain.keys()
        load_model(paths[0])


def test_compiling_is_in_place_and_keeps_the_names() -> None:
    model = small_model()
    names = list(model.state_dict())
    compile_network(model)
    assert list(model.state_dict()) == names
    compiled = [name for name, module in model.named_modules() if module._compiled_call_impl is not None]
    assert compiled == ["encoder.image_encoder", "decoder", "interactor"]


def test_everything_that_a_step_runs_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part by its own call: point prompts of other lengths, and stage 2's way through the head, too."""
    compiled: list[object] = []

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count))
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend=count))
    model = small_model()
    compile_network(model)
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        model.encoder.image_encoder(image)
        first = len(compiled)
        assert first >= 1
        model.decoder.head.finish(torch.zeros(1, 32, 16, 16), torch.zeros(1, 8, 64, 64))
        assert len(compiled) == first + 1
