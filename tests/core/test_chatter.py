"""What other packages say by the way is quiet, and is heard with -v; what this package says always is."""

from __future__ import annotations

import logging
import warnings

import pytest

from pisam.core.chatter import LIGHTNINGS_TIPS, VERBOSE, quiet


def warned() -> list[str]:
    """The warnings that come through, out of advice and deprecations of two packages."""
    with warnings.catch_warnings(record=True) as caught:
        quiet()
        for module in ("lightning.pytorch.trainer", "torch.nn", "pisam.data"):
            for category in (UserWarning, DeprecationWarning):
                warnings.warn_explicit("x", category, f"{module}.py", 1, module=module, registry={})
        return [f"{w.filename} {w.category.__name__}" for w in caught]


def test_advice_of_others_is_quiet_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VERBOSE, raising=False)
    monkeypatch.setenv("WANDB_QUIET", "true")
    levels = {name: logging.getLogger(name).level for name in LIGHTNINGS_TIPS}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert warned() == [
                "torch.nn.py UserWarning",
                "pisam.data.py UserWarning",
                "pisam.data.py DeprecationWarning",
            ]
            assert all(logging.getLogger(name).level == logging.WARNING for name in LIGHTNINGS_TIPS)
            monkeypatch.setenv(VERBOSE, "1")
            assert len(warned()) == 6
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
