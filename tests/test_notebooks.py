"""Notebooks run, import the package instead of defining things, and are stored without outputs."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.small_runs import write_experiment, write_sets
from helpers.small_sweeps import write_sweep
from pisam.commands.shared.sweep_file import read_sweep
from pisam.commands.shared.sweep_runs import run_locally, trials_of

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["quickstart", "sweep"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_defines_nothing_and_is_stored_without_outputs(path: Path) -> None:
    cells = code_cells(path)
    assert not [cell for cell in cells if cell.outputs or cell.execution_count is not None]
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell.source))]
    assert not [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.Lambda))]
    assert [n for n in nodes if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("pisam")]


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a sweep of four trials has run, as far as its files tell: nothing was trained."""
    monkeypatch.chdir(tmp_path)
    parameters = {"stage1.lr": {"values": [0.01, 0.001]}, "stage1.accumulate": {"values": [1, 2]}}
    experiment = write_experiment(tmp_path, write_sets(tmp_path / "sets"))
    sweep = read_sweep(write_sweep(tmp_path, experiment, parameters=parameters))
    for number, trial in enumerate(trials_of(sweep)):
        stage = trial.run_dir / "stage1"
        stage.mkdir(parents=True)
        lines = [{"step": step, "val/iou": number / 10 + step / 100} for step in (1, 2)]
        (stage / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        (stage / "summary.json").write_text(json.dumps({"best": {"val/iou": lines[-1]["val/iou"]}}))
    assert run_locally(sweep) == 0
    return tmp_path


def outputs_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """What a notebook prints, and how many pictures it shows, run in `folder`."""
    search_path = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, search_path)))
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    return "".join(output.get("text", "") for output in outputs), pictures


def test_quickstart_runs_without_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, pictures = outputs_of("quickstart", tmp_path, monkeypatch)
    assert "an untrained network" in text and "IoU" in text
    assert pictures == 1


def test_sweep_names_the_best_trial(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, pictures = outputs_of("sweep", swept, monkeypatch)
    assert "4 of 4 trials have a score" in text
    assert text.endswith("val/iou 0.320: stage1.accumulate=2 stage1.lr=0.001\n")
    assert pictures == 2
