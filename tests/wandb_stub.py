"""A W&B server on this machine: as much of its HTTP interface as sweeps, agents and runs need."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

ENTITY, PROJECT, SWEEP = "someone", "small-tests", "sweep1"
KEY = "5d0c0ffee5d0c0ffee5d0c0ffee5d0c0ffee5d0c"  # as long as a real one
PROJECT_NODE = {"id": "p", "name": PROJECT, "entity": {"id": "e", "name": ENTITY}}


class WandbStub(ThreadingHTTPServer):
    """Gives out the grid of the sweep that was registered, one trial at a time, then tells the agent to go.

    Attributes:
        operations: names of all GraphQL operations, in order.
        sweep: what the sweep file said.
        history: rows of metrics by run id.
        closed: has been killed.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.operations: list[str] = []
        self.sweep: dict[str, Any] = {}
        self.trials: Iterator[tuple[str, dict[str, Any]]] = iter(())
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.closed = False

    @property
    def environment(self) -> dict[str, str]:
        """What W&B's programs must be told."""
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.server_port}", "WANDB_API_KEY": KEY}

    def kill(self) -> None:
        """No answer to anything any more."""
        if not self.closed:
            self.closed = True
            self.shutdown()
            self.server_close()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The `data` of a GraphQL answer."""
        self.operations.append(operation)
        match operation:
            case "UpsertSweep":
                self._take_sweep(yaml.safe_load(variables["config"]))
                return {
                    "upsertSweep": {
                        "sweep": {"name": SWEEP, "project": PROJECT_NODE},
                        "configValidationWarnings": [],
                    }
                }
            case "SweepWithRuns":
                sweep = {"id": SWEEP, "name": SWEEP, "config": yaml.safe_dump(self.sweep)}
                return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}
            case "CreateAgent":
                return {"createAgent": {"agent": {"id": "agent1"}}}
            case "Heartbeat":
                commands = json.dumps(self._commands(json.loads(variables["runState"])))
                return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": commands}}
            case "UpsertBucket":
                run = variables.get("name")
                bucket = {"id": run, "name": run, "displayName": run, "sweepName": SWEEP, "config": "{}"}
                return {
                    "upsertBucket": {"bucket": {**bucket, "project": PROJECT_NODE}, "inserted": True},
                }
            case "CreateRunFiles":
                url = f"{self.environment['WANDB_BASE_URL']}/upload"
                files = [{"name": name, "uploadUrl": url} for name in variables["files"]]
                return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
            case "RunResumeStatus":
                return {
                    "model": {"id": "p", "name": PROJECT, "entity": PROJECT_NODE["entity"], "bucket": None}
                }
            case "RunStoppedStatus":
                return {"project": {"run": {"stopped": False}}}
            case _:  # who asks, and what this server can do
                viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}"}
                return {
                    "viewer": {**viewer, "teams": {"edges": []}},
                    "serverInfo": {"cliVersionInfo": {"max_cli_version": "0.99.0"}, "features": []},
                }

    def take_rows(self, run: str, stream: dict[str, Any]) -> None:
        """Rows that a run sends while it goes on."""
        for line in stream.get("files", {}).get("wandb-history.jsonl", {}).get("content", []):
            self.history.setdefault(run, []).append(json.loads(line))

    def _take_sweep(self, sweep: dict[str, Any]) -> None:
        self.sweep = sweep
        names = list(sweep["parameters"])
        grid = itertools.product(*(sweep["parameters"][name]["values"] for name in names))
        self.trials = (
            (f"trial{number}", dict(zip(names, values, strict=True))) for number, values in enumerate(grid, 1)
        )

    def _commands(self, running: dict[str, bool]) -> list[dict[str, Any]]:
        if running:
            return []
        run, values = next(self.trials, (None, {}))
        if run is None:
            return [{"type": "exit"}]
        arguments = {name: {"value": value} for name, value in values.items()}
        return [{"type": "run", "run_id": run, "args": arguments, "program": self.sweep["program"]}]


class _Handler(BaseHTTPRequestHandler):
    server: WandbStub

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            asked = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            name = operation[1] if operation else ""
            self._send({"data": self.server.answer(name, asked.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            self.server.take_rows(self.path.split("/")[-2], json.loads(body))
            self._send({})
        else:
            self._send({})

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def do_GET(self) -> None:
        self._send({})

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


@contextmanager
def wandb_stub() -> Iterator[WandbStub]:
    """The server, in a thread, until the block ends or it is killed."""
    server = WandbStub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.kill()
        thread.join(10)
