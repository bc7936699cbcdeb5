"""`pisam sweep` with W&B's own programs against a server of the test, which is killed amid the last trial."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from small_runs import command, logged, summary, write_experiment, write_sets
from small_sweeps import write_sweep
from wandb_stub import KEY, WandbStub, wandb_stub

TWO_RANKS = ["trainer.devices=2", "trainer.strategy=ddp"]
STEPS = 30


def environment(server: WandbStub, folder: Path) -> dict[str, str]:
    places = {"HOME": folder, "WANDB_DIR": folder, "WANDB_DATA_DIR": folder, "WANDB_CACHE_DIR": folder}
    others = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**others, **{name: str(place / "home") for name, place in places.items()}, **server.environment}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sweep_and_agent_train_on_two_ranks_and_survive_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = write_experiment(tmp_path, write_sets(tmp_path / "sets"))
    (tmp_path / "home").mkdir()
    fixed = [f"stage1.max_steps={STEPS}", "logging.mode=online", "logging.group=small", *TWO_RANKS]
    file = write_sweep(tmp_path, experiment, overrides=[*fixed, "data.batch_size=1"])
    with wandb_stub() as server:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            monkeypatch.delenv(name)
        for name, value in environment(server, tmp_path).items():
            monkeypatch.setenv(name, value)
        sweep = command("sweep", str(file), "count=2", cwd=tmp_path)
        second = tmp_path / "runs" / "sweeps" / "small" / "trial2" / "stage1" / "metrics.jsonl"
        deadline = time.monotonic() + 400
        while not (second.exists() and len(second.read_text().splitlines()) > 3):
            assert time.monotonic() < deadline, server.operations
            if sweep.poll() is not None:
                raise AssertionError((sweep.communicate(), server.operations))
            time.sleep(0.05)
        server.kill()
        output, error = sweep.communicate(timeout=400)

    assert sweep.returncode == 0, error[-3000:]
    assert "sweep someone/small-tests/sweep1" in output
    assert server.sweep["command"][-1] == "${args_no_hyphens}"
    runs = tmp_path / "runs" / "sweeps" / "small"
    for trial in ("trial1", "trial2"):
        assert summary(runs / trial, 1)["steps"] == STEPS
        losses = [row["step"] for row in logged(runs / trial, 1) if "train/loss" in row]
        assert losses == list(range(STEPS)), "one process writes, and loses nothing"
    assert "lr: 0.01\n" in (runs / "trial1" / "stage1" / "config.yaml").read_text()
    assert "lr: 0.001\n" in (runs / "trial2" / "stage1" / "config.yaml").read_text()
    sent = [row for row in server.history["trial1"] if "val/iou" in row]
    assert sent[-1]["val/iou"] == pytest.approx(summary(runs / "trial1", 1)["best"]["val/iou"])
    assert server.operations.count("UpsertSweep") == 1

    holders = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not holders, "the key is on disk"
    assert KEY not in output + error
