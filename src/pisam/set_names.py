"""What a data set may be called: scores of `pooled` are those of all sets' images together."""

from __future__ import annotations

from pisam.errors import PisamError

POOLED = "pooled"


def refuse_reserved(name: str, where: str) -> None:
    """Refuse a set's name that scores use otherwise.

    Args:
        name: of a data set.
        where: what gave it, for the error.

    Raises:
        PisamError: it is `POOLED`.
    """
    if name == POOLED:
        raise PisamError(f"{where}: {POOLED} means the images of all sets together; choose another name")
