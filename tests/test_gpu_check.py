"""The script of `make gpu`, tried on the CPU: every block runs, and a wrong number makes it fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gpu import blocks, check
from gpu.check import Report, main
from pisam.modeling.deformable_conv import DeformableConv


@pytest.mark.slow
def test_every_block_runs_and_its_numbers_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--cpu", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    names = " ".join(one["name"] for one in found["checks"])
    for part in ("worst gradient of stage 1", "clicks that differ", "exit code of stage 2", "after a kill"):
        assert part in names
    assert [row["recipe"] for row in found["measured"] if "recipe" in row] == [
        "released fp32",
        "ours fp32",
        "ours bf16",
    ]
    assert "| nano: loss of stage 1 |" in (tmp_path / "gpu.md").read_text()


def test_a_wrong_number_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy that stands for the card gets a deformable convolution that is a little off."""
    report, right = Report("cpu", 1), DeformableConv.forward
    calls = iter(range(10**6))
    monkeypatch.setattr(
        DeformableConv, "forward", lambda self, x: right(self, x) + 0.05 * (next(calls) // 2 % 2) * x
    )
    blocks.parity(report)
    assert "nano: high-resolution logits of stage 1" in report.failed


def test_without_a_card_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_a_block_that_breaks_and_one_without_time_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(report: Report) -> None:
        raise RuntimeError("a kernel")

    monkeypatch.setattr(check, "BLOCKS", [(broken, 0.0)])
    assert main(["--cpu", "--out", str(tmp_path)]) == 1
    assert main(["--cpu", "--minutes", "-1", "--out", str(tmp_path)]) == 0
    report = Report("cpu", 1)
    report.skip("later")
    report.save(tmp_path)
    assert json.loads((tmp_path / "gpu.json").read_text())["skipped"] == ["later"]
