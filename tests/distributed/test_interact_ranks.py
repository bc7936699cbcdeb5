"""`pisam interact` on two ranks: each image once, the same files as on one."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.small_runs import HARD_TIMEOUT, command, small_config, write_sets
from pisam.commands.train import train

FILES = ("own_errors.csv", "per_image.csv", "per_image_curves.csv", "curves.csv", "clicks.json")
SETTINGS = ("interact.rounds=2", "interact.clicks=2", "interact.images=3")


@pytest.mark.slow
def test_two_ranks_write_what_one_does(tmp_path: Path) -> None:
    """Five images to search, three to click: no number divides by two."""
    config = small_config(
        tmp_path, write_sets(tmp_path / "sets"), "stage1.max_steps=1", "stage2.max_steps=3", "stage2.lr=0.1"
    )
    train(config, 1)
    train(config, 2)
    written = []
    for devices in (1, 2):
        process = command(
            "interact", str(tmp_path / "small.yaml"), f"run_dir={config.run_dir}", *SETTINGS,
            f"trainer.devices={devices}",
        )  # fmt: skip
        output, error = process.communicate(timeout=HARD_TIMEOUT)
        assert process.returncode == 0, error[-3000:]
        assert output.count("NoC@90") == 1  # one rank prints
        folder = Path(config.run_dir) / "interact"
        written.append({name: (folder / name).read_text() for name in FILES})
        masks = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
        written[-1]["masks"] = "\n".join(masks)
        for number in range(20_000):  # what takes the first rank a while to remove; the second waits for it
            (folder / "masks" / f"{number}.png").touch()
    for name in (*FILES, "masks"):
        assert written[1][name] == written[0][name], name


@pytest.mark.slow
def test_an_error_of_the_second_rank_ends_both_in_one_line(tmp_path: Path) -> None:
    config = small_config(tmp_path, write_sets(tmp_path / "sets"), "stage1.max_steps=1", "stage2.max_steps=1")
    train(config, 1)
    train(config, 2)
    image = tmp_path / "sets" / "val" / "images" / "1.jpg"  # the second image is the second rank's
    image.write_bytes(image.read_bytes()[:-100])
    process = command(
        "interact", str(tmp_path / "small.yaml"), f"run_dir={config.run_dir}", "trainer.devices=2"
    )
    _, error = process.communicate(timeout=280)
    assert process.returncode == 2 and str(image) in error
    assert "Traceback" not in error
    assert not (Path(config.run_dir) / "interact" / "summary.json").exists()
