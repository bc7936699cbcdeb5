"""The commands of README.md and docs/ run, page by page, beside one small experiment.

A fence `bash` holds `pisam` commands alone and is run, as is a fence `python`; `python NAME.py` is written to
that file. What no test runs is marked: `bash not-run`. Lines with `>>>` are doctests of their own.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.small_runs import SOURCE, write_experiment, write_sets
from pisam import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\S+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS, NOT_RUN = ("bash", "sh", "shell", "console"), "not-run"


def fences(page: Path) -> list[tuple[str, str, str]]:
    """(language, further words, text) of the commands and programs of a page that are to run."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [f for f in found if f[0] in (*SHELLS, "python") and f[1] != NOT_RUN and ">>>" not in f[2]]


RUN = [page for page in PAGES if fences(page)]


def commands(text: str) -> list[list[str]]:
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_what_is_run_is_known(page: Path) -> None:
    for language, _, text in fences(page):
        if language in SHELLS:
            assert language == "bash"
            assert {words[0] for words in commands(text)} == {"pisam"}
        else:
            compile(text, str(page), "exec")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take as given: the experiment `mine`, its runs, photographs and masks of somebody."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "experiments").mkdir()
    sets = write_sets(folder / "sets")
    mine = write_experiment(folder, sets).read_text()
    mine = re.sub("stage1: .*", "stage1: {max_steps: 1}", mine)
    mine = re.sub("stage2: .*", "stage2: {max_steps: 3, lr: 0.1}", mine)  # what errs has errors in common
    mine += "interact: {images: 2, clicks: 2, rounds: 2}\n"
    (folder / "experiments" / "mine.yaml").write_text(mine)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        assert cli.main(["train", "mine", "stage=1"]) == 0
        assert cli.main(["train", "mine", "stage=2"]) == 0
        assert cli.main(["train", "mine", "stage=1", "model.decoder=hq", "run_dir=runs/mine_hq"]) == 0
    shutil.copytree(folder / "runs" / "mine", folder / "runs" / "quickstart")
    for name, part in (("photos", "images"), ("theirs", "masks"), ("true_masks", "masks")):
        shutil.copytree(sets / "val" / part, folder / name)
    shutil.copytree(sets / "val", folder / "data")
    (folder / "boxes.csv").write_text("image,x0,y0,x1,y1\n" + "".join(f"{i},10,10,50,50\n" for i in range(3)))
    (folder / "clicks.csv").write_text("image,x,y,label\n0,30,30,1\n1,5,5,0\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_page(page: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    shutil.copytree(folder, work)
    monkeypatch.chdir(work)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]))
    masks = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    masks[..., 10:40, 10:40] = True
    given = {"image": np.asarray(Image.effect_noise((1000, 800), 60).convert("RGB")), "masks": masks}
    given["logits"] = torch.zeros(2, 1, 64, 64)
    for language, name, text in fences(page):
        if language == "python" and name:
            Path(name).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, str(page), "exec"), given)
        else:
            for _, *arguments in commands(text):
                assert cli.main(arguments) == 0, arguments
