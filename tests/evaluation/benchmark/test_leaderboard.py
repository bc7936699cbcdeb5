"""Like is compared with like, ranks say how sure they are, and nothing unfinished is ranked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.interactions import interaction
from pisam.core.errors import PisamError
from pisam.evaluation.benchmark.interaction_file import write_interaction
from pisam.evaluation.benchmark.leaderboard import LeftOut, _draws, _rank, read_files, tables_of
from pisam.evaluation.benchmark.record import ClickProtocol, Failure, Interaction
from pisam.metrics.number_of_clicks import summarise


def save(folder: Path, *records: Interaction) -> Path:
    for index, record in enumerate(records):
        write_interaction(record, folder / f"{index}.json")
    return folder


def test_models_of_one_protocol_and_one_list_of_images_share_a_table(tmp_path: Path) -> None:
    save(tmp_path, interaction("a", seed=1, images=8), interaction("b", seed=2, images=8))
    files, left_out = read_files([tmp_path])
    (table,) = tables_of(files)
    assert (table.names, left_out, len(table.images)) == (["a", "b"], [], 8)
    for column, (_, record) in enumerate(files):
        scores = summarise([image.iou for image in record.images])
        for score in ("noc_80", "noc_90", "iou_3", "auc"):
            assert table.scores[score].means[column] == pytest.approx(scores[score])
        assert table.failures[90][column] == scores["nof_90"]
        obeyed = np.mean([image.controls["obeyed"] for image in record.images])
        assert table.controls["obeyed"][column] == pytest.approx(obeyed)
        assert table.seconds[column] == pytest.approx(np.mean([image.seconds for image in record.images]))


def test_another_protocol_or_another_file_of_an_image_is_another_table(tmp_path: Path) -> None:
    changed = interaction("changed")
    changed.images[0] = replace(changed.images[0], mask_sha256="f" * 64)
    save(
        tmp_path,
        interaction("a"),
        interaction("human", protocol=ClickProtocol(user="human", clicks=3)),
        changed,
        interaction("b"),
        replace(interaction("ignores"), ignore={"set": 128}),
    )
    tables = tables_of(read_files([tmp_path])[0])
    assert [table.names for table in tables[:1]] == [["a", "b"]]
    assert sorted(table.names[0] for table in tables[1:]) == ["changed", "human", "ignores"]


def test_what_is_partial_or_no_such_file_is_left_out_by_name(tmp_path: Path) -> None:
    partial = interaction("late")
    gone = partial.images.pop()
    partial.failed.append(Failure(gone.set, gone.image, "answered NaN"))
    save(tmp_path, interaction("a"), partial)
    (tmp_path / "notes.json").write_text("{}")
    files, left_out = read_files([tmp_path])
    assert [record.name for _, record in files] == ["a"]
    assert {each.file for each in left_out} == {"1.json", "notes.json"}
    told = " ".join(each.reason for each in left_out)
    assert "late: 2 of 3 images; set/2: answered NaN" in told and "expected an interaction file" in told
    with pytest.raises(PisamError, match=r"notes\.json"):
        read_files([tmp_path / "notes.json"])
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(PisamError, match="no interaction file"):
        read_files([empty])


def test_folders_below_and_names_in_capitals_are_not_passed_over(tmp_path: Path) -> None:
    save(tmp_path, interaction("a"))
    (tmp_path / "0.json").rename(tmp_path / "0.JSON")
    (tmp_path / "page").mkdir()
    (tmp_path / "run/deep").mkdir(parents=True)
    save(tmp_path / "run/deep", interaction("b"), interaction("c"))
    files, left_out = read_files([tmp_path])
    assert [record.name for _, record in files] == ["a"]
    assert [(each.file, each.reason) for each in left_out] == [
        ("run", f"a folder of 2 *.json below {tmp_path}; name it, too")
    ]
    assert read_files([tmp_path, tmp_path / "run"])[1] == [
        LeftOut("deep", f"a folder of 2 *.json below {tmp_path / 'run'}; name it, too")
    ]


def test_a_clear_difference_has_a_sure_rank_and_equal_models_share_one() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(200) * 0.2 + 0.5
    values = np.stack([base, base + 0.2, base + rng.normal(0, 0.01, 200), base])
    ranked = _rank("iou_5", values, _draws(200))
    assert ranked.ranks[1] == ranked.best[1] == ranked.worst[1] == 1
    assert ranked.ranks[0] == ranked.ranks[3] and (ranked.best[2], ranked.worst[2]) == (2, 4)
    assert (ranked.low < ranked.means).all() and (ranked.means < ranked.high).all()
    fewest = _rank("noc_90", values, _draws(200))
    assert fewest.ranks[1] == 4


def test_the_interval_is_that_of_a_bootstrap_image_by_image() -> None:
    values = np.random.default_rng(1).random((1, 30))
    ranked = _rank("auc", values, _draws(30))
    rng = np.random.default_rng(5)
    means = [values[0, rng.integers(30, size=30)].mean() for _ in range(4000)]
    assert ranked.low[0] == pytest.approx(np.quantile(means, 0.025), abs=0.01)
    assert ranked.high[0] == pytest.approx(np.quantile(means, 0.975), abs=0.01)


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    save(tmp_path, interaction("same", seed=1), interaction("same", seed=2))
    (table,) = tables_of(read_files([tmp_path])[0])
    assert table.names == ["same (0, 1)", "same (1, 2)"]


def test_after_a_box_the_curve_begins_with_its_answer(tmp_path: Path) -> None:
    save(tmp_path, interaction("a", protocol=ClickProtocol("box", clicks=3)))
    (table,) = tables_of(read_files([tmp_path])[0])
    assert table.id == "box-ritm-3" and table.scores["noc_80"].values.max() <= 3


@pytest.mark.bench
def test_twenty_models_on_a_whole_set_take_ten_seconds_and_a_gigabyte(tmp_path: Path) -> None:
    protocol = ClickProtocol()
    records = (
        interaction(f"m{seed}", protocol=protocol, images=1537, seed=seed, clicks=20) for seed in range(20)
    )
    files = save(tmp_path / "files", *records)
    measured = (
        "import sys, time; from pisam.cli import main; main(sys.argv[1:]); print(time.process_time()); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", measured, "leaderboard", str(files), f"out={tmp_path / 'page'}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, kilobytes = (float(word) for word in ended.stdout.split()[-2:])
    assert seconds <= 10 and kilobytes <= 1e6
