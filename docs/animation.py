"""Draw the animated picture of the README: boxes, clicks, and the masks that follow them.

    python docs/animation.py docs/quickstart.jpg docs/clicks.gif

The first picture holds what stage 2 keeps in RUN_DIR/stage2/pictures, one below the other: image, true mask,
and the mask before and after the clicks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pisam.core.drawing import BACKGROUND_CLICK, FOREGROUND_CLICK
from pisam.data.transforms import box_of

GAP = 4  # pixels between panels, and between strips
SHARE = 0.9  # of the panels' size
LINE = 30  # pixels of text below
STATES = {
    "boxes": 900,
    "masks of the boxes, and clicks where they are wrong": 2200,
    "masks after the clicks": 2600,
}
BOX = (255, 176, 0)


def main(strips: str, out: str) -> None:
    """Write an animation of three frames: one per state, for all objects at once."""
    objects = list(panels(Image.open(strips).convert("RGB")))
    frames = [frame(objects, state) for state in range(len(STATES))]
    # One palette for all frames, so that only what changes is stored; the clicks' few pixels must be in it.
    source = frames[-1].copy()
    for number, colour in enumerate((FOREGROUND_CLICK, BACKGROUND_CLICK, BOX)):
        source.paste(colour, (80 * number, source.height - LINE, 80 * number + 80, source.height))
    palette = source.quantize(256)
    first, *others = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    first.save(
        out, save_all=True, append_images=others, duration=list(STATES.values()), loop=0, optimize=True
    )


def panels(strips: Image.Image) -> Iterator[list[Image.Image]]:
    """The four panels of each strip, the box of the true mask drawn on the image."""
    side = (strips.width - 3 * GAP) // 4
    for top in range(0, strips.height, side + GAP):
        lefts = range(0, strips.width, side + GAP)
        image, mask, before, after = (strips.crop((x, top, x + side, top + side)) for x in lefts)
        box = box_of(np.asarray(mask.convert("L")) > 127)
        ImageDraw.Draw(image).rectangle(box.tolist(), outline=BOX, width=2)
        yield [image, mask, before, after]


def frame(objects: list[list[Image.Image]], state: int) -> Image.Image:
    """All objects in a state, two in a row, and the line below them."""
    side = objects[0][0].width
    across, down = 4 * (side + GAP) - GAP, -(-len(objects) // 2) * (side + GAP)
    picture = Image.new("RGB", (across, down), "white")
    for number, (image, _, before, after) in enumerate(objects):
        left, top = number % 2 * 2 * (side + GAP), number // 2 * (side + GAP)
        picture.paste(image, (left, top))
        shown = (Image.new("RGB", (side, side)), before, after)[state]
        picture.paste(shown, (left + side + GAP, top))
    picture = picture.resize((round(across * SHARE), round(down * SHARE)))
    whole = Image.new("RGB", (picture.width, picture.height + LINE), "white")
    whole.paste(picture, (0, 0))
    font = ImageFont.load_default(size=20)
    ImageDraw.Draw(whole).text((0, picture.height + 2), list(STATES)[state], fill="black", font=font)
    return whole


if __name__ == "__main__":
    main(*sys.argv[1:])
