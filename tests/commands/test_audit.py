"""The verb: its table, its file and its exit code."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.small_runs import write_experiment, write_sets
from pisam import cli
from pisam.commands.audit import write_findings
from pisam.data.audit.audit import Audit, Finding
from pisam.data.sources.known_sets import GROUPS, KNOWN_SETS

VAL = "data.val=[{name: val, images: val/images, masks: val/masks}]"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sets(tmp_path / "sets")


def run(folder: Path, root: Path, *overrides: str) -> tuple[int, list[dict[str, str]]]:
    code = cli.main(["audit", str(write_experiment(folder, root)), f"run_dir={folder / 'run'}", *overrides])
    with (folder / "run" / "audit.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == ["source", "image", "mask", "problem"]
        return code, list(reader)


def test_good_data_exits_with_0(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, root) == (0, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["part", "source", "pairs"]
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["train", "a", "6"],
        ["train", "b", "2"],
        ["val", "val", "3"],
        ["val", "other", "2"],
    ]


def test_each_part_is_audited_and_errors_exit_with_1(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "b/masks/1.png").unlink()
    (root / "val/images/0.jpg").write_bytes(b"<html>")
    shutil.copytree(root / "other", root / "held_out")
    (root / "held_out/masks/1.png").write_bytes(b"")
    rows = "[{name: held_out, images: held_out/images, masks: held_out/masks}, DIS5K-TE1]"
    code, found = run(
        tmp_path, root, "data.val=[{name: val, images: val/images, masks: val/masks}]", f"data.test={rows}"
    )
    assert code == 1
    assert [(row["source"], Path(row["image"]).name, Path(row["mask"]).name) for row in found] == [
        ("DIS5K-TE1", "", ""),
        ("b", "1.jpg", ""),
        ("val", "0.jpg", "0.png"),
        ("held_out", "1.jpg", "1.png"),
    ]
    assert "DIS5K/DIS-TE1/im" in found[0]["problem"]
    out = capsys.readouterr().out
    assert all(row["problem"] in out for row in found)


def test_leak_exits_with_1_and_a_note_with_0(tmp_path: Path, root: Path) -> None:
    shutil.copy(root / "a/images/0.jpg", root / "a/images/1.jpg")
    shutil.copy(root / "a/masks/0.png", root / "a/masks/1.png")
    code, (row,) = run(tmp_path, root)
    assert code == 0 and row["problem"].startswith("note: ")
    shutil.copy(root / "a/images/0.jpg", root / "val/images/1.jpg")
    shutil.copy(root / "a/masks/0.png", root / "val/masks/1.png")
    code, found = run(tmp_path, root)
    assert code == 1 and [row["problem"].startswith("note: ") for row in found] == [False, True]


def test_sources_of_both_stages_are_audited_once_in_their_full_length(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = "{name: a, images: a/images, masks: a/masks"
    run(
        tmp_path,
        root,
        f"stage1.train=[{row}, limit: 2}}]",
        "data.train=[]",
        f"stage2.train=[{row}, limit: 4}}]",
    )
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["train", "a", "4"]


def test_what_training_refuses_of_a_list_is_an_error(tmp_path: Path, root: Path) -> None:
    """Two rows of one name, whatever each is; each bad row by itself."""
    row = "{name: %s, images: %s/images, masks: %s/masks}"
    for rows, problems in (
        ([row % ("a", "a", "a"), row % ("a", "b", "b")], ["data row a: two entries have this name"]),
        ([row % ("a", "no", "no"), row % ("a", "nor", "nor")], ["no folder", "no folder"]),
        ([row % ("a", "a", "a"), row % ("a", "no", "no")], ["no folder"]),
    ):
        code, found = run(tmp_path, root, f"data.train=[{', '.join(rows)}]")
        assert code == 1 and len(found) == len(problems)
        for each, problem in zip(found, problems, strict=True):
            assert each["source"] == "a" and problem in each["problem"]


def test_a_folder_in_the_place_of_the_findings_is_refused_before_the_audit(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "audit.csv").mkdir(parents=True)
    monkeypatch.setattr("pisam.commands.audit.audit", lambda *_: pytest.fail("was begun"))
    assert cli.main(["audit", str(write_experiment(tmp_path, root)), f"run_dir={tmp_path / 'run'}"]) == 2
    assert "audit.csv: a folder stands where a file is needed" in capsys.readouterr().err


def test_a_group_of_sets_is_audited_set_by_set(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in GROUPS["HQSEG44K-VAL"].items():
        at = next(at for at in KNOWN_SETS[name].layouts if at.pairs == count)
        shutil.copytree(root / "other/images", root / at.images, dirs_exist_ok=True)
        shutil.copytree(root / "other/masks", root / at.masks, dirs_exist_ok=True)
        if at.names:
            (root / at.names).write_text("0\n1\n")
    run(tmp_path, root, "data.val=[HQSEG44K-VAL]")
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line[:1] == ["val"] and len(line) == 3][:4] == [
        ["val", name, "2"] for name in GROUPS["HQSEG44K-VAL"]
    ]


def test_forbidden_training_source_is_an_error(tmp_path: Path, root: Path) -> None:
    (root / "DIS5K").mkdir()
    shutil.copytree(root / "other/images", root / "DIS5K/DIS-VD/im")
    shutil.copytree(root / "other/masks", root / "DIS5K/DIS-VD/gt")
    code, (row, *_) = run(tmp_path, root, "data.train=[DIS5K-VD]", "data.val=[]")
    assert code == 1 and row["source"] == "DIS5K-VD" and "must not be trained on" in row["problem"]


def test_experiment_without_sources_is_refused(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_experiment(tmp_path, root)
    assert cli.main(["audit", str(file), "data.train=[]", "data.val=[]", f"run_dir={tmp_path / 'r'}"]) == 2
    assert "no source to audit" in capsys.readouterr().err


def test_long_lists_are_cut_on_screen_alone(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(30):
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / f"a/images/x{index}.png")
    code, found = run(tmp_path, root)
    assert code == 1 and len(found) == 30
    assert "  and 10 more" in capsys.readouterr().out


def test_names_of_any_bytes_are_written(tmp_path: Path) -> None:
    finding = Finding("error", "train", "s", Path("a\udcff.png"), None, 'broken, "really"')
    write_findings(Audit([finding], []), tmp_path / "audit.csv")
    assert (tmp_path / "audit.csv").read_text().splitlines()[1] == 's,a\\udcff.png,,"broken, ""really"""'


def test_names_neither_break_a_line_nor_tell_the_terminal_anything(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "\x1b]0;mine\x07\x1b[2Jx\n\nfindings: 0, all is well\n.png"
    size = {"height": 48, "width": 64}
    image, polygon = {"id": 1, "file_name": name, **size}, [[1, 1, 9, 1, 9, 9]]
    coco = {"images": [image], "annotations": [{"id": 1, "image_id": 1, "segmentation": polygon}]}
    (root / "c.json").write_text(json.dumps(coco))
    (root / "pictures").mkdir()
    code, (row,) = run(tmp_path, root, "data.val=[{name: val, images: pictures, annotations: c.json}]")
    out = capsys.readouterr().out
    assert code == 1 and all(c.isprintable() for text in (out.replace("\n", ""), *row.values()) for c in text)
    assert [line[:11] for line in out.splitlines() if line.startswith("findings")] == ["findings: 1"]


def test_a_name_that_begins_like_a_formula_stays_text(tmp_path: Path) -> None:
    finding = Finding("error", "train", "=1+1", Path("=a.png"), None, "-x: broken")
    write_findings(Audit([finding], []), tmp_path / "audit.csv")
    assert (tmp_path / "audit.csv").read_text().splitlines()[1] == "'=1+1,'=a.png,,'-x: broken"


def test_real_photographs_have_no_error(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the smaller sources of the development inputs contain: clean pairs, some soft mattes."""
    rows = [
        {"name": name, "images": f"{name}/{part}/images", "masks": f"{name}/{part}/masks"}
        for name, part in (("ccp_person", "val"), ("alphamatting", "val"), ("cwfid", "val"))
    ]
    file = tmp_path / "real.yaml"
    file.write_text(f"data: {{root: {shared / 'data'}, val: {rows}}}\n")
    assert cli.main(["audit", str(file), f"run_dir={tmp_path / 'run'}"]) == 0
    (row,) = list(csv.DictReader((tmp_path / "run" / "audit.csv").open()))
    assert row["source"] == "alphamatting" and "in 3 of 14 masks" in row["problem"]
