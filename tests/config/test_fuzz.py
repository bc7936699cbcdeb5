"""Odd configurations and arguments by the hundred: the configuration, or exit 2 with one line; never more."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pisam.commands.shared.command import commands
from pisam.config.reference import entries

ROOT = Path(__file__).resolve().parents[2]
BATCHES, CASES = 3, 100  # of each kind; 600 cases in all
SECONDS, GIGABYTES = 5.0, 1.0
KEYS = [entry.key for entry in entries()]
VALUES = [
    "", "~", "null", "true", "yes", "-1", "0", "1", "1e-4", "1e10", "1e999", "-0.0", ".nan", ".inf", "0x1f",
    "0o17", "0123", "12:30", "1_000", "9" * 25, "9" * 400, "9" * 5000, "[]", "{}", "[1, [2, [3]]]",
    "{a: b}", "[" * 500, "[" * 3000, "{a: " * 200, "a" * 300, "a/" * 2000, "../..", "..", ".", "/", "//",
    "\\", "~/x", "~root", "~nobody-here/x", "\0", "a\0b", "\x1b[31m", "\udcff", "\u202e", "\ud800", "é",
    "𝔘", "'", '"', "'a", "a: b: c", "- a", "*x", "&x 1", "!!python/object:os.system x", "!!binary aGk=",
    "!!set {a}", "!!timestamp 2001-01-01", "<<: 1", "2001-01-01", "${oc.env:HOME}", "???", "%", "@x", "`x`",
    "#", "a #b", "|", ">", "? a", "https://x/y.ckpt", "file:///etc/passwd", "/dev/zero", "/proc/self/mem",
    "[0, 1]", "[-1]", "[true]", "[.nan]", "[null]", "auto", "nano", "[{name: a}]",
    "[{name: .., images: a, masks: b}]", "[{name: {}, images: [], masks: 3}]", "{Normalize: {mean: x}}",
    "1,2,3,4", "nan,0,1,1", "65536", "0.0.0.0", "*", "human", "[sam,sam]", "[pi,bogus]", "masks:.",
    "os:system",
]  # fmt: skip
VERBS = {command.name: command for command in commands() if command.name != "demo"}
WORDS = ["quickstart", "quikstart", "FILE", "stage=1", "stage=3", "--help", "-v", "--", "-", "a", "."]
RIGHT = {"N": "2", "true|false": "false", "1|2": "1", "DIR": ".", "FILE": "FILE", "PATH": ".", "NAME": "a"}
"""A value that fits, by what a command takes: what else is wrong is found only beside it."""


def configurations(rng: random.Random) -> Iterator[tuple[list[str], bytes]]:
    """Files that are nearly experiments, one mutation or two away from one."""
    whole = (ROOT / "experiments" / "quickstart.yaml").read_bytes()
    while True:
        kind = rng.randrange(6)
        if kind == 0:  # one key of the schema, one odd value
            *sections, name = rng.choice(KEYS).split(".")
            value = f"{name}: {rng.choice(VALUES)}"
            for section in reversed(sections):
                value = f"{section}:\n" + "\n".join(f"  {line}" for line in value.split("\n"))
            content = value.encode("utf-8", "surrogatepass")
        elif kind == 1:  # bytes changed
            data = bytearray(whole)
            for _ in range(rng.randint(1, 20)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            content = bytes(data)
        elif kind == 2:  # cut, doubled
            at = rng.randrange(len(whole))
            content = whole[:at] + whole[at // 2 :]
        elif kind == 3:  # lines shuffled
            lines = whole.splitlines(keepends=True)
            rng.shuffle(lines)
            content = b"".join(lines)
        elif kind == 4:  # an odd text put in anywhere
            at = rng.randrange(len(whole))
            content = whole[:at] + rng.choice(VALUES).encode("utf-8", "surrogatepass") + whole[at:]
        else:  # another encoding, or noise
            content = rng.choice(
                [whole.decode().encode("utf-16"), rng.randbytes(rng.randrange(500)), b"\xef\xbb\xbf" + whole]
            )
        yield ["config", "FILE"], content


def arguments(rng: random.Random) -> Iterator[tuple[list[str], bytes]]:
    """Verbs with keys that they know and do not know; nothing that they need is there."""
    absent = b"data: {root: absent, train: [DIS5K-TR], val: [DIS5K-VD]}\nlogging: {mode: disabled}\n"
    while True:
        verb = rng.choice(list(VERBS))
        own = VERBS[verb].keys
        given = [verb, *["FILE"] * max(1, len(VERBS[verb].words))]
        odd = [rng.choice([*KEYS, *own] if rng.random() < 0.5 or not own else list(own)) for _ in range(2)]
        for key, kind in own.items():
            if key not in odd and kind in RIGHT and rng.random() < 0.7:
                given.append(f"{key}={RIGHT[kind]}")
        for key in odd[: rng.randint(0, 2)]:
            if rng.random() < 0.1:
                at, to = rng.randrange(len(key)), rng.randrange(len(key))
                key = key[:at] + rng.choice(VALUES)[:50] + key[to:]
            given.append(rng.choice([rng.choice(WORDS), *[f"{key}={rng.choice(VALUES)}"] * 3]))
        yield given, absent


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("kind", [configurations, arguments], ids=lambda kind: kind.__name__)
def test_odd_input_ends_with_one_line(kind: Any, batch: int) -> None:
    seed = f"{kind.__name__} {batch}"
    print(f"seed: {seed!r}")
    generator = kind(random.Random(seed))
    cases = [next(generator) for _ in range(CASES)]
    sent = [{"arguments": a, "file": base64.b64encode(content).decode()} for a, content in cases]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "utf-8:surrogatepass"}
    result = subprocess.run(
        [sys.executable, ROOT / "tests" / "helpers" / "fuzzed_commands.py"],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0, f"seed {seed!r}: {result.stderr[-3000:]}"
    answer = json.loads(result.stdout)
    assert answer["peak"] <= GIGABYTES
    for (given, content), came in zip(cases, answer["results"], strict=True):
        case = f"seed {seed!r}: {given!r} {content[:200]!r}\n{came}"
        assert came["code"] in (0, 1, 2), case
        if came["code"] == 2:
            errors = [
                line for line in came["error"].splitlines() if not line.startswith(("  reads", "  writes"))
            ]
            assert errors[-1].startswith("error: ") and sum("error: " in line for line in errors) == 1, case
        assert "Traceback" not in came["error"] and came["seconds"] <= SECONDS, case
