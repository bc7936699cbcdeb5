"""Models of all kinds enter, go on where they were ended, and nothing they do instead is averaged in."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.odd_files import palette
from pisam import cli
from pisam.commands.benchmark import benchmark
from pisam.core.errors import PisamError
from pisam.core.lock import holding
from pisam.data.sources.rows import Source, resolve_source
from pisam.evaluation.benchmark.entrant import WrongAnswer
from pisam.evaluation.benchmark.entrants import EngineEntrant, MaskFolder
from pisam.evaluation.benchmark.interaction_file import read_interaction
from pisam.evaluation.benchmark.other_sams import OnnxSam, TransformersSam
from pisam.evaluation.benchmark.record import ClickProtocol, Failure

PROTOCOL = ClickProtocol(clicks=4)
MODEL = '''
import numpy as np

class Mine:
    """Object within a square around each click."""
    facts = {"reach": REACH, "rate": np.float32(0.5)}

    def encode(self, image):
        self.size = image.shape[:2]
        self.bright = image[0, 0, 0]

    def answer(self, prompt, clicks, previous):
        WRONG
        logits = np.full(self.size, -1.0)
        for x, y, label in clicks:
            x, y = int(x), int(y)
            logits[max(0, y - REACH) : y + REACH, max(0, x - REACH) : x + REACH] = 1 if label else -1
        return logits
'''


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Four images with a rectangle each, the first pixel telling which."""
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for number in range(4):
        pixels, mask = np.full((30, 40, 3), number, np.uint8), np.zeros((30, 40), np.uint8)
        mask[5 : 15 + number, 8 : 20 + 2 * number] = 255
        Image.fromarray(pixels).save(tmp_path / f"data/images/{number}.png")
        Image.fromarray(mask).save(tmp_path / f"data/masks/{number}.png")
    return Source("four", tmp_path / "data/images", tmp_path / "data/masks")


def write_model(folder: Path, reach: int = 6, wrong: str = "pass", name: str = "mine.py") -> str:
    (folder / name).write_text(MODEL.replace("REACH", str(reach)).replace("WRONG", wrong))
    return f"{folder / name}:Mine"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def enter(source: Source, out: Path, *models: str, **options: Any) -> int:
    return benchmark(models, [source], options.pop("protocol", PROTOCOL), out, **options)


def without_times(path: Path) -> Any:
    content = json.loads(path.read_text())
    return [{**image, "seconds": len(image["seconds"])} for image in content.pop("images")], content


def test_two_runs_give_identical_files_but_for_times(source: Source, tmp_path: Path) -> None:
    model = write_model(tmp_path)
    assert enter(source, tmp_path / "one", model) == enter(source, tmp_path / "two", model, workers=2) == 0
    one, two = tmp_path / "one/Mine.json", tmp_path / "two/Mine.json"
    assert without_times(one) == without_times(two)
    record = read_interaction(one)
    assert record.status == "complete" and [image.image for image in record.images] == list("0123")
    # NumPy's numbers are plain, too; the file's hash says which state of it answered.
    assert record.model == {
        "name": "Mine",
        "reach": 6,
        "rate": 0.5,
        "code_sha256": sha256(tmp_path / "mine.py"),
    }


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("return np.full(self.size, np.nan)", "answered NaN"),
        ("return np.zeros((3, 3))", "answered shape (3, 3), expected (30, 40)"),
        ("return None", "answered nothing"),
        ("raise RuntimeError('no memory')", "RuntimeError: no memory"),
        ("raise SystemExit('usage')", "SystemExit: usage"),
        ("raise GeneratorExit", "GeneratorExit:"),
        ("raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})", "Mute"),
        ("while True: pass", "took longer than 0.3 s"),
    ],
)
def test_what_is_no_answer_fails_the_image_by_name(
    source: Source, tmp_path: Path, wrong: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded = f"if self.bright == 2 and len(clicks) == 2: {wrong}"
    guarded = guarded.replace(": while", ":\n            while")
    assert enter(source, tmp_path / "out", write_model(tmp_path, wrong=guarded), limit=0.3) == 1
    record = read_interaction(tmp_path / "out/Mine.json")
    assert record.status == "partial" and [image.image for image in record.images] == list("013")
    (failure,) = record.failed
    assert (failure.image, failure.reason) == ("2", reason)
    printed = capsys.readouterr().out
    assert f"Mine: no scores for four/2: {reason}" in printed and "partial: " in printed


def test_a_model_may_go_to_another_folder(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path, wrong="import os; os.chdir('/')")
    folders = ["images=data/images", "masks=data/masks", "out=out"]
    assert cli.main(["benchmark", "models=mine.py:Mine", "clicks=2", *folders]) == 0
    assert len(read_interaction(tmp_path / "out/Mine.json").images) == 4


def test_a_name_that_no_file_can_have_is_refused_before_anything_is_asked(
    source: Source, tmp_path: Path
) -> None:
    write_model(tmp_path)
    text = (tmp_path / "mine.py").read_text().replace("class Mine:", "class Mine:\n    name = 'x' * 300")
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(PisamError, match="at most 200 bytes"):
        enter(source, tmp_path / "out", f"{tmp_path / 'mine.py'}:Mine")
    assert not (tmp_path / "out").exists()


def test_the_same_command_goes_on_where_it_was_ended(source: Source, tmp_path: Path) -> None:
    stop, asked = tmp_path / "stop", tmp_path / "asked.txt"
    model = write_model(
        tmp_path,
        wrong=f"""
        if self.bright == 2 and __import__("os").path.exists({str(stop)!r}): raise KeyboardInterrupt
        with open({str(asked)!r}, "a") as file: file.write(f"{{self.bright}}")""",
    )
    stop.touch()
    with pytest.raises(KeyboardInterrupt):
        enter(source, tmp_path / "out", model)
    assert len(read_interaction(tmp_path / "out/Mine.json").images) == 2
    stop.unlink()
    asked.unlink()
    assert enter(source, tmp_path / "out", model) == 0
    assert set(asked.read_text()) == {"2", "3"}
    enter(source, tmp_path / "whole", model)
    assert without_times(tmp_path / "out/Mine.json") == without_times(tmp_path / "whole/Mine.json")


def test_results_of_another_protocol_or_model_are_left_alone(source: Source, tmp_path: Path) -> None:
    enter(source, tmp_path / "out", write_model(tmp_path))
    before = (tmp_path / "out/Mine.json").read_bytes()
    with pytest.raises(PisamError, match=r"another protocol \(clicks\); delete it, or give another out=DIR"):
        enter(source, tmp_path / "out", write_model(tmp_path), protocol=ClickProtocol(clicks=5))
    with pytest.raises(PisamError, match=r"holds results of another model \(reach, code_sha256\)"):
        enter(source, tmp_path / "out", write_model(tmp_path, reach=7))
    with pytest.raises(PisamError, match=r"holds results of another model \(code_sha256\)"):
        enter(source, tmp_path / "out", write_model(tmp_path, wrong="clicks = clicks[-1:]"))
    content = json.loads(before)
    content["versions"]["numpy"] = "1.0"
    (tmp_path / "out/Mine.json").write_text(json.dumps(content))
    with pytest.raises(PisamError, match=r"holds results of other versions \(numpy\)"):
        enter(source, tmp_path / "out", write_model(tmp_path))
    (tmp_path / "out/Mine.json").write_bytes(before)
    enter(source, tmp_path / "out", write_model(tmp_path))
    assert (tmp_path / "out/Mine.json").read_bytes() == before


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("{'weights': [1, 2]}", "Mine: facts: 'weights': expected .*, got list"),
        ("{'note': 'two\\nlines'}", "'note': .*got str"),
        ("{'rate': np.float32('nan')}", "'rate': .* a finite number, .*got float"),
        ("{5: 6}", "facts: 5: expected"),
        ("{'weights': np.ones(3)}", "'weights': .*got ndarray"),
        ("[('size', 3)]", "'facts': .*got list"),
        ("{f'key {number}': number for number in range(200)}", "expected at most 100, got 202"),
    ],
)
def test_what_a_model_says_of_itself_and_no_file_can_hold_is_refused_by_name(
    source: Source, tmp_path: Path, facts: str, message: str
) -> None:
    model = write_model(tmp_path)
    text = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace('{"reach": 6, "rate": np.float32(0.5)}', facts))
    with pytest.raises(PisamError, match=message):
        enter(source, tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


def test_a_model_may_import_what_lies_beside_it_and_be_a_dataclass(source: Source, tmp_path: Path) -> None:
    (tmp_path / "beside_mine.py").write_text("class Base:\n    beside = True\n")
    model = write_model(tmp_path)
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\nimport beside_mine\n"
    made = "@dataclass\nclass Mine(beside_mine.Base):\n    depth: int = 3"
    text = (tmp_path / "mine.py").read_text().replace("class Mine:", made)
    (tmp_path / "mine.py").write_text(head + text)
    assert enter(source, tmp_path / "out", model) == 0


def test_a_model_that_paints_on_its_image_spoils_it_for_nobody(source: Source, tmp_path: Path) -> None:
    write_model(tmp_path, wrong="self.image[:] = 99", name="other.py")
    text = (tmp_path / "other.py").read_text().replace("class Mine", "class Other")
    text = text.replace("self.bright = image", "self.image = image\n        self.bright = image")
    (tmp_path / "other.py").write_text(text)
    looks = write_model(tmp_path, wrong="assert self.bright < 4")
    assert enter(source, tmp_path / "both", f"{tmp_path / 'other.py'}:Other", looks) == 0


def test_names_that_no_file_can_hold_are_refused(source: Source, tmp_path: Path) -> None:
    for folder in (source.images, source.masks):
        (folder / "0.png").rename(folder / "two\nlines.png")
    with pytest.raises(PisamError, match=r"two\\nlines.*rename it"):
        enter(source, tmp_path / "out", write_model(tmp_path))


def test_images_that_changed_or_are_missing_are_named(source: Source, tmp_path: Path) -> None:
    enter(source, tmp_path / "out", write_model(tmp_path))
    like = read_interaction(tmp_path / "out/Mine.json")
    mask = np.asarray(Image.open(source.masks / "1.png")).copy()
    mask[0, 0] = 255
    Image.fromarray(mask).save(source.masks / "1.png")
    with pytest.raises(PisamError, match="the mask of four/1 changed since"):
        enter(source, tmp_path / "out", write_model(tmp_path))
    with pytest.raises(PisamError, match="the mask of four/1 changed since"):
        enter(source, tmp_path / "new", write_model(tmp_path), like=like)
    for part in (source.images, source.masks):
        (part / "1.png").unlink()
    with pytest.raises(PisamError, match="its image four/1 is not among the images here"):
        enter(source, tmp_path / "new", write_model(tmp_path), like=like)


def test_masks_that_another_program_saved_score_as_its_answers(source: Source, tmp_path: Path) -> None:
    """The folder of a model's own masks gives its own file; a missing mask fails its image."""
    saver = f'''
        from PIL import Image
        from pathlib import Path
        folder = Path({str(tmp_path / "saved")!r}) / "four" / str(self.bright)
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{{len(clicks):02d}}.png"'''
    file = tmp_path / "mine.py"
    model = write_model(tmp_path, wrong=saver)
    file.write_text(
        file.read_text().replace(
            "return logits",
            "self.file.exists() or Image.fromarray(np.uint8(255) * (logits > 0)).save(self.file)\n"
            "        return logits",
        )
    )
    enter(source, tmp_path / "out", model)
    assert enter(source, tmp_path / "out", f"masks:{tmp_path / 'saved'}") == 0
    mine, saved = (read_interaction(tmp_path / f"out/{name}.json") for name in ("Mine", "saved"))
    for one, other in zip(mine.images, saved.images, strict=True):
        assert (one.clicks, one.iou, one.biou) == (other.clicks, other.iou, other.biou)
        assert not {"labels_exchanged", "random_places", "spoilt"} & other.controls.keys()
        assert other.controls["obeyed"] == one.controls["obeyed"]
    (tmp_path / "saved/four/3/02.png").unlink()
    with pytest.raises(PisamError, match=r"holds results of another model \(sha256\)"):
        enter(source, tmp_path / "out", f"masks:{tmp_path / 'saved'}")
    assert enter(source, tmp_path / "less", f"masks:{tmp_path / 'saved'}") == 1
    (failure,) = read_interaction(tmp_path / "less/saved.json").failed
    assert (failure.image, failure.reason) == ("3", "has no mask 2.png")


@pytest.mark.parametrize("kind", ["0/1", "0/255", "palette", "cut-out"])
def test_saved_masks_are_read_as_any_masks_are(tmp_path: Path, kind: str) -> None:
    mask = np.zeros((8, 9), np.uint8)
    mask[2:5, 3:7] = 1
    picture = {
        "0/1": Image.fromarray(mask),
        "0/255": Image.fromarray(mask * 255),
        "palette": palette(mask, [0, 0, 0, 128, 0, 0]),
        "cut-out": Image.fromarray(np.dstack([mask + 60, mask * 255]), "LA"),
    }[kind]
    (tmp_path / "S/a").mkdir(parents=True)
    picture.save(tmp_path / "S/a/0.png")
    folder = MaskFolder(tmp_path)
    folder.begin("S", "a")
    np.testing.assert_array_equal(folder.answer(None, np.zeros((0, 3)), None) > 0, mask > 0)


@pytest.mark.parametrize(
    ("file", "value", "message"),
    [
        ("1.png", 7, r"^1\.png: values reach 7 of 255"),
        ("01.png", 255, "two masks of one number, 01.png and 1.png"),
    ],
)
def test_saved_masks_that_may_mean_two_things_are_no_answer(
    tmp_path: Path, file: str, value: int, message: str
) -> None:
    (tmp_path / "S/a").mkdir(parents=True)
    for name in ("1.png", file):
        Image.fromarray(np.full((8, 9), value, np.uint8)).save(tmp_path / "S/a" / name)
    folder = MaskFolder(tmp_path)
    with pytest.raises(WrongAnswer, match=message):
        folder.begin("S", "a")
        folder.answer(None, np.zeros((1, 3)), None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mine", "got mine, expected sam, .*FILE.py:CLASS"),
        ("pi", "pi is one of an experiment's"),
        ("{tmp}/absent.py:Mine", "no file .*absent.py"),
        ("{tmp}/mine.py:Yours", "has no class Yours; it has Mine"),
        ("{tmp}/broken.py:Mine", "broken.py:2: ZeroDivisionError"),
        ("{tmp}/half.py:Mine", "half.py:Mine has no method answer"),
        ("{tmp}/ends.py:Mine", "ends.py:2: SystemExit: 3"),
        ("masks:{tmp}/absent", "no such folder"),
        ("transformers:{tmp}/absent", "^models: transformers:.*absent: no such folder$"),
        ("onnx+mask:absent", "^models: onnx.mask:absent: no such folder$"),
        ("onnx:{tmp}", "not readable: .*encoder.onnx"),
        ("https://example.org/model.py:Mine", "expected a local file, got a URL|got https"),
    ],
)
def test_a_model_that_cannot_enter_is_told_in_one_line(
    source: Source, tmp_path: Path, model: str, message: str
) -> None:
    write_model(tmp_path)
    (tmp_path / "broken.py").write_text("\n1 / 0\n")
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "half.py").write_text("class Mine:\n    def encode(self, image): ...\n")
    with pytest.raises(PisamError, match=message) as error:
        enter(source, tmp_path / "out", model.format(tmp=tmp_path))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("adapter", [EngineEntrant, MaskFolder, OnnxSam, TransformersSam])
def test_adapters_are_short_enough_to_be_copied(adapter: type) -> None:
    assert len(inspect.getsource(adapter).splitlines()) <= 50


def test_fewer_images_than_a_published_set_has_are_partial(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "GrabCut"
    folder.mkdir()
    source.images.rename(folder / "data_GT")
    source.masks.rename(folder / "boundary_GT")
    grabcut = resolve_source("GrabCut", tmp_path)
    mask = np.asarray(Image.open(grabcut.masks / "0.png")).copy()
    mask[0:8] = 128  # RITM leaves these pixels out
    Image.fromarray(mask).save(grabcut.masks / "0.png")
    assert enter(grabcut, tmp_path / "out", write_model(tmp_path)) == 1
    record = read_interaction(tmp_path / "out/Mine.json")
    assert record.sets == {"GrabCut": 50} and len(record.images) == 4
    assert all(y >= 8 for _, y, _ in record.images[0].clicks)
    assert "4 of 50 images of GrabCut" in capsys.readouterr().out


def test_the_command_line_enters_a_model_and_shows_the_leaderboard(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [f"images={source.images}", f"masks={source.masks}", f"out={tmp_path / 'out'}", "set=four"]
    one, other = write_model(tmp_path), write_model(tmp_path, 9, name="other.py")
    text = (tmp_path / "other.py").read_text().replace("class Mine", "class Other")
    (tmp_path / "other.py").write_text(text)
    models = f"models=[{one},{other.replace('Mine', 'Other')}]"
    assert cli.main(["benchmark", *folders, models, "clicks=4", "user=human", "seed=2"]) == 0
    assert "NoC@90" in capsys.readouterr().out
    record = read_interaction(tmp_path / "out/Other.json")
    assert record.protocol == ClickProtocol(user="human", clicks=4, seed=2)
    files = [str(tmp_path / "out/Mine.json"), str(tmp_path / "out/Other.json")]
    assert cli.main(["leaderboard", *files, f"out={tmp_path / 'page'}"]) == 0
    assert (tmp_path / "page/index.html").is_file()
    again = [*folders[:2], f"out={tmp_path / 'again'}", "set=four"]
    assert cli.main(["benchmark", *again, f"models=[{one}]", f"like={files[0]}"]) == 0
    assert without_times(tmp_path / "again/Mine.json") == without_times(tmp_path / "out/Mine.json")
    for wrong, message in (
        (["clicks=none"], "clicks=none"),
        (["prompt=scribble"], "prompt"),
        (["clicks=0"], "clicks: expected a whole number from 1 to 1000"),
        (["quickstart"], "give an experiment, or images=DIR masks=DIR, not both"),
        (["jitter=12:30"], "jitter=12:30: expected a number"),
        (["jitter=nan"], "jitter=nan: expected a number"),
        (["limit=-1"], "limit=-1: expected seconds, more than 0"),
        (["limit=1e12"], "limit=1e12: expected seconds, more than 0, at most 1000000"),
    ):
        assert cli.main(["benchmark", *folders, f"models=[{one}]", *wrong]) == 2
        assert message in capsys.readouterr().err


def test_a_set_is_named_like_a_folder_and_two_at_once_are_refused(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"images={source.images}", f"masks={source.masks}", f"out={tmp_path / 'out'}"]
    given.append(f"models=masks:{source.masks}")
    assert cli.main(["benchmark", *given, "set=.."]) == 2
    assert "benchmark: set: name is '..'" in capsys.readouterr().err
    with holding(tmp_path / "out"):
        assert cli.main(["benchmark", *given]) == 2
    assert "out: in use by process" in capsys.readouterr().err


def void(source: Source) -> None:
    """Give the first mask eight rows of value 128."""
    mask = np.asarray(Image.open(source.masks / "0.png")).copy()
    mask[:8] = 128
    Image.fromarray(mask).save(source.masks / "0.png")


def test_a_known_set_in_folders_of_ones_own_ignores_what_it_always_ignores(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    void(source)
    given = [
        f"images={source.images}",
        f"masks={source.masks}",
        f"models={write_model(tmp_path)}",
        "clicks=4",
    ]

    def clicks(out: str, *more: str) -> Any:
        assert cli.main(["benchmark", *given, f"out={tmp_path / out}", *more]) == 0
        record = read_interaction(tmp_path / out / "Mine.json")
        return record.ignore, [y for _, y, _ in record.images[0].clicks]

    ignore, known = clicks("known", "set=GrabCut")
    assert ignore == {"GrabCut": 128} and min(known) >= 8
    ignore, counted = clicks("counted", "set=GrabCut", "ignore=false")
    assert ignore == {} and min(counted) < 8
    assert clicks("own", "set=own", "ignore=128") == ({"own": 128}, known)
    assert cli.main(["benchmark", *given, f"out={tmp_path / 'own'}", "set=own", "ignore=0"]) == 2
    assert "ignore=0: expected the value of ignored mask pixels" in capsys.readouterr().err
    assert cli.main(["benchmark", "quickstart", "ignore=128"]) == 2
    assert "ignore= goes with images=DIR masks=DIR" in capsys.readouterr().err


def test_results_of_another_ignored_value_are_left_alone(source: Source, tmp_path: Path) -> None:
    void(source)
    model, ignoring = write_model(tmp_path), replace(source, ignore=128)
    enter(ignoring, tmp_path / "out", model)
    with pytest.raises(PisamError, match=r"holds results of other ignored values \(four\)"):
        enter(replace(source, ignore=-1), tmp_path / "out", model)
    like = read_interaction(tmp_path / "out/Mine.json")
    with pytest.raises(PisamError, match="ignores the mask value 128, here None; give ignore="):
        enter(source, tmp_path / "new", model, like=like)
    assert enter(ignoring, tmp_path / "new", model, like=like) == 0


def test_a_file_like_a_partial_one_is_no_more_complete(source: Source, tmp_path: Path) -> None:
    """An image that another model failed on is asked about, one that it was not asked about is not."""
    model = write_model(tmp_path)
    enter(source, tmp_path / "out", model)
    like = read_interaction(tmp_path / "out/Mine.json")
    like.images, like.failed = like.images[:2], [Failure("four", "2", "no memory")]
    assert enter(source, tmp_path / "new", model, like=like) == 1
    record = read_interaction(tmp_path / "new/Mine.json")
    assert record.status == "partial" and [image.image for image in record.images] == list("012")


def test_a_file_like_one_of_fewer_sets_names_those_alone(source: Source, tmp_path: Path) -> None:
    model, other = write_model(tmp_path), replace(source, name="other")
    enter(source, tmp_path / "out", model)
    like = read_interaction(tmp_path / "out/Mine.json")
    assert benchmark([model], [other, source], PROTOCOL, tmp_path / "new", like=like) == 0
    assert read_interaction(tmp_path / "new/Mine.json").sets == {"four": 4}
    with pytest.raises(PisamError, match="its set is called four, here other; give set=four"):
        enter(other, tmp_path / "no", model, like=like)


def test_results_of_other_images_of_as_many_are_refused_by_name(source: Source, tmp_path: Path) -> None:
    model = write_model(tmp_path)
    enter(source, tmp_path / "out", model)
    one, two = (read_interaction(tmp_path / "out/Mine.json") for _ in range(2))
    one.images, two.images = one.images[:2], two.images[2:]
    one.sets = two.sets = {"four": 2}
    enter(source, tmp_path / "new", model, like=one)
    with pytest.raises(PisamError, match=r"Mine\.json: its image four/0 is not among the images here"):
        enter(source, tmp_path / "new", model, like=two)


def test_a_band_of_boundary_iou_that_is_not_measured_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"boundary_dilation_ratio is 0\.05; boundary IoU is of 0\.02 alone"):
        other = replace(PROTOCOL, boundary_dilation_ratio=0.05)
        enter(source, tmp_path / "out", write_model(tmp_path), protocol=other)


def test_masks_without_image_and_what_lies_beside_the_images_are_told(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source.images / "2.png").unlink()
    (source.images / "more").mkdir()
    assert enter(source, tmp_path / "out", write_model(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert f"{source.masks}: 1 masks without image left out (2.png)" in printed
    assert f"{source.images}: 1 subfolders left out" in printed


def test_a_long_list_of_models_is_no_path(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [f"images={source.images}", f"masks={source.masks}", f"out={tmp_path / 'out'}", "clicks=1"]
    for number in range(12):
        file = tmp_path / f"model_{number:030}.py"
        write_model(tmp_path, name=file.name)
        file.write_text(file.read_text().replace("class Mine", f"class Mine{number}"))
    models = ",".join(f"model_{number:030}.py:Mine{number}" for number in range(12))
    assert cli.main(["benchmark", *given, f"models={models}"]) == 0
