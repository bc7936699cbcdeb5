"""A model of the user's own: a class of a Python file that the command line names."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from pisam.core.errors import PisamError
from pisam.core.files import sha256_of
from pisam.evaluation.benchmark.entrant import facts_of


def load_class(path: Path, name: str) -> Any:
    """An object of class `name` of a Python file, made without arguments.

    Runs the file, which may import what lies beside it: name none but your own. Its hash is kept with the
    results, lest those of an earlier state be taken for its own.

    Raises:
        PisamError: no such file or class, or an error of its own, with the line.
    """
    if not path.is_file():
        raise PisamError(f"models: no file {path}")
    spec = importlib.util.spec_from_file_location(f"pisam_entrant_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look there
    sys.path.append(str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
        made = getattr(module, name, None)
        entrant = made() if callable(made) else None
        if entrant is not None:
            type(entrant).code_sha256 = sha256_of(path)
            facts_of(entrant)  # its properties may fail, too
    except (Exception, SystemExit) as error:
        where, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(path):
                where = f":{trace.tb_lineno}"
            trace = trace.tb_next
        raise PisamError(f"models: {path}{where}: {type(error).__name__}: {error}") from error
    if entrant is None:
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and key[:1] != "_"]
        raise PisamError(f"models: {path} has no class {name}; it has {', '.join(classes) or 'none'}")
    if missing := [method for method in ("encode", "answer") if not callable(getattr(entrant, method, None))]:
        raise PisamError(f"models: {path}:{name} has no method {missing[0]}; see docs/benchmark.md")
    return entrant
