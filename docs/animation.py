"""Draw the animated picture of the README: a box, clicks, and the mask that follows them.

    python docs/animation.py runs/quickstart/stage2/checkpoints/best.ckpt docs/clicks.gif

The picture is generated. Left: what the user sees and does. Right: what is right (white), missed and false.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from pisam import PiSamPredictor, load_model, simulate_clicks
from pisam.core.drawing import draw_clicks, error_regions, painted
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.generated.scene import make_scene
from pisam.data.generated.shapes import draw_wheel
from pisam.data.transforms import box_of

CLICKS = 8
SIDE, SEED = 256, 7  # of the picture
GAP, LINE = 8, 26  # pixels between the panels, and of the line of text below them
SHOWN_MS, LAST_MS = 900, 3000


def main(checkpoint: str, out: str) -> None:
    """Write the animation of a model's answers on one picture, and print the IoU of each."""
    image, mask = make_scene(draw_wheel, SIDE, np.random.default_rng(SEED))
    predictor, box = PiSamPredictor(load_model(checkpoint)), box_of(mask)
    predictor.set_image(image)
    frames = [frame(image, mask, None, (), None)]
    frames.append(frame(image, mask, box, (), None))
    answer = predictor.set_box(box)
    frames.append(frame(image, mask, box, (), answer))
    for _ in range(CLICKS):
        clicks = next_click(answer, mask)
        if not clicks:
            break
        frames.append(frame(image, mask, box, [*predictor.clicks, *clicks], answer))
        (x, y, label), *_ = clicks
        answer = predictor.click(x, y, foreground=bool(label))
        frames.append(frame(image, mask, box, predictor.clicks, answer))
    # One palette for all: the left panel then stays as it is, and only what changes is stored.
    palette = frames[-1].quantize(128)
    first, *others = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    durations = [SHOWN_MS] * len(others) + [LAST_MS]
    first.save(out, save_all=True, append_images=others, duration=durations, loop=0, optimize=True)


def next_click(answer: BoolArray, mask: BoolArray) -> list[tuple[float, float, int]]:
    """The deepest point of the largest error, as RITM's user clicks; none where nothing is wrong."""
    both = (torch.from_numpy(each)[None, None] for each in (answer, mask))
    return simulate_clicks(*both, seeds=[0], policy="centre", max_clicks=1).rows(0)


def frame(
    image: UInt8Array,
    mask: BoolArray,
    box: np.ndarray | None,
    clicks: list[tuple[float, float, int]] | tuple[()],
    answer: BoolArray | None,
) -> Image.Image:
    """Both panels and the line below them."""
    height, width = mask.shape
    picture = Image.new("RGB", (2 * width + GAP, height + LINE), "white")
    left = draw_clicks(Image.fromarray(image), clicks, radius=5)
    if box is not None:
        ImageDraw.Draw(left).rectangle(box.tolist(), outline=(255, 176, 0), width=2)
    picture.paste(left, (0, 0))
    text = "a picture" if box is None else "a box"
    if answer is not None:
        right = painted(error_regions(answer, mask))
        picture.paste(draw_clicks(Image.fromarray(right), clicks, radius=5), (width + GAP, 0))
        iou = (answer & mask).sum() / (answer | mask).sum()
        text = f"{len(clicks)} clicks, IoU {iou:.2f}" if clicks else f"the box alone, IoU {iou:.2f}"
        print(text)
    font = ImageFont.load_default(size=16)
    ImageDraw.Draw(picture).text((0, height + 4), text, fill="black", font=font)
    return picture


if __name__ == "__main__":
    main(*sys.argv[1:])
