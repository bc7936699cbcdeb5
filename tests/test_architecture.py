"""Who may import whom: a part sees only the rows above it, and some walls stand inside the rows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

# Top to bottom. A prefix stands for all modules below it; the longest prefix of a module decides.
ROWS = [
    ["core"],
    ["clicks", "metrics", "modeling", "data.sources", "data.reading", "data.generated"],
    ["config"],
    ["data", "data.sources.instances"],
    ["predictor"],
    ["onnx", "serve"],
    ["training.losses", "training.loss_points", "training.preflight", "training.stages"],
    ["training.features", "training.logging", "training.resume"],
    ["training.callbacks"],
    ["training"],
    ["evaluation"],
    ["report"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
ROW_OF = {part: row for row, parts in enumerate(ROWS) for part in parts}

# Importers (a prefix, relative to pisam) and the top-level names or pisam parts they must not know.
WALLS = [
    ("modeling", ["pisam.clicks", "pisam.training", "pisam.data", "pisam.config", "lightning"]),
    ("data", ["pisam.modeling"]),
    *(
        (part, ["pisam.config"])
        for part in ("core", "clicks", "metrics", "data", "report", "predictor", "onnx", "serve")
    ),
    *(
        (f"training.{part}", ["pisam.config"])
        for part in ("losses", "stages", "callbacks", "features", "resume", "logging")
    ),
    *((f"evaluation.{part}", ["pisam.config"]) for part in ("interaction", "evaluate", "compare")),
]
MAY_IMPORT_WANDB = ("training.logging", "training.callbacks")

FILES = sorted((SOURCE / "pisam").rglob("*.py"))


def module_name(file: Path) -> str:
    """The dotted name below `pisam`; "" for pisam/__init__.py."""
    parts = file.relative_to(SOURCE / "pisam").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of all that a file imports, in functions and under TYPE_CHECKING too."""
    package = ["pisam", *file.relative_to(SOURCE / "pisam").parent.parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                submodule = f"{origin}.{alias.name}"
                yield node.lineno, submodule if is_module(submodule) else origin


def is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def row_of(module: str) -> int:
    for end in range(len(parts := module.split(".")), 0, -1):
        if (prefix := ".".join(parts[:end])) in ROW_OF:
            return ROW_OF[prefix]
    raise AssertionError(f"pisam.{module} has no row: give it one in {Path(__file__).name}")


def below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


@pytest.mark.parametrize("file", FILES, ids=lambda file: module_name(file) or "pisam")
def test_imports_come_from_the_rows_above(file: Path) -> None:
    importer = module_name(file)
    if not importer:
        return  # pisam/__init__.py only passes public names on, lazily
    for line, name in imports(file):
        imported = name.removeprefix("pisam.")
        if name == "pisam" or not below(name, "pisam"):
            continue
        same_package = importer.split(".")[0] == imported.split(".")[0]
        allowed = row_of(imported) < row_of(importer) or (
            same_package and row_of(imported) <= row_of(importer)
        )
        assert allowed, f"{file}:{line}: pisam.{importer} (row {row_of(importer)}) must not import {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: module_name(file) or "pisam")
def test_walls_stand(file: Path) -> None:
    importer = module_name(file)
    forbidden = [name for part, names in WALLS if below(importer, part) for name in names]
    if not any(below(importer, part) for part in MAY_IMPORT_WANDB):
        forbidden.append("wandb")
    for line, name in imports(file):
        for wall in forbidden:
            crossed = below(name, wall)
            assert not crossed, f"{file}:{line}: pisam.{importer} must not know {wall}"


def test_no_file_is_longer_than_a_reader_keeps_in_mind() -> None:
    lengths = {module_name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert not {name: lines for name, lines in lengths.items() if lines > 350}


def test_every_part_of_the_rows_exists() -> None:
    """A renamed module must not leave its rule behind."""
    missing = [part for part in ROW_OF if not is_module(f"pisam.{part}")]
    assert not missing, f"no such modules in src/pisam: {missing}"


def test_relative_and_late_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path)
    file = tmp_path / "pisam" / "stages" / "optim.py"
    file.parent.mkdir(parents=True)
    (tmp_path / "pisam" / "losses.py").touch()
    file.write_text(
        "from .. import losses\ndef late():\n    import wandb.sdk\n    from .other import thing\n"
    )
    assert [name for _, name in imports(file)] == [
        "pisam.losses",
        "wandb.sdk",
        "pisam.stages.other",
    ]
