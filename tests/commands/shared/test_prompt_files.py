"""Names in files of boxes and clicks mean the pictures that a user means by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pisam.commands.shared.prompt_files import read_boxes
from pisam.core.errors import PisamError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png", "sub/a.png"], ["a", "sub/a"]),  # as `predict` itself writes them into coco.json
        (["./a.png"], ["a"]),
        ([".\\a", "sub\\b.png"], ["a", "sub/b"]),
        (["b.png"], ["sub/b"]),
        (["a.png"], None),
        (["a", "b.png"], None),
    ],
)
def test_a_name_beside_one_with_a_folder_is_a_whole_path(
    tmp_path: Path, names: list[str], expected: list[str] | None
) -> None:
    pictures = {stem: Path(f"{stem}.png") for stem in ("a", "sub/a", "sub/b")}
    file = tmp_path / "boxes.csv"
    file.write_text("".join(f"{line}\n" for line in ["image,x0,y0,x1,y1", *(f"{n},1,2,3,4" for n in names)]))
    if expected is None:
        with pytest.raises(
            PisamError, match=r"may mean a or sub/a; give its folder too, \./a(\.png)? if none"
        ):
            read_boxes(file, pictures)
    else:
        assert list(read_boxes(file, pictures)[0]) == expected
