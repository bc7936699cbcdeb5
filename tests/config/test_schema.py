"""What the schema answers about itself."""

from __future__ import annotations

import json

from pisam.config.schema import (
    Config,
    DataConfig,
    InteractorStageConfig,
    PromptsConfig,
    to_plain,
    training_prompts,
    training_sources,
)


def test_training_sources_of_a_stage_replace_those_of_the_data() -> None:
    data = DataConfig(train=["DIS5K-TR"])
    config = Config(data=data, stage2=InteractorStageConfig(train=["HRSOD-TR"]))
    assert training_sources(config, 1) == ["DIS5K-TR"]
    assert training_sources(config, 2) == ["HRSOD-TR"]


def test_training_prompts_of_stage_2_replace_those_of_the_data() -> None:
    config = Config(
        data=DataConfig(prompts=PromptsConfig(noisy_mask=1)),
        stage2=InteractorStageConfig(prompts=PromptsConfig(points=2)),
    )
    assert training_prompts(config, 1) == PromptsConfig(noisy_mask=1)
    assert training_prompts(config, 2) == PromptsConfig(points=2)
    config.stage2.prompts = None
    assert training_prompts(config, 2) == PromptsConfig(noisy_mask=1)


def test_plain_form_holds_only_what_json_holds_under_yaml_keys() -> None:
    plain = to_plain(Config(stage2=InteractorStageConfig(from_="runs/x")))
    assert json.loads(json.dumps(plain)) == plain
    assert plain["stage2"]["from"] == "runs/x"
    assert "from_" not in plain["stage2"]
