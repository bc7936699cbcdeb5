"""A W&B server on this machine: as much of its HTTP interface as sweeps, agents, runs and `wandb sync` need.

`python wandb_stub.py` is the server; it says its port, and GET /seen answers what it has got.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import pytest

ENTITY, PROJECT, SWEEP = "someone", "small-tests", "sweep1"
KEY = "5d0c0ffee5d0c0ffee5d0c0ffee5d0c0ffee5d0c"  # as long as a real one
PROJECT_NODE = {"id": "p", "name": PROJECT, "entity": {"id": "e", "name": ENTITY}}


@dataclass
class Seen:
    """What the server was told.

    Attributes:
        operations: names of all GraphQL operations, in order.
        sweep: what the sweep file said.
        history: lines of metrics by run, each where its run said that it belongs.
        exits: exit codes by run, one for each process that told its own.
        artifacts: name, digest and aliases of each artifact that was logged.
        used: digests of the artifacts that runs were made from.
    """

    operations: list[str] = field(default_factory=list)
    sweep: dict[str, Any] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)
    exits: dict[str, list[int]] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    used: list[str] = field(default_factory=list)

    def rows(self, run: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.history.get(run, [])]


class WandbStub:
    """The server as a process."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def announce(self, environment: pytest.MonkeyPatch) -> None:
        """Let W&B's programs know it."""
        environment.setenv("WANDB_BASE_URL", self.url)
        environment.setenv("WANDB_API_KEY", KEY)

    def seen(self) -> Seen:
        with urllib.request.urlopen(f"{self.url}/seen", timeout=60) as answer:
            return Seen(**json.load(answer))

    def kill(self) -> None:
        """SIGKILL: no answer to anything any more."""
        self._process.kill()
        self._process.wait()


@contextmanager
def wandb_stub() -> Iterator[WandbStub]:
    """The server, until the block ends or it is killed."""
    server = WandbStub()
    try:
        yield server
    finally:
        server.kill()


def own_place(environment: pytest.MonkeyPatch, folder: Path) -> None:
    """W&B's programs write below `folder` alone, heed no setting of this user, and soon give up."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        environment.delenv(name)
    (folder / "home").mkdir()
    for name in ("HOME", "WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        environment.setenv(name, str(folder / "home"))
    environment.setenv("WANDB_HTTP_TIMEOUT", "3")
    environment.setenv("WANDB_INIT_TIMEOUT", "5")
    environment.setenv("WANDB_FINISH_TIMEOUT", "10")


def assert_no_key(folder: Path, *texts: str) -> None:
    """The key is in no file below `folder`, and in none of the texts."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert not any(KEY in text for text in texts)


class Server(ThreadingHTTPServer):
    """Gives out the grid of the sweep that was registered, one trial at a time, then tells the agent to go.

    A trial that said that it was preempted, and did not end well, is given out again.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = Seen()
        self.lock = threading.Lock()
        self.waiting: deque[str] = deque()
        self.trials: dict[str, dict[str, Any]] = {}
        self.preempted: set[str] = set()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The `data` of a GraphQL answer."""
        self.seen.operations.append(operation)
        match operation:
            case "UpsertSweep":
                self._take_sweep(yaml.safe_load(variables["config"]))
                sweep = {"name": SWEEP, "project": PROJECT_NODE}
                return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}
            case "SweepWithRuns":
                sweep = {"id": SWEEP, "name": SWEEP, "config": yaml.safe_dump(self.seen.sweep)}
                return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}
            case "CreateAgent":
                return {"createAgent": {"agent": {"id": "agent1"}}}
            case "Heartbeat":
                commands = json.dumps(self._commands(json.loads(variables["runState"])))
                return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": commands}}
            case "UpsertBucket":
                run = variables.get("name")
                bucket = {"id": run, "name": run, "displayName": run, "sweepName": SWEEP, "config": "{}"}
                return {"upsertBucket": {"bucket": {**bucket, "project": PROJECT_NODE}, "inserted": True}}
            case "ArtifactType":
                return {"project": None}  # no artifact of that name yet
            case "CreateArtifact":
                told = variables["input"]
                self.seen.artifacts.append(
                    {
                        "name": told["artifactCollectionName"],
                        "digest": told["digest"],
                        "aliases": [alias["alias"] for alias in told["aliases"] or []],
                    }
                )
                artifact = {"id": told["digest"], "artifactSequence": {"latestArtifact": None}}
                return {"createArtifact": {"artifact": {**artifact, "state": "COMMITTED"}}}  # no upload
            case "UseArtifact":
                used = variables["input"]["artifactID"]
                self.seen.used.append(used)
                return {"useArtifact": {"artifact": {"id": used}}}
            case "RunResumeStatus":
                return {"model": {**PROJECT_NODE, "bucket": self._bucket(variables["name"])}}
            case "RunStoppedStatus":
                return {"project": {"run": {"stopped": False}}}
            case "CreateRunFiles":
                url = f"http://127.0.0.1:{self.server_port}/upload"
                files = [{"name": name, "uploadUrl": url} for name in variables["files"]]
                return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
            case _:  # who asks, and what this server can do
                viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}"}
                return {
                    "viewer": {**viewer, "teams": {"edges": []}},
                    "serverInfo": {"cliVersionInfo": {"max_cli_version": "0.99.0"}, "features": []},
                }

    def take_stream(self, run: str, stream: dict[str, Any]) -> None:
        """What a run sends while it goes on, and how it ended."""
        history = self.seen.history.setdefault(run, [])
        if file := stream.get("files", {}).get("wandb-history.jsonl"):
            history[file["offset"] : file["offset"] + len(file["content"])] = file["content"]
        if stream.get("preempting"):
            self.preempted.add(run)
        if stream.get("complete"):
            self.seen.exits.setdefault(run, []).append(stream["exitcode"])
            if run in self.preempted and run in self.trials and stream["exitcode"]:
                self.waiting.appendleft(run)
            self.preempted.discard(run)

    def _bucket(self, run: str) -> dict[str, Any] | None:
        """What a run that goes on must know of itself, None for one that begins."""
        if run not in self.seen.history:
            return None
        lines = self.seen.history[run]
        told = {"historyLineCount": len(lines), "historyTail": json.dumps(lines[-1:])}
        told |= {"eventsLineCount": 0, "eventsTail": "[]", "logLineCount": 0, "summaryMetrics": "{}"}
        return {"id": run, "name": run, "displayName": run, "config": "{}", "wandbConfig": '{"t": 1}', **told}

    def _take_sweep(self, sweep: dict[str, Any]) -> None:
        self.seen.sweep = sweep
        names = list(sweep["parameters"])
        grid = itertools.product(*(sweep["parameters"][name]["values"] for name in names))
        for number, values in enumerate(grid, 1):
            self.trials[f"trial{number}"] = dict(zip(names, values, strict=True))
        self.waiting.extend(self.trials)

    def _commands(self, running: dict[str, bool]) -> list[dict[str, Any]]:
        if running:
            return []
        if not self.waiting:
            return [{"type": "exit"}]
        run = self.waiting.popleft()
        arguments = {name: {"value": value} for name, value in self.trials[run].items()}
        program = self.seen.sweep["program"]
        return [{"type": "run", "run_id": run, "args": arguments, "program": program}]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self._body()
        with self.server.lock:
            if self.path == "/graphql":
                asked = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                name = operation[1] if operation else ""
                self._send({"data": self.server.answer(name, asked.get("variables") or {})})
            elif self.path.endswith("/file_stream"):
                self.server.take_stream(self.path.split("/")[-2], json.loads(body))
                self._send({})
            else:
                self._send({})

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def do_GET(self) -> None:
        with self.server.lock:
            self._send(asdict(self.server.seen) if self.path == "/seen" else {})

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the tests' output stays readable."""

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, answer: Any) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    server = Server()
    print(server.server_port, flush=True)
    server.serve_forever()
