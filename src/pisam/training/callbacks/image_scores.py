"""Every validation image in a table, and how the scores are spread."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.training.callbacks.validation_scores import ValidationScores
from pisam.training.logging.dashboard import X_AXIS, last_step
from pisam.training.logging.wandb_logger import tell_wandb
from pisam.training.resume.ranks import from_every_rank

BINS = 32


class ImageScores(Callback):
    """Logs after each validation the table `val/images` and a histogram of one score over all images.

    Args:
        scores: the callback that scores the images; it must come before this one.
        spread: the score of the histogram, `val/SCORE_histogram`.
    """

    def __init__(self, scores: ValidationScores, *, spread: str) -> None:
        self.scores = scores
        self.spread = spread

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        order = self.scores.scores.set_names
        rows = [row for rank in from_every_rank(trainer, self.scores.rows) for row in rank]
        rows.sort(key=lambda row: (order.index(row["set"]), row["image"]))
        tell_wandb(trainer, lambda run: self._log(run, rows, last_step(trainer)))

    def _log(self, run: Any, rows: list[dict[str, Any]], step: int) -> None:
        import wandb

        table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
        histogram = wandb.Histogram([row[self.spread] for row in rows], num_bins=BINS)
        run.log({"val/images": table, f"val/{self.spread}_histogram": histogram, X_AXIS: step})
