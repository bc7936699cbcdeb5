"""Other processes of a command end with it; a healthy rank says in one line that another failed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from helpers.small_runs import (
    HARD_TIMEOUT,
    SOURCE,
    command,
    on_this_machine,
    steps,
    wait_until,
    write_experiment,
    write_sets,
)
from pisam.modeling.checkpoint import checkpoint_of
from pisam.modeling.pisam import build_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2000),
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes through Linux's /proc"),
]

RANKS = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.timeout=60")
WORKERS = ("data.workers=2",)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with a checkpoint of stage 1 and pictures to evaluate for a while."""
    folder = tmp_path_factory.mktemp("left")
    write_sets(folder / "sets", {"a": 6, "b": 2, "val": 300, "other": 2})
    best = folder / "run" / "stage1" / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    torch.save(checkpoint_of(build_model("nano", image_size=64)), best)
    return write_experiment(folder, folder / "sets")


def with_others(process: subprocess.Popen[str], kind: tuple[str, ...]) -> Callable[[], bool]:
    """It has started another rank, or a process that scores."""
    word = "LOCAL_RANK=1" if kind is RANKS else "spawn_main"

    def started() -> bool:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        files = (f"/proc/{child}/{name}" for child in children for name in ("environ", "cmdline"))
        with suppress(FileNotFoundError, ProcessLookupError):  # a child of a moment
            return any(word in Path(file).read_text() for file in files)
        return False

    return started


@pytest.mark.parametrize("kind", [WORKERS, RANKS], ids=["workers", "ranks"])
@pytest.mark.parametrize(
    ("number", "to_all", "code"),
    [
        (signal.SIGTERM, False, -signal.SIGTERM),
        (signal.SIGKILL, False, -signal.SIGKILL),
        (signal.SIGINT, False, 130),
        (signal.SIGINT, True, 130),
    ],
    ids=["term", "kill", "int", "ctrl-c"],
)
def test_nothing_of_an_evaluation_outlives_it(
    experiment: Path, tmp_path: Path, kind: tuple[str, ...], number: int, to_all: bool, code: int
) -> None:
    arguments = ("evaluate", str(experiment), f"run_dir={experiment.parent / 'run'}", f"out={tmp_path / 'o'}")
    process = command(*arguments, "models=pi", *kind, start_new_session=True)
    wait_until(process, with_others(process, kind))
    (os.killpg if to_all else os.kill)(process.pid, number)
    begun = time.monotonic()
    _, error = process.communicate(timeout=HARD_TIMEOUT)  # when no process holds the pipes any more
    assert time.monotonic() - begun < on_this_machine(20)
    assert process.returncode == code, error[-3000:]
    # A child that Ctrl-C meets while Python itself starts there says so, and a scoring process that hands
    # over an array when its parent dies.
    assert kind is WORKERS or to_all or "Traceback" not in error


@pytest.mark.parametrize("to_all", [False, True], ids=["int", "ctrl-c"])
def test_ctrl_c_ends_a_training_on_two_ranks_with_130(experiment: Path, tmp_path: Path, to_all: bool) -> None:
    run = tmp_path / "run"
    arguments = ("train", str(experiment), "stage=1", *RANKS, "stage1.max_steps=2000", f"run_dir={run}")
    process = command(*arguments, start_new_session=True)
    wait_until(process, lambda: len(steps(run)) >= 2)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    begun = time.monotonic()
    _, error = process.communicate(timeout=HARD_TIMEOUT)
    assert time.monotonic() - begun < on_this_machine(20)
    assert process.returncode == 130, error[-3000:]
    assert "Traceback" not in error


def rank_of_its_own(rank: int, port: int, *arguments: str) -> subprocess.Popen[str]:
    """One of two ranks that nothing started together, and nothing ends."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    names |= {"TORCHELASTIC_RUN_ID": port, "TORCHELASTIC_RESTART_COUNT": 0, "PYTHONPATH": SOURCE}
    environment = os.environ | {name: str(value) for name, value in names.items()}
    program = [sys.executable, "-m", "pisam.cli", "train", *arguments]
    return subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_a_rank_whose_peer_fails_says_so_in_one_line(tmp_path: Path, fault: str) -> None:
    """A picture that is damaged on the second rank's node alone, or no data there at all."""
    roots = [write_sets(tmp_path / "first"), write_sets(tmp_path / "second")]
    experiment = write_experiment(tmp_path, roots[0])
    picture = roots[1] / "b" / "images" / "1.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-100] + bytes(100))  # another size would be seen before the first step
    if fault == "missing":
        roots[1] = tmp_path / "nowhere"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    arguments = (str(experiment), "stage=1", f"run_dir={tmp_path / 'run'}", *RANKS[:2], "trainer.timeout=0.5")
    ranks = [rank_of_its_own(rank, port, *arguments, f"data.root={root}") for rank, root in enumerate(roots)]
    errors = [rank.communicate(timeout=HARD_TIMEOUT)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2], errors
    assert not any("Traceback" in error for error in errors)
    first, second = (re.findall(r"^.*error: .*$", error, flags=re.MULTILINE) for error in errors)
    assert len(first) == len(second) == 1
    assert first[0].startswith("error: another rank has failed, ended or did not come, see what it says")
    assert second[0].startswith("[rank 1] error: ")
    assert str(picture if fault == "damaged" else roots[1]) in second[0]
