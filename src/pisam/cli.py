"""The `pisam` command: finds a verb's file in `pisam.commands`, checks its arguments and calls its `run`.

What a verb needs is imported after its arguments proved valid: a typo fails at once, without torch.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, cast

from pisam.core.errors import INTERRUPTED, PisamError, nearest

GROUPS = ("Train", "Measure", "Use", "Data", "Set up")
USAGE = """usage: pisam VERB [EXPERIMENT] [key=value ...] [-v]
       pisam VERB --help | pisam --version"""


def entry() -> NoReturn:
    """Run the command of this process; Ctrl-C ends it with 130 at any time."""
    signal.signal(signal.SIGINT, _leave)
    _read_names_as_utf8()
    for stream in (sys.stdout, sys.stderr):  # a terminal without Unicode must not end a run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    code = main()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as ranks do, see `serve_starter`
        signal.signal(signal.SIGINT, _leave)  # while W&B and torch clean up, too
    sys.exit(code)


def _read_names_as_utf8() -> None:
    """Begin anew where the locale takes names of files for another encoding than all others do.

    Files of names, records and the seeds of samples would not agree with those of other runs.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1" and sys.executable:
        if sys.stdout is not None:  # the terminal stays what it is
            os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit code: 0; 1 where an audit found something to mend; 2 after bad input, told in one line on
        stderr; 130 after Ctrl-C.
    """
    from pisam.core.processes import serve_starter
    from pisam.core.terminal import VERBOSE

    serve_starter()
    try:
        os.getcwd()
    except OSError as error:
        return _fail(f"the working folder cannot be used ({error.strerror}); change to another")
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except PisamError as error:
        return _fail(_one_line(error))
    except BrokenPipeError:
        if (stdout := sys.__stdout__) is not None and sys.stdout is stdout:  # flushed once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return _fail("output: whoever read it has closed the pipe")
    except OSError as error:  # the last resort: whoever opens a file says what it is for
        if os.environ.get(VERBOSE):
            raise
        named = error.filename is not None and error.strerror is not None
        return _fail(_one_line(OSError(f"{error.filename}: {error.strerror}") if named else error))
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(argv: list[str]) -> int:
    import pisam
    from pisam.commands.shared.command import commands
    from pisam.core.terminal import VERBOSE, quiet

    if any(flag in argv for flag in ("-v", "--verbose")):
        os.environ[VERBOSE] = "1"  # further ranks and trials inherit it
    argv = [argument for argument in argv if argument not in ("-v", "--verbose")]
    wants_help = any(flag in argv for flag in ("-h", "--help"))
    if argv[:1] == ["--version"]:
        print(f"pisam {pisam.__version__}")
        return 0
    verbs = {command.name: command for command in commands()}
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview(list(verbs.values())))
        print("" if argv else f"\nNext: {_next_step()}")
        return 0
    if (command := verbs.get(argv[0])) is None:
        raise PisamError(f"{argv[0]}: no such command{nearest(argv[0], verbs)}; `pisam --help` lists them")
    if wants_help:
        print(command.text())
        return 0
    for argument in argv[1:]:
        if argument.startswith("-") and "=" not in argument:
            raise PisamError(f"{argument}: no such option of pisam {command.name}, see --help")
    arguments = command.read(argv[1:])
    if command.takes_experiment:
        arguments.config()
    from contextlib import redirect_stdout
    from importlib import import_module

    from pisam.core.terminal import Printable

    quiet()
    run = import_module(command.module).run
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with redirect_stdout(cast(Any, Printable(sys.stdout))):
        return int(run(arguments) or 0)


def _overview(verbs: list) -> str:
    lines = ["Train, evaluate and use Pi-SAM.", "", USAGE]
    for group in sorted({verb.group for verb in verbs}, key=GROUPS.index):
        lines += ["", f"{group}:"]
        lines += [f"  {verb.name:<16} {verb.summary}" for verb in verbs if verb.group == group]
    return "\n".join(lines)


def _next_step() -> str:
    """The step that a newcomer would take now, by what this folder holds."""
    if not Path("experiments").is_dir():
        return "pisam init DIR, which makes a folder with the experiments to work in"
    run = Path("runs") / "quickstart"
    for done, step in (
        (run / "stage1/summary.json", "pisam train quickstart stage=1"),
        (run / "stage2/summary.json", "pisam train quickstart stage=2"),
        (run / "evaluate/summary.json", "pisam evaluate quickstart"),
        (run / "interact/summary.json", "pisam interact quickstart"),
        (run / "report/index.html", "pisam report quickstart"),
    ):
        if not done.is_file():
            return step
    return f"open {run / 'report/index.html'} in a browser; then your own pictures, see docs/data.md"


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End here and now: an exception raised within an import or a clean-up may be swallowed by it."""
    os._exit(INTERRUPTED)


def _fail(message: str) -> int:
    print(f"{_rank_label()}error: {message}", file=sys.stderr)
    return 2


def _one_line(error: Exception) -> str:
    """The message, printable; that of a loader's worker process is the end of a traceback."""
    from pisam.core.terminal import one_line

    _, _, message = str(error).rpartition("pisam.core.errors.PisamError: ")
    return one_line(message)


def _rank_label() -> str:
    """The rank of this process in brackets, so that an error of one rank alone is not lost."""
    variables = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    rank = next((os.environ[name] for name in variables if name in os.environ), "0")
    return "" if rank == "0" else f"[rank {rank}] "


if __name__ == "__main__":
    entry()
