"""The configuration: one merge, a round trip, and one clear line for every kind of bad input."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pisam.config.load import KINDS, OPTIONAL_SECTIONS, load_config, load_with_origins, save_config
from pisam.config.schema import Config, PromptsConfig, to_plain, training_prompts, training_sources
from pisam.core.errors import PisamError
from pisam.modeling.backbone_table import BACKBONES

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _at_the_root_without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PISAM_WEIGHTS", raising=False)
    monkeypatch.delenv("PISAM_DATA_ROOT", raising=False)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text("model: {backbone: vit_b}\ndata: {train: [DIS5K-TR]}\nstage1: {lr: 5e-4, epochs: 3}\n")
    return file


def test_arguments_win_over_the_file_and_the_file_over_defaults(experiment: Path) -> None:
    config = load_config(experiment, ["stage1.epochs=7", "data.jitter=[]", "stage1.epochs=8"])
    assert config.stage1.epochs == 8
    assert config.stage1.lr == 5e-4
    assert config.stage1.accumulate == 1
    assert config.data.jitter == []


def test_open_names_are_filled_in(experiment: Path) -> None:
    config = load_config(experiment)
    assert (config.name, config.run_dir, config.logging.group) == ("mine", "runs/mine", "mine")
    assert load_config(experiment, ["name=other"]).run_dir == "runs/other"


def test_environment_fills_only_what_is_left_open(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PISAM_WEIGHTS", "weights")
    monkeypatch.setenv("PISAM_DATA_ROOT", "photographs")
    config = load_config(experiment)
    assert (config.model.weights, config.data.root) == ("weights", "photographs")
    config = load_config(experiment, ["model.weights=own.pt", "data.root=here"])
    assert (config.model.weights, config.data.root) == ("own.pt", "here")


def test_nano_takes_no_weights_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PISAM_WEIGHTS", "weights")
    assert load_config("quickstart").model.weights is None


def test_prompts_of_stage_2_replace_those_of_the_data(experiment: Path, tmp_path: Path) -> None:
    arguments = ["data.prompts.noisy_mask=1", "stage2.prompts.points=2", "stage2.prompts.max_points=3"]
    config = load_config(experiment, arguments)
    assert training_prompts(config, 1) == PromptsConfig(noisy_mask=1)
    assert training_prompts(config, 2) == PromptsConfig(points=2, max_points=3)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    without = load_config(experiment, [*arguments, "stage2.prompts=null"])
    assert training_prompts(without, 2) == PromptsConfig(noisy_mask=1)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    config = load_config(name, ["stage2.from=runs/a=b", 'trainer.max_time="1:00:00:00"', "stage1.lr=1e-10"])
    save_config(config, tmp_path / "run" / "config.yaml")
    assert load_config(tmp_path / "run" / "config.yaml") == config
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]
    assert config.name == name


@pytest.mark.parametrize("stage", ["stage1", "stage2", "hq"])
def test_configurations_of_earlier_runs_load(stage: str) -> None:
    file = ROOT / "experiments" / "results" / "real_small" / f"{stage}.yaml"
    saved, plain = yaml.safe_load(file.read_text(encoding="utf-8")), to_plain(load_config(file))
    for section, values in saved.items():
        for key, value in values.items() if isinstance(values, dict) else [(None, values)]:
            assert (plain[section] if key is None else plain[section][key]) == value


def test_paper_experiments_follow_the_paper() -> None:
    for backbone in ("vit_b", "vit_l", "vit_h"):
        config = load_config(f"paper_{backbone}")
        assert (config.model.backbone, config.model.image_size) == (backbone, 1024)
        assert config.data.batch_size * config.trainer.devices * config.trainer.num_nodes == 32
        assert training_sources(config, 1) == ["DIS5K-TR", "HRSOD-TR", "UHRSD-TR", "ThinObject5K-TR"]
        assert training_sources(config, 2) == ["DIS5K-TR"]
        for stage in (config.stage1, config.stage2):
            assert (stage.epochs, stage.lr, stage.accumulate) == (100, 1e-3, 1)
        assert (config.data.flip, config.data.jitter, config.clicks.max_clicks) == (True, [0.8, 1.6], 10)


def test_failed_save_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.mkdir()
    with pytest.raises(PisamError, match=r"config\.yaml: a folder stands where a file is needed"):
        save_config(load_config("quickstart"), path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_every_field_type_has_a_name_for_error_messages() -> None:
    def leaf_types(section: Any) -> set[str]:
        values = {f: getattr(section, f.name) for f in fields(section)}
        nested = [leaf_types(value) for value in values.values() if is_dataclass(value)]
        return {str(f.type) for f, value in values.items() if not is_dataclass(value)}.union(*nested)

    kinds = {kind.removesuffix(" | None") for kind in leaf_types(Config()) - OPTIONAL_SECTIONS.keys()}
    assert kinds == set(KINDS)


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 9))
BAD_ARGUMENTS = [
    ("stage1.ema=1", "expected a number between 0 and 1, or null"),
    ("stage2.ema=mean", "expected a number or null"),
    ("stage1.early_stop=0", "expected a positive number of validations, or null"),
    ("stage2.early_stop=1.5", "expected a whole number or null"),
    ("trainer.dry_run=perhaps", "expected true, false or null"),
    ("model.backbon=nano", "unknown key model.backbon; did you mean model.backbone?"),
    ("modle.backbone=nano", "unknown key modle; did you mean model?"),
    ("backbone=nano", "unknown key backbone; did you mean model.backbone?"),
    ("stage2.form=x", "unknown key stage2.form; did you mean stage2.from?"),
    ("stage2.from_=x", "unknown key stage2.from_; did you mean stage2.from?"),
    ("zzz=1", "unknown key zzz"),
    ("stage1=3", "stage1: got 3, expected keys below it such as stage1.epochs"),
    ("stage1=", "stage1: got None, expected keys below it"),
    ("quick", "expected key=value"),
    ("=3", "expected key=value"),
    ("stage1.lr=[1", "the value is not valid YAML"),
    ("stage1.lr=abc", "stage1.lr: got 'abc', expected a number"),
    ("stage1.lr=", "stage1.lr: got None, expected a number"),
    ("stage1.lr=true", "stage1.lr: got True, expected a number"),
    ("stage1.lr.x=3", "stage1.lr: got {'x': 3}, expected a number"),
    ("stage1.lr=0", "stage1.lr: got 0.0, expected a positive number"),
    ("stage2.lr=.nan", "stage2.lr: got nan, expected a positive number"),
    ("stage1.epochs=1.5", "stage1.epochs: got 1.5, expected a whole number"),
    ("stage1.epochs=0", "stage1.epochs: got 0, expected a number >= 1"),
    ("stage1.max_steps=0", "stage1.max_steps: got 0, expected a positive number, or -1"),
    ("stage2.prompts=3", "stage2.prompts: got 3, expected keys below it such as stage2.prompts.box"),
    ("stage2.prompts.point=1", "unknown key stage2.prompts.point; did you mean stage2.prompts.points?"),
    ("stage2.prompts.points=-1", "stage2.prompts.points: got -1.0, expected a number >= 0"),
    *(
        (f"{key}=1000000000", f"{key}: got 1000000000, expected a")
        for key in (
            *("data.batch_size", "data.workers", "data.prompts.max_points", "clicks.max_clicks"),
            *("interact.clicks", "interact.rounds", "trainer.devices", "trainer.num_nodes"),
        )
    ),
    ("stage2.prompts.max_points=0", "stage2.prompts.max_points: got 0, expected a number from 1 to 1000"),
    (
        "stage2.prompts={box: 0}",
        "stage2.prompts: got {'box': 0.0.*expected a positive number for at least one",
    ),
    ("data.prompts.box=0", "data.prompts: got {'box': 0.0.*expected a positive number for at least one kind"),
    ("stage2.views=-1", "stage2.views: got -1, expected a number >= 0"),
    ("data.flip=maybe", "data.flip: got 'maybe', expected true or false"),
    ("data.train=DIS5K-TR", "data.train: got 'DIS5K-TR', expected a list of sets"),
    ("data.train=", "data.train: got None, expected a list of sets"),
    ("data.train.0.limit=3", "data.train: got {'0': {'limit': 3}}, expected a list of sets"),
    ("data.train=[3]", "data.train: got 3, expected the name of a known set, or a row"),
    ("stage2.train=[[a]]", "stage2.train: got ['a'], expected the name of a known set, or a row"),
    ("data.jitter=[2,1]", "data.jitter: got [2.0, 1.0], expected [] or two increasing positive numbers"),
    ("data.jitter=[a,b]", "data.jitter: got ['a', 'b'], expected a list of numbers"),
    ("data.workers=-1", "data.workers: got -1, expected a number from 0 to 1000"),
    ("data.batch_size=0", "data.batch_size: got 0, expected a number from 1 to 100000"),
    ("model.image_size=100", "model.image_size: got 100, expected a multiple of 64"),
    ("model.image_size=0", "model.image_size: got 0, expected a number from 64 to 8192"),
    ("model.image_size=64000000", "expected a number from 64 to 8192"),
    ("model.backbone=vit_x", "model.backbone: got 'vit_x', expected one of nano.*; did you mean vit_t?"),
    ("clicks.policy=papr", "clicks.policy: got 'papr', expected one of.*; did you mean paper?"),
    ("clicks.connectivity=6", "clicks.connectivity: got 6, expected one of 4, 8"),
    ("clicks.margin=1.5", "clicks.margin: got 1.5, expected a number from 0 to 1"),
    ("clicks.max_clicks=0", "clicks.max_clicks: got 0, expected a number from 1 to 1000"),
    ("clicks.min_area=0", "clicks.min_area: got 0, expected a number >= 1"),
    ("loss.bce=.inf", "loss.bce: got inf, expected a number >= 0"),
    ("loss.near_clicks=1.5", "loss.near_clicks: got 1.5, expected a number from 0 to 1"),
    (
        "trainer.precision=fp16",
        "trainer.precision: got 'fp16', expected one of 32-true, bf16-mixed, 16-mixed",
    ),
    ("trainer.accelerator=tpu", "trainer.accelerator: got 'tpu', expected one of auto"),
    ("trainer.devices=0", "trainer.devices: got 0, expected auto, a number of devices"),
    ("trainer.devices=[]", "trainer.devices: got [], expected auto, a number of devices"),
    ("trainer.devices=true", "trainer.devices: got True, expected auto, a number of devices"),
    ("trainer.timeout=0", "trainer.timeout: got 0.0, expected a positive number of minutes"),
    ("trainer.max_time=12:30", "trainer.max_time: got '12:30', expected \"DD:HH:MM:SS\""),
    ("stage1.lr=1e10", "stage1.lr: got 10000000000.0, expected a positive number, at most 10"),
    ("seed=0x10", "seed: got '0x10', expected a whole number"),
    ("seed=12:30", "seed: got '12:30', expected a whole number"),
    ("stage1.epochs=" + "9" * 400, "stage1.epochs: got 999.*999, expected a number of at most 1e+12"),
    ("stage1.lr=" + "9" * 400, "stage1.lr: got 999.*999, expected a number"),
    ("stage1.lr=" + "9" * 5000, "stage1.lr: got '999.*999', expected a number"),
    ("data.train=" + "[" * 20_000, "nested too deeply"),
    ("data.train=[{name: a, name: b}]", "name is there twice"),
    ("name=" + "a" * 300, "name: got 'aaa.*aaa', expected letters, digits"),
    ("run_dir=" + "a" * 300, "run_dir: got 'aaa.*aaa', expected a path of at most 255 names"),
    ("run_dir=a\0b", r"run_dir: got 'a\x00b', expected a path"),
    ("q" * 300 + "=1", "unknown key qqq.*qqq"),
    ("data.train=[\x07]", "the value is not valid YAML"),
    ("logging.mode=onlin", "logging.mode: got 'onlin', expected one of.*; did you mean online?"),
    ("logging.images=17", "logging.images: got 17, expected a number from 0 to 16"),
    ("seed=-1", "seed: got -1, expected a number from 0 to 4294967295"),
    ("name=a/b", "name: got 'a/b', expected letters, digits"),
    ("model.weights=${oc.env:HOME}", "references and placeholders are refused"),
    ("name=???", "references and placeholders are refused"),
]


@pytest.mark.parametrize(
    ("argument", "message"), BAD_ARGUMENTS, ids=[ascii(argument)[1:40] for argument, _ in BAD_ARGUMENTS]
)
def test_bad_argument_is_one_line_that_names_it(argument: str, message: str) -> None:
    with pytest.raises(PisamError) as raised:
        load_config("quickstart", ["seed=3", argument])
    assert str(raised.value).startswith(f"{argument}: " if len(argument) < 120 else argument[:60])
    assert re.search(re.escape(message).replace(r"\.\*", ".*"), str(raised.value))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model: {backbone: nano\nseed: 1", "not valid YAML in line 2"),
        ("seed: 1\nseed: 2", "not valid YAML in line 2"),
        ("- nano", "expected lines of `key: value`, got a list"),
        ("stage1.lr: 3", "unknown key stage1.lr; in a file each part of it has a line of its own, below"),
        ("1: 2", "unknown key 1"),
        ("stage1: {lr: fast}", "stage1.lr: got 'fast', expected a number"),
        ("stage1: {lr: -1}", "stage1.lr: got -1.0, expected a positive number"),
        ("data: {root: '${oc.env:HOME}'}", "references and placeholders are refused"),
        ("data: {train: [{name: '${seed}'}]}", "references and placeholders are refused"),
    ],
)
def test_bad_file_is_one_line_that_names_it(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(PisamError, match=re.escape(message)) as raised:
        load_config(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)


def test_file_that_is_no_text_is_one_line_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(PisamError, match=r"bad\.yaml: not (readable as|valid) YAML"):
        load_config(file)


def test_value_of_the_file_is_blamed_on_the_file_not_on_arguments(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("logging: {images: 99}")
    with pytest.raises(PisamError, match=r"bad\.yaml: logging\.images: got 99"):
        load_config(file, ["seed=3"])


def test_unknown_experiment_names_the_nearest_and_all() -> None:
    with pytest.raises(PisamError, match=r"quickstart, real_small; did you mean quickstart\?"):
        load_config("quikstart")
    with pytest.raises(PisamError, match=r"found no file elsewhere/x\.yaml"):
        load_config("elsewhere/x.yaml")


def test_outside_the_repository_the_packages_own_experiments_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = load_config("quickstart")
    monkeypatch.chdir(tmp_path)
    assert load_config("quickstart") == inside
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "quickstart.yaml").write_text("seed: 5")
    assert load_config("quickstart").seed == 5


@pytest.mark.parametrize("typed", ["20261126_1530", "0123", "12:30", "1e3", "yes", "a #b", "[x", "a: b"])
def test_text_is_what_was_typed(typed: str, tmp_path: Path) -> None:
    config = load_config("quickstart", [f"run_dir={typed}", f"logging.project={typed}"])
    assert (config.run_dir, config.logging.project) == (typed, typed)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("typed", ["20261126_1530", "0123", "12:30", "1e3", "yes", "2026-11-26"])
def test_text_in_a_file_is_what_was_typed(typed: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    row = f"{{name: {typed}, images: {typed}, masks: ~/{typed}, limit: 3}}"
    file.write_text(
        f"run_dir: {typed}\ndata: {{root: ~/x, train: [{row}]}}\ntrainer: {{max_time: 01:00:00:00}}"
    )
    config, home = load_config(file), Path.home()
    assert (config.run_dir, config.data.root) == (typed, str(home / "x"))
    assert config.data.train == [{"name": typed, "images": typed, "masks": str(home / typed), "limit": 3}]
    assert config.trainer.max_time == "01:00:00:00"


def test_null_and_quotes_mean_what_yaml_means() -> None:
    arguments = [
        "data.root=null",
        "model.weights=~",
        "stage2.from=",
        "logging.project='null'",
        'run_dir="~/x"',
    ]
    config = load_config("quickstart", arguments)
    assert (config.data.root, config.model.weights, config.stage2.from_) == (None, None, None)
    assert (config.logging.project, config.run_dir) == ("null", str(Path.home() / "x"))


def test_choices_stand_beside_the_code_that_they_name() -> None:
    from pisam.clicks.policies import POLICIES
    from pisam.modeling.backbones import build_image_encoder

    for policy in POLICIES:
        assert load_config("quickstart", [f"clicks.policy={policy}"]).clicks.policy == policy
    for backbone in BACKBONES:
        assert load_config("quickstart", [f"model.backbone={backbone}"]).model.backbone == backbone
    with pytest.raises(ValueError, match=", ".join(BACKBONES)):
        build_image_encoder("vit_x", 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 60_000, "nested too deeply"),
        ("a: &a [1]\n", "unknown key a"),
        ("data: {train: " + "x" * 2**16 + "}", "larger than 64 kB"),
        (BOMB, "more than 10000 values"),
        ("seed: \0", "not readable as YAML"),
    ],
)
def test_hostile_file_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(content)
    with pytest.raises(PisamError, match=message) as raised:
        load_config(file)
    assert str(raised.value).startswith(f"{file}: ") and "\n" not in str(raised.value)


def test_origins_name_file_and_line_argument_and_environment(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PISAM_WEIGHTS", "weights")
    _, origins = load_with_origins(experiment, ["stage1.epochs=7"])
    named = {key: str(origin) for key, origin in origins.items()}
    assert named == {
        "model.backbone": f"{experiment}:1",
        "data.train": f"{experiment}:2",
        "stage1.lr": f"{experiment}:3",
        "stage1.epochs": "stage1.epochs=7",
        "name": "the file's name",
        "run_dir": "name",
        "logging.group": "name",
        "model.weights": "PISAM_WEIGHTS",
    }


@pytest.mark.parametrize("key", ["model.weights", "stage2.from"])
def test_urls_are_no_files(key: str) -> None:
    with pytest.raises(PisamError, match=rf"{key}: got 'https://x/y.ckpt', expected a local file or folder"):
        load_config("quickstart", [f"{key}=https://x/y.ckpt"])
