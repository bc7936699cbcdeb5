"""The generated reference of configuration keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pisam.cli import main
from pisam.config.load import load_config
from pisam.config.reference import entries, markdown
from pisam.config.schema import Config, to_plain

ROOT = Path(__file__).resolve().parents[2]


def test_documents_hold_the_reference_of_today() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == markdown(), "run: python -m pisam.config.reference > docs/configuration.md"


def test_every_key_has_its_default_a_range_and_help() -> None:
    plain = to_plain(Config())
    for entry in entries():
        value = plain
        for part in entry.key.split("."):
            value = value[part]
        assert entry.help
        if entry.expected:
            assert yaml.safe_load(entry.default) == value or entry.default == str(value)
        else:
            assert isinstance(value, dict)


def test_printed_configuration_loads_and_names_where_values_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PISAM_DATA_ROOT", raising=False)
    assert main(["config", "quickstart", "stage1.lr=3e-4", "run_dir=0123"]) == 0
    printed = capsys.readouterr().out
    lines = {line.split(":")[0].strip(): line for line in printed.splitlines()}
    assert lines["run_dir"].endswith("# run_dir=0123")
    assert "# experiments/quickstart.yaml:" in lines["backbone"] and lines["project"].endswith("# default")
    file = tmp_path / "again.yaml"
    file.write_text(printed)
    assert load_config(file) == load_config("quickstart", ["stage1.lr=3e-4", "run_dir=0123"])


def test_keys_are_printed_with_their_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "keys=true"]) == 0
    assert "stage1.lr = 0.001  (a positive number, at most 10)\n    learning rate" in capsys.readouterr().out
