"""What a data set may not be called: scores of all sets' images together stand under these names."""

from __future__ import annotations

from pisam.core.errors import PisamError

POOLED = "pooled"  # among keys
ALL_IMAGES = "all images"  # among the rows of a table


def refuse_reserved(name: str, where: str) -> None:
    """Refuse a set's name that scores use otherwise.

    Args:
        name: of a data set.
        where: what gave it, for the error.

    Raises:
        PisamError: it is one of the above.
    """
    if name in (POOLED, ALL_IMAGES):
        raise PisamError(f"{where}: {name} means the images of all sets together; choose another name")
