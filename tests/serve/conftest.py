"""A server in a thread of its own, on a free port, and what a client says to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from helpers.served import Client, Start
from pisam.onnx.engine import OnnxEngine
from pisam.serve.app import Settings, build_app
from pisam.serve.listen import ImpatientProtocol


@pytest.fixture(scope="session")
def engine(exported: Path) -> OnnxEngine:
    return OnnxEngine(exported, threads=1)


@pytest.fixture(scope="session")
def start(engine: OnnxEngine) -> Iterator[Start]:
    """Starts servers, which end with the tests."""
    servers = []

    def listen(settings: Settings) -> Client:
        config = uvicorn.Config(
            build_app(engine, settings), port=0, log_level="warning", http=ImpatientProtocol, ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        servers.append((server, thread))
        return Client(server.servers[0].sockets[0].getsockname()[1])

    yield listen
    for server, _ in servers:
        server.should_exit = True
    for _, thread in servers:
        thread.join(20)


@pytest.fixture(scope="session")
def client(start: Start) -> Client:
    """Of a server as `pisam serve` starts it."""
    return start(Settings(hosts=("127.0.0.1", "localhost", "::1")))
