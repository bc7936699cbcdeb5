"""`make sweep` with W&B's own programs against a server of the test, which is killed amid the last trial."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.small_runs import HARD_TIMEOUT, SOURCE, logged, summary, wait_until, write_experiment, write_sets
from helpers.small_sweeps import write_sweep
from helpers.wandb_stub import assert_no_key, own_place, wandb_stub

TWO_RANKS = ["trainer.devices=2", "trainer.strategy=ddp"]
STEPS = 30


def make_sweep(file: Path, folder: Path) -> subprocess.Popen[str]:
    """Two trials, in a folder of its own."""
    variables = (f"SWEEP={file}", "COUNT=2", f"PYTHON={sys.executable}")
    return subprocess.Popen(
        ["make", "--file", str(SOURCE.parent / "Makefile"), "sweep", *variables],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(3 * HARD_TIMEOUT)
def test_sweep_and_agent_train_on_two_ranks_and_survive_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_place(monkeypatch, tmp_path)
    experiment = write_experiment(tmp_path, write_sets(tmp_path / "sets"))
    fixed = [f"stage1.max_steps={STEPS}", "logging.mode=online", "logging.group=small", *TWO_RANKS]
    file = write_sweep(tmp_path, experiment, overrides=[*fixed, "data.batch_size=1"])
    with wandb_stub() as server:
        server.announce(monkeypatch)
        sweep = make_sweep(file, tmp_path)
        second = tmp_path / "runs" / "sweeps" / "small" / "trial2" / "stage1" / "metrics.jsonl"
        wait_until(sweep, lambda: second.exists() and len(second.read_text().splitlines()) > 3)
        seen = server.seen()
        server.kill()
        output, error = sweep.communicate(timeout=HARD_TIMEOUT)

    assert "sweep someone/small-tests/sweep1" in output
    assert sweep.returncode == 2 and "Error 1" in error, (
        "W&B's agent cannot ask whether there are more trials"
    )
    assert "Failed to verify credentials" in error
    assert seen.sweep["command"][-1] == "${args_no_hyphens}"
    assert seen.operations.count("UpsertSweep") == 1
    runs = tmp_path / "runs" / "sweeps" / "small"
    for trial in ("trial1", "trial2"):
        assert summary(runs / trial, 1)["steps"] == STEPS
        losses = [row["step"] for row in logged(runs / trial, 1) if "train/loss" in row]
        assert losses == list(range(STEPS)), "one process writes, and loses nothing"
    assert "lr: 0.01\n" in (runs / "trial1" / "stage1" / "config.yaml").read_text()
    assert "lr: 0.001\n" in (runs / "trial2" / "stage1" / "config.yaml").read_text()
    sent = [row for row in seen.rows("trial1") if "val/iou" in row]
    assert sent[-1]["val/iou"] == pytest.approx(summary(runs / "trial1", 1)["best"]["val/iou"])
    assert seen.exits == {"trial1": [0]}
    models = {
        artifact["name"]: set(artifact["aliases"])
        for artifact in seen.artifacts
        if "run-" not in artifact["name"]
    }
    assert models == {"small-stage1": {"best", "latest"}}
    assert_no_key(tmp_path, output, error)
