"""Run by tests that throw odd input at the command: many calls of `main` in one process, each watched.

`python fuzzed_commands.py` reads a JSON list of {"arguments": [...], "file": base64 or null} from stdin; the
file is written to what FILE stands for in the arguments. It prints what came of each call as JSON.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import resource
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pisam.cli import main
from pisam.commands.shared.command import commands


def call(arguments: list[str], content: str | None, folder: Path) -> dict[str, Any]:
    file = folder / "case.yaml"
    if content is not None:
        file.write_bytes(base64.b64decode(content))
    arguments = [argument.replace("FILE", str(file)) for argument in arguments]
    out, error, begun = io.StringIO(), io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code: Any = main(arguments)
        except BaseException:
            code = traceback.format_exc()
    seconds = time.process_time() - begun
    return {"code": code, "error": error.getvalue(), "seconds": seconds}


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # which is in kB on Linux


if __name__ == "__main__":
    for command in commands():
        import_module(command.module)  # which takes longer than most calls
    imported = peak_gigabytes()
    with TemporaryDirectory() as name:
        os.chdir(name)
        results = [call(case["arguments"], case["file"], Path(name)) for case in json.load(sys.stdin)]
    json.dump({"results": results, "peak": peak_gigabytes() - imported}, sys.stdout)
