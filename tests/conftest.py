"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither use nor change what audits of this user remember."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PISAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """By tests and what they start, also where a shell that began them in the background had it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _warnings_are_logged() -> None:
    """Some library that other tests import raises the level of the root logger."""
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development inputs beside the repository: photographs, weights, parity outputs."""
    folder = Path(os.environ.get("PISAM_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"development inputs absent: no folder {folder} (set PISAM_SHARED to it)")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small model."""
    from helpers.exported import small_model, write_checkpoint

    return write_checkpoint(small_model(), tmp_path_factory.mktemp("model") / "small.ckpt")


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> Path:
    """The same model as `pisam export` writes it, with every encoder."""
    from helpers.exported import pisam

    out = checkpoint.parent / "exported"
    assert pisam("export", checkpoint, f"out={out}", "int8=true", "fp16=true") == 0
    return out
