"""The scores that the validations of a run will have, known before its data are looked for."""

from __future__ import annotations

from pisam.config.schema import Config, stage_config
from pisam.core.errors import PisamError, nearest
from pisam.core.score_names import SEGMENTATION, of_interaction, with_sets
from pisam.data.sources.rows import names_of

MONITOR = {1: "val/iou", 2: "val/iou_after"}


def refuse_no_score(name: str, config: Config, number: int, where: str) -> None:
    """Refuse what no validation of stage 1 or 2 gives.

    Args:
        name: such as `val/iou`.
        where: begins the error message.

    Raises:
        PisamError: there is no such score; names the nearest, and lists them.
    """
    sets = names_of(config.data.val)
    scores = with_sets(sets, SEGMENTATION) if number == 1 else of_interaction(sets)
    names = [f"val/{score}" for score in scores]
    if name not in names:
        raise PisamError(f"{where}: no score {name}{nearest(name, names)}; there are {', '.join(names)}")


def monitored(config: Config, number: int) -> str:
    """The score that makes a validation of the stage the best.

    Raises:
        PisamError: no validation gives it.
    """
    monitor = stage_config(config, number).monitor or MONITOR[number]
    refuse_no_score(monitor, config, number, f"stage{number}.monitor")
    return monitor
