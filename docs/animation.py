"""Draw the animated picture of the README: a box, clicks, and the mask that follows them.

    python docs/animation.py MODEL docs/clicks.gif

MODEL is a checkpoint of ours, whose SAM lies in the folder PISAM_WEIGHTS. Of the generated pictures that
`pisam demo` offers it takes the one on which clicks gain most. Left: what the user sees and does. Right: what
is right (white), missed and false.
"""

from __future__ import annotations

import sys

import torch
from PIL import Image, ImageDraw, ImageFont

from pisam import PiSamPredictor, load_model, simulate_clicks
from pisam.core.drawing import draw_clicks, error_regions, painted
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.generated.samples import NAMES, sample
from pisam.data.transforms import box_of

CLICKS = 8
WIDTH = 800
GAP, LINE = 12, 44  # pixels between the panels, and of the line of text below them
SHOWN_MS, LAST_MS = 900, 3000

Click = tuple[float, float, int]
Answers = list[tuple[list[Click], BoolArray, float]]


def main(model: str, out: str) -> None:
    """Write the animation, and print the IoU before and after the clicks on each picture."""
    predictor = PiSamPredictor(load_model(model))
    best: tuple[float, int, Answers] = (-1.0, 0, [])
    for number, name in enumerate(NAMES):
        answers = answers_on(predictor, *sample(number))
        before, after = answers[0][2], answers[-1][2]
        print(f"{name}: IoU {before:.3f} from the box, {after:.3f} after {len(answers) - 1} clicks")
        best = max(best, (after - before, number, answers), key=lambda each: each[0])
    _, number, answers = best
    frames = frames_of(*sample(number), answers)
    # One palette for all: the left panel then stays as it is, and only what changes is stored.
    palette = frames[-1].quantize(128)
    first, *others = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    durations = [SHOWN_MS] * len(others) + [LAST_MS]
    first.save(out, save_all=True, append_images=others, duration=durations, loop=0, optimize=True)


def answers_on(predictor: PiSamPredictor, image: UInt8Array, mask: BoolArray) -> Answers:
    """Clicks so far, mask and IoU, from the box on; a click is at the deepest point of the largest error."""
    predictor.set_image(image)
    answers = [([], predictor.set_box(box_of(mask)))]
    while len(answers) <= CLICKS:
        both = (torch.from_numpy(each)[None, None] for each in (answers[-1][1], mask))
        click = simulate_clicks(*both, seeds=[0], policy="centre", max_clicks=1).rows(0)
        if not click:
            break
        x, y, label = click[0]
        answers.append(([*answers[-1][0], (x, y, label)], predictor.click(x, y, foreground=bool(label))))
    return [
        (clicks, answer, float((answer & mask).sum() / (answer | mask).sum())) for clicks, answer in answers
    ]


def frames_of(image: UInt8Array, mask: BoolArray, answers: Answers) -> list[Image.Image]:
    """The picture, its box, and for each answer the clicks before it and the mask after them."""
    box = box_of(mask).tolist()
    frames = [frame(image, None, [], None, "a picture"), frame(image, box, [], None, "a box")]
    shown = None
    for clicks, answer, iou in answers:
        if shown is not None:
            frames.append(frame(image, box, clicks, shown, "a click"))
        shown = painted(error_regions(answer, mask))
        text = f"clicks: {len(clicks)}" if clicks else "the box alone"
        frames.append(frame(image, box, clicks, shown, f"{text}, IoU {iou:.2f}"))
    return frames


def frame(
    image: UInt8Array, box: list[float] | None, clicks: list[Click], regions: UInt8Array | None, text: str
) -> Image.Image:
    """Both panels and the line below them."""
    height, width = image.shape[:2]
    picture = Image.new("RGB", (2 * width + GAP, height + LINE), "white")
    left = draw_clicks(Image.fromarray(image), clicks, radius=9)
    if box is not None:
        ImageDraw.Draw(left).rectangle(box, outline=(255, 176, 0), width=3)
    picture.paste(left, (0, 0))
    if regions is not None:
        picture.paste(draw_clicks(Image.fromarray(regions), clicks, radius=9), (width + GAP, 0))
    font = ImageFont.load_default(size=28)
    ImageDraw.Draw(picture).text((0, height + 6), text, fill="black", font=font)
    return picture.resize((WIDTH, picture.height * WIDTH // picture.width))


if __name__ == "__main__":
    main(*sys.argv[1:])
