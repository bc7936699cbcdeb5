"""The command line: what reaches the parts, exit codes, and typos that fail at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pisam
from pisam import cli
from pisam.commands.evaluate import EvaluateOptions
from pisam.commands.shared.command import commands
from pisam.config.schema import Config
from pisam.core.errors import PisamError

ROOT = Path(__file__).resolve().parents[1]
VERBS = sorted(command.name for command in commands())


def pisam_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "pisam", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def test_typo_exits_with_2_and_one_line_without_waiting_for_torch() -> None:
    program = (
        "import sys\nfrom pisam.cli import main\n"
        "code = main(['train', 'quickstart', 'stage=1', 'stage1.lrr=1'])\n"
        "print('torch' in sys.modules)\nsys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == "False\n"
    assert result.stderr == "error: stage1.lrr=1: unknown key stage1.lrr; did you mean stage1.lr?\n"


def test_version() -> None:
    result = pisam_command("--version")
    assert (result.returncode, result.stdout) == (0, f"pisam {pisam.__version__}\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    help_ = capsys.readouterr().out
    assert f"    pisam {verb} " in help_ and "group:" not in help_
    command = next(command for command in commands() if command.name == verb)
    usage = help_.split("\n\n")[1]
    assert not [key for key in command.keys if f"{key.partition('*')[0]}" not in usage]


def test_without_arguments_every_verb_is_listed_in_a_group_and_the_next_step_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([]) == 0
    output = capsys.readouterr().out
    assert all(re.search(rf"^  {verb} +\w", output, re.MULTILINE) for verb in VERBS)
    assert output.endswith("Next: pisam init DIR, which makes a folder with the experiments to work in\n")
    (tmp_path / "experiments").mkdir()
    assert cli.main([]) == 0
    assert capsys.readouterr().out.endswith("Next: pisam train quickstart stage=1\n")
    for stage in (1, 2):
        summary = tmp_path / f"runs/quickstart/stage{stage}/summary.json"
        summary.parent.mkdir(parents=True)
        summary.touch()
    assert cli.main([]) == 0
    assert capsys.readouterr().out.endswith("Next: pisam evaluate quickstart\n")


def test_two_dashes_before_a_key_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Config, int]] = []
    monkeypatch.setattr("pisam.commands.train.train", lambda config, stage: calls.append((config, stage)))
    assert cli.main(["train", "--stage=2", "--seed=4"]) == 0
    assert [(config.seed, stage) for config, stage in calls] == [(4, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "train: expected stage=1 or stage=2, got no arguments"),
        (["train", "stage=3"], "train: expected stage=1 or stage=2, got stage=3"),
        (["train", "stage=1", "stage=2"], "train: stage is given twice"),
        (["evaluate", "quickstart", "real_small"], "expected one experiment and key=value arguments"),
        (["evaluate", "quikstart"], "did you mean quickstart?"),
        (["compare", "a"], "compare: expected `pisam compare A B`, got a"),
        (["trian"], "trian: no such command; did you mean train?"),
        (["train", "--fast"], "--fast: no such option of pisam train"),
        (["compare", "a", "b", "c=d"], "compare: unknown key c"),
        (["submit", "stage=1", "minutes=soon"], "submit: minutes=soon: expected a whole number"),
        (["submit", "stage=1", "cluster=slum"], "got cluster=slum; did you mean slurm?"),
        (["interact", "clicks="], "interact: clicks=: expected FILE, got nothing"),
        (["interact", "clicks=" + "a" * 300], "can be no path: too long, too deep, or with NUL"),
        (["compare", "a\0", "b"], "can be no path: too long, too deep, or with NUL"),
        (["init", "a/" * 400], "can be no path: too long, too deep, or with NUL"),
        (["evaluate", "a" * 300], "can be no path: too long, too deep, or with NUL"),
        (["sets", "data.root=a\0"], "data.root: got 'a\\x00', expected a path"),
        (["compare", "no", "nor"], "summary.json is not there"),
        (["import-released"], "import-released: expected `pisam import-released CKPT [out=FILE]`, got none"),
        (["import-released", "a.pth", "b.pth"], "`pisam import-released CKPT [out=FILE]`, got a.pth b.pth"),
        (["import-released", "no.pth"], "import-released: no file no.pth"),
        (["import-released", "no.pth", "ot=x"], "unknown key ot; did you mean out?"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("below", ["", "/deep/er"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "images=x", "box=1,1,9,9", "out={}"],
        ["refine", "images=x", "masks=y", "clicks=c.csv", "out={}"],
        ["export", "out={}"],
        ["evaluate", "predictions=x", "masks=y", "out={}"],
        ["leaderboard", "x.json", "out={}"],
        ["benchmark", "out={}"],
        ["init", "{}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_file_in_the_place_of_an_output_folder_is_named(
    arguments: list[str], below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").touch()
    assert cli.main([argument.format(f"{tmp_path}/a.png{below}") for argument in arguments]) == 2
    assert f"{tmp_path}/a.png: a file stands where a folder is needed" in capsys.readouterr().err


def test_train_passes_configuration_and_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Config, int]] = []
    monkeypatch.setattr("pisam.commands.train.train", lambda config, stage: calls.append((config, stage)))
    assert cli.main(["train", "stage=2", "seed=4"]) == 0
    assert cli.main(["train", "real_small", "data.workers=0", "stage=1"]) == 0
    (first, stage_a), (second, stage_b) = calls
    assert (first.name, first.seed, stage_a) == ("quickstart", 4, 2)
    assert (second.name, second.data.workers, stage_b) == ("real_small", 0, 1)


def test_interact_passes_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Config] = []
    monkeypatch.setattr("pisam.commands.interact.interact", lambda config, **_: calls.append(config))
    assert cli.main(["interact", "experiments/quickstart.yaml", "seed=4"]) == 0
    assert [config.seed for config in calls] == [4]


def test_home_is_expanded_in_keys_of_a_verbs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict] = []
    monkeypatch.setattr("pisam.commands.interact.interact", lambda config, **own: calls.append(own))
    assert cli.main(["interact", "clicks=~/c.json", "checkpoint=[~/a,b/~]"]) == 0
    home = Path.home()
    assert calls == [{"clicks": home / "c.json", "checkpoints": [home / "a", Path("b/~")]}]


def test_error_of_the_system_is_one_line_and_a_traceback_with_v(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Config, **_: Any) -> None:
        raise OSError(28, "No space left on device", "masks/a.png")

    monkeypatch.setattr("pisam.commands.interact.interact", fail)
    monkeypatch.delenv("PISAM_VERBOSE", raising=False)
    assert cli.main(["interact"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "error: masks/a.png: No space left on device"
    monkeypatch.setenv("PISAM_VERBOSE", "1")
    with pytest.raises(OSError, match="No space left"):
        cli.main(["interact"])


def test_interact_passes_its_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict] = []
    monkeypatch.setattr("pisam.commands.interact.interact", lambda config, **own: calls.append(own))
    arguments = ["clicks=a/clicks.json", "checkpoint=[runs/hq,b=c.ckpt]"]
    assert cli.main(["interact", "experiments/quickstart.yaml", *arguments]) == 0
    assert calls == [
        {"clicks": Path("a/clicks.json"), "checkpoints": [Path("runs/hq"), Path("b=c.ckpt")]},
    ]
    assert cli.main(["interact", *arguments, "checkpoint=again"]) == 2
    assert cli.main(["interact", "clicks="]) == 2
    assert cli.main(["interact", "clicks=https://x/clicks.json"]) == 2


def test_evaluate_passes_its_configuration_and_its_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Config, EvaluateOptions]] = []
    monkeypatch.setattr("pisam.commands.evaluate.evaluate", lambda *given: calls.append(given))
    arguments = ["models=[sam,pi]", "predictions=true", "seed=4", "checkpoint=runs/a"]
    assert cli.main(["evaluate", "experiments/quickstart.yaml", *arguments]) == 0
    (config, options) = calls[0]
    assert (config.seed, list(options.models), options.predictions) == (4, ["sam", "pi"], True)
    assert options.checkpoints == [Path("runs/a")]


def test_evaluate_takes_each_key_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "checkpoint=a", "checkpoint=b"]) == 2
    assert "checkpoint is given twice; several go in one list" in capsys.readouterr().err


def test_path_with_an_equals_sign_is_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Config] = []
    monkeypatch.setattr("pisam.commands.evaluate.evaluate", lambda config, options: calls.append(config))
    file = tmp_path / "lr=1" / "config.yaml"
    file.parent.mkdir()
    file.write_text("seed: 9\n")
    assert cli.main(["evaluate", str(file)]) == 0
    assert [config.seed for config in calls] == [9]


def test_import_released_passes_paths_and_prints_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "released.pth"
    checkpoint.touch()
    calls: list[tuple[Path, Path | None]] = []
    monkeypatch.setattr(
        "pisam.commands.import_released.import_released",
        lambda *paths: calls.append(paths) or Path("ours.ckpt"),
    )
    assert cli.main(["import-released", str(checkpoint), "out=x.ckpt"]) == 0
    assert cli.main(["import-released", str(checkpoint)]) == 0
    assert calls == [(checkpoint, Path("x.ckpt")), (checkpoint, None)]
    assert capsys.readouterr().out == "ours.ckpt\nours.ckpt\n"


def test_error_of_a_later_rank_is_kept_and_labelled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Config, options: EvaluateOptions) -> None:
        raise PisamError("image x.png:\nunreadable")

    monkeypatch.setattr("pisam.commands.evaluate.evaluate", fail)
    monkeypatch.setenv("RANK", "3")
    assert cli.main(["evaluate"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "[rank 3] error: image x.png: unreadable"


def test_what_commands_print_tells_the_terminal_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pisam.commands.sets.list_sets", lambda _: "\x1b[2Jone\ntwo")
    assert cli.main(["sets"]) == 0
    assert capsys.readouterr().out == "\\x1b[2Jone\ntwo\n"


def test_an_error_is_of_bounded_length(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path | None) -> str:
        raise PisamError("x" * 100_000 + "; mend it")

    monkeypatch.setattr("pisam.commands.sets.list_sets", fail)
    assert cli.main(["sets"]) == 2
    error = capsys.readouterr().err
    assert len(error) < 2000 and error.endswith("; mend it\n")


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(config: Config, **_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pisam.commands.interact.interact", interrupt)
    assert cli.main(["interact"]) == 130


AT_ANY_TIME = {
    "in a destructor": "class Lost: __del__ = lambda self: kill()\ncli.main = lambda: Lost() is None",
    "while verbs are found": "find = command.commands\ncommand.commands = lambda: kill() or find()",
    "after the end": "import atexit\natexit.register(kill)",
}


@pytest.mark.parametrize("moment", AT_ANY_TIME)
def test_ctrl_c_leaves_130_and_no_traceback_at_any_time(moment: str) -> None:
    """The signal comes where an exception would be lost, or shown by Python as it ends."""
    program = (
        "import os, signal, sys\nfrom pisam import cli\nfrom pisam.commands.shared import command\n"
        "def kill(): os.kill(os.getpid(), signal.SIGINT)\n"
        f"{AT_ANY_TIME[moment]}\nsys.argv = ['pisam', 'sets']\ncli.entry()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_ends_no_command(encoding: str) -> None:
    """As that of a progress bar, which is drawn with such characters."""
    program = "from pisam import cli\ncli.main = lambda: print('blätter • done') or 0\ncli.entry()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": encoding}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    expected = "blätter • done\n".encode(encoding, errors="replace")
    assert (result.returncode, result.stdout, result.stderr) == (0, expected, b"")


@pytest.mark.parametrize("options", [[], ["-X", "utf8=0"]])
def test_names_of_files_are_utf_8_whatever_the_locale(options: list[str]) -> None:
    """Else records and seeds hold other names than those of runs elsewhere."""
    program = (
        "import sys\nfrom pisam import cli\ncli.main = lambda: print(ascii(sys.argv[1])) or 0\ncli.entry()"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **locale}
    command = [sys.executable, *options, "-c", program, "é".encode()]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    expected = "'\\udcc3\\udca9'\n" if options else "'\\xe9'\n"  # insisted on
    assert (result.returncode, result.stdout, result.stderr) == (0, expected, "")


def test_reader_that_leaves_early_is_no_traceback() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "pisam.cli", "sets"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, error) == (2, "error: output: whoever read it has closed the pipe\n")


def test_import_of_a_url_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import-released", "https://example.org/pi_sam.pth"]) == 2
    assert "expected a local file, got a URL; download it" in capsys.readouterr().err


def test_a_working_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    source = str(Path(cli.__file__).parents[1])
    code = "import os, sys; os.rmdir(os.getcwd()); from pisam.cli import main; sys.exit(main(['sets']))"
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "gone",
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr.startswith("error: the working folder cannot be used (") and done.stderr.count("\n") == 1
    )
