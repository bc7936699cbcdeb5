"""Listening for requests, with uvicorn; whoever does not say what it wants is not waited for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pisam.core.errors import PisamError
from pisam.predictor.engine import Engine
from pisam.serve.app import Settings, build_app

HEAD_SECONDS = 10  # until a request's headers are there
CONNECTIONS = 512
LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class ImpatientProtocol(H11Protocol):
    """HTTP in which a connection whose first headers do not arrive is closed; uvicorn waits forever."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock of a new connection."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, error: Exception | None) -> None:
        """Stop the clock of a connection that is gone."""
        self._patience.cancel()
        super().connection_lost(error)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.write(LATE)
            self.transport.close()


def listen(
    engine: Engine, settings: Settings, host: str, port: int, started: Callable[[str], object]
) -> None:
    """Serve until Ctrl-C.

    Args:
        engine: of all sessions.
        settings: see there.
        host: address to listen on.
        port: 0 = a free one.
        started: told the page's address.

    Raises:
        PisamError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise PisamError(
                f"serve: {host}:{port}: {error.strerror}; give another host= or port="
            ) from error
        config = uvicorn.Config(
            build_app(engine, settings),
            http=ImpatientProtocol,
            ws="none",
            log_level="warning",
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        query = f"?token={settings.token}" if settings.token else ""
        started(f"http://{shown}:{listener.getsockname()[1]}/{query}")
        asyncio.run(uvicorn.Server(config).serve([listener]))
