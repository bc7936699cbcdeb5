"""Listening for requests, with uvicorn; whoever does not say what it wants is not waited for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pisam.core.errors import PisamError
from pisam.predictor.engine import Engine
from pisam.serve.app import Settings, build_app

HEAD_SECONDS = 10  # until a request's headers are there
TAKE_SECONDS = 20  # in which a client has read another TAKEN bytes of an answer, or is done
TAKEN = 2**16
CONNECTIONS = 512
LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class ImpatientProtocol(H11Protocol):
    """HTTP in which headers that do not arrive, or answers that nobody takes, close the connection.

    uvicorn waits forever for the headers of a connection's first request, for the rest of those of a later
    one, and for a client that does not read.
    """

    _head: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock of a new connection."""
        super().connection_made(transport)
        self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Start the clock of a further request with its first bytes; stop it where the headers are there."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            _stop(self._head)
            self._head = None
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, error: Exception | None) -> None:
        """Stop the clocks of a connection that is gone."""
        _stop(self._head, self._taking)
        super().connection_lost(error)

    def pause_writing(self) -> None:
        """Start the clock of an answer that fills the socket."""
        super().pause_writing()
        self._await_taking(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stop it where the client has read all."""
        _stop(self._taking)
        super().resume_writing()

    def _await_taking(self, left: int) -> None:
        def look() -> None:
            if (now := self.transport.get_write_buffer_size()) > left - TAKEN:
                self.transport.abort()
            else:
                self._await_taking(now)

        self._taking = self.loop.call_later(TAKE_SECONDS, look)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(LATE)
            self.transport.close()


def _stop(*clocks: asyncio.TimerHandle | None) -> None:
    for clock in clocks:
        if clock is not None:
            clock.cancel()


def listen(
    engine: Engine, settings: Settings, host: str, port: int, started: Callable[[str], object]
) -> None:
    """Serve until Ctrl-C; `started` is told the page's address. Port 0 is a free one.

    Raises:
        PisamError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # whoever is told the address may ask at once
        except (OSError, TypeError) as error:  # of `bind`, where the name cannot be one
            cause = getattr(error, "strerror", "no such name")
            raise PisamError(f"serve: {host}:{port}: {cause}; give another host= or port=") from error
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
        query = f"?token={quote(settings.token, safe='')}" if settings.token else ""
        started(f"http://{shown}:{listener.getsockname()[1]}/{query}")
        asyncio.run(uvicorn.Server(config).serve([listener]))
