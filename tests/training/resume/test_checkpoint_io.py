"""Checkpoints survive kills, full disks and flipped bits; hostile ones are never executed."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pisam.core.errors import PisamError
from pisam.core.files import SEAL_LENGTH, sealed, sweep_temporaries
from pisam.modeling.checkpoint import load_model, read_own_checkpoint
from pisam.training.resume import checkpoint_io
from pisam.training.resume.checkpoint_io import VerifiedCheckpointIO, newest_good, set_aside, write_checkpoint


def contents(step: int) -> dict[str, Any]:
    """What `last.ckpt` must hold, 64 KiB of it."""
    return {
        "pisam": {"backbone": "nano", "image_size": 64},
        "state_dict": {"weight": torch.full((128, 128), float(step))},
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "global_step": step,
    }


def step_of(path: Path | None) -> int:
    assert path is not None
    read = read_own_checkpoint(path)
    assert read["state_dict"]["weight"].unique().tolist() == [read["global_step"]]
    return read["global_step"]


def save_and_die(path: Path, event: int) -> None:
    """The third save of a process that is killed before or after one of the things it asks the system for."""
    write_checkpoint(contents(1), path)
    write_checkpoint(contents(2), path)
    passed = -1

    def dying(function: Callable) -> Callable:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal passed
            for moment in ("before", "after"):
                passed += 1
                if passed == event:
                    os.kill(os.getpid(), signal.SIGKILL)
                if moment == "before":
                    result = function(*arguments, **keywords)
            return result

        return call

    def in_halves(archive: memoryview) -> Iterator[memoryview]:
        data = memoryview(b"".join(sealed(archive)))
        for half in (data[: len(data) // 2], data[len(data) // 2 :]):
            yield dying(lambda: half)()  # noqa: B023

    checkpoint_io.sealed = in_halves  # type: ignore[assignment]
    for name in ("link", "replace", "fsync"):
        setattr(os, name, dying(getattr(os, name)))
    checkpoint_io.refuse_damaged = dying(checkpoint_io.refuse_damaged)  # type: ignore[assignment]
    write_checkpoint(contents(3), path)
    os._exit(0)


def test_sigkill_at_every_moment_of_a_save(tmp_path: Path) -> None:
    """Sixteen moments: around both halves of the write, the check, the link, both renames and syncs."""
    seen = []
    for event in range(40):
        folder = tmp_path / str(event)
        process = multiprocessing.get_context("fork").Process(
            target=save_and_die, args=(folder / "last.ckpt", event)
        )
        process.start()
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        path, damages = newest_good(folder)
        assert path == folder / "last.ckpt" and not damages
        seen.append(step_of(path))
        assert step_of(folder / "previous.ckpt") in (1, 2)
        sweep_temporaries(folder)
        assert {file.name for file in folder.iterdir()} == {"last.ckpt", "previous.ckpt"}
        write_checkpoint(contents(4), folder / "last.ckpt")
        assert (step_of(folder / "last.ckpt"), step_of(folder / "previous.ckpt")) == (4, seen[-1])
        assert {file.name for file in folder.iterdir()} == {"last.ckpt", "previous.ckpt"}
    assert len(seen) >= 16
    assert seen == sorted(seen) and set(seen) == {2, 3}, "the old one until the new one is complete"


def test_a_file_that_differs_from_what_was_written_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(contents(1), tmp_path / "last.ckpt")

    def flip(archive: memoryview) -> list[bytes]:
        flipped = bytearray(b"".join(sealed(archive)))
        flipped[len(flipped) // 2] ^= 1
        return [bytes(flipped)]

    monkeypatch.setattr(checkpoint_io, "sealed", flip)
    with pytest.raises(PisamError, match="damaged, its checksum does not fit"):
        write_checkpoint(contents(2), tmp_path / "last.ckpt")
    assert step_of(tmp_path / "last.ckpt") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_without_hard_links_the_previous_one_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2, 3):
        write_checkpoint(contents(step), tmp_path / "last.ckpt")
    assert (step_of(tmp_path / "last.ckpt"), step_of(tmp_path / "previous.ckpt")) == (3, 2)


def test_best_has_no_previous_one(tmp_path: Path) -> None:
    for step in (1, 2):
        write_checkpoint(contents(step), tmp_path / "best.ckpt")
    assert [file.name for file in tmp_path.iterdir()] == ["best.ckpt"]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "last byte missing": lambda data: data[:-1],
    "bit of a weight": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    ),
    "not a checkpoint": lambda data: b"hello" * 1000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_last_is_named_and_the_previous_used(tmp_path: Path, damage: str) -> None:
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for step in (1, 2):
        write_checkpoint(contents(step), last)
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    path, (message,) = newest_good(tmp_path)
    assert path == previous and step_of(path) == 1
    assert message.startswith(f"checkpoint {last}: ") and "\n" not in message
    set_aside(last)
    write_checkpoint(contents(3), last)
    assert step_of(previous) == 1, "the damaged one did not take its place"
    assert (tmp_path / "last.ckpt.damaged").is_file()
    for file in (last, previous):
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(PisamError, match=rf"{last}.*{previous}.*remove {tmp_path} to begin the stage again"):
        newest_good(tmp_path)


def test_every_flipped_byte_is_seen(tmp_path: Path) -> None:
    """Names, lengths and directory of the archive too; of the mark of the seal itself, only those matter."""
    last = tmp_path / "last.ckpt"
    write_checkpoint({**contents(1), "state_dict": {"weight": torch.ones(8)}}, last)
    data = last.read_bytes()
    mark = range(len(data) - SEAL_LENGTH, len(data) - 64)
    for position in range(0, len(data), 3):
        last.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        if position in mark:
            assert step_of(last) == 1
        else:
            with pytest.raises(PisamError, match=r"last\.ckpt: "):
                step_of(last)


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    assert newest_good(tmp_path / "absent") == (None, [])
    write_checkpoint(contents(1), tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").rename(tmp_path / "previous.ckpt")
    assert newest_good(tmp_path) == (tmp_path / "previous.ckpt", [])


def test_a_checkpoint_without_optimiser_is_none_to_resume_from(tmp_path: Path) -> None:
    write_checkpoint(
        {k: v for k, v in contents(1).items() if k != "optimizer_states"}, tmp_path / "last.ckpt"
    )
    with pytest.raises(PisamError, match="cannot be resumed from, it has no optimizer_states"):
        newest_good(tmp_path)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(params=["state_dict", "hyper_parameters", "callbacks", "everything"])
def hostile(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that executes code where it is read without care; torch is told to read so."""
    bomb = Bomb(tmp_path / "exploded")
    path = tmp_path / "last.ckpt"
    torch.save(bomb if request.param == "everything" else {**contents(1), request.param: bomb}, path)
    with zipfile.ZipFile(path) as archive:
        assert b"mkdir" in archive.read("last/data.pkl"), "the file holds the bomb"
    pickle.loads(pickle.dumps(bomb))
    (tmp_path / "exploded").rmdir()  # it does explode
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    return path


def test_hostile_checkpoint_is_refused_and_not_executed(hostile: Path) -> None:
    reads: list[Callable[[], Any]] = [
        lambda: read_own_checkpoint(hostile),
        lambda: load_model(hostile),
        lambda: newest_good(hostile.parent),
        lambda: VerifiedCheckpointIO().load_checkpoint(hostile, weights_only=False),
    ]
    for read in reads:
        with pytest.raises(PisamError, match=r"last\.ckpt: .*not a file of tensors"):
            read()
    assert not (hostile.parent / "exploded").exists()


@pytest.mark.parametrize(
    "identity",
    [
        {"backbone": "../../etc"},
        {"image_size": -64},
        {"image_size": "64"},
        {"image_size": 65},
        {"backbone": 3},
    ],
)
def test_made_up_identity_is_one_line(tmp_path: Path, identity: dict[str, Any]) -> None:
    made_up = contents(1)
    made_up["pisam"] |= identity
    write_checkpoint(made_up, tmp_path / "x.ckpt")
    with pytest.raises(PisamError, match=r"x\.ckpt: "):
        load_model(tmp_path / "x.ckpt")


def test_url_is_refused_before_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    for read in (VerifiedCheckpointIO().load_checkpoint, load_model, read_own_checkpoint):
        with pytest.raises(PisamError, match=r"checkpoint https.*: expected a local file, got a URL"):
            read("https://127.0.0.1/last.ckpt")


def test_error_of_rank_0_waits_until_all_ranks_know_it(tmp_path: Path) -> None:
    class Strategy:
        """Two ranks of which this is the first."""

        def broadcast(self, message: str | None) -> str | None:
            told.append(message)
            return message

    class TwoRanks:
        strategy = Strategy()

    told: list[str | None] = []
    (tmp_path / "file").touch()
    plugin: Any = VerifiedCheckpointIO()
    trainer = TwoRanks()
    with pytest.raises(PisamError, match="a file stands where a folder"):
        plugin.save_checkpoint(contents(1), tmp_path / "file" / "last.ckpt")
    with pytest.raises(PisamError, match="a file stands where a folder"), plugin.agreeing(trainer):
        plugin.save_checkpoint(contents(1), tmp_path / "file" / "last.ckpt")
        assert not told, "not raised yet: the others wait in the barrier of the save"
    with plugin.agreeing(trainer):
        plugin.save_checkpoint(contents(1), tmp_path / "last.ckpt")
    assert told[0] is not None and told[1] is None
