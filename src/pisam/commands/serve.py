"""Answer over HTTP: sessions, a page to click on, Label Studio and X-AnyLabeling.

    pisam serve [MODEL] [host=ADDRESS] [port=N] [token=TOKEN] [cors=ORIGIN] [label_studio=URL]
            [label_studio_key=KEY] [image_size=N] [threads=N] [sessions=N] [memory=N] [megapixels=N]

MODEL: a checkpoint (.ckpt, .safetensors), a run's folder, or one that pisam export wrote (default: the
trained model of the repository, else the quick start's run).

group: Use
host=ADDRESS: to listen on (default: 127.0.0.1, this machine alone); any other one needs a token
port=N: (default: 8765; 0 = a free one)
token=TOKEN: what everybody must send; made up and printed where another host needs one and none is given
cors=ORIGIN: pages of this one site may ask too, for example https://tools.example; * is refused
label_studio=URL: the Label Studio whose pictures are fetched; none else is
label_studio_key=KEY: its API key (default: $LABEL_STUDIO_API_KEY)
image_size=N: side of the frame (default: that of its training); 1024 shows more than 512, and takes longer
threads=N: requests worked on at a time (default: 2)
sessions=N: the most at a time (default: 64)
memory=N: megabytes of pictures, encodings and answers, about (default: 1024)
megapixels=N: of a picture, the most (default: 25)
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from pisam.commands.shared.command import Arguments
from pisam.commands.shared.models import load_engines
from pisam.core.errors import PisamError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def run(arguments: Arguments) -> None:
    """Serve until Ctrl-C."""
    serve(arguments, partial(print, flush=True))  # into a log, too: the token may be made up


def serve(arguments: Arguments, started: Callable[[str], object]) -> None:
    """Serve until Ctrl-C; `started` is told the page's address once the server listens.

    Raises:
        PisamError: a package is missing, a wrong value, no model, or the address cannot be listened on.
    """
    own, host = arguments.own, arguments.own.get("host", LOOPBACK[0])
    port = arguments.number("port", 8765, 0, 65535)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise PisamError(f"serve: {error.name} is not installed: pip install 'pisam[serve]'") from error
    from pisam.serve.app import Settings
    from pisam.serve.listen import listen
    from pisam.serve.pictures import Limits

    local = host in LOOPBACK
    settings = Settings(
        token=_sendable("token", own.get("token")) or (None if local else secrets.token_urlsafe(16)),
        hosts=LOOPBACK if local else (),
        cors=_address(arguments, "cors"),
        label_studio=_address(arguments, "label_studio"),
        label_studio_key=_sendable(
            "label_studio_key", own.get("label_studio_key") or os.environ.get("LABEL_STUDIO_API_KEY")
        ),
        threads=arguments.number("threads", 2),
        sessions=arguments.number("sessions", 64),
        memory=arguments.number("memory", 1024) * 2**20,
        limits=Limits(pixels=arguments.number("megapixels", 25) * 10**6),
    )
    listen(load_engines(arguments)[0], settings, host, port, started)


def _sendable(key: str, value: str | None) -> str | None:
    """A secret, which the header of a request must be able to carry; raises PisamError: it cannot."""
    if value and not re.fullmatch(r"[!-~]+( +[!-~]+)*", value):
        raise PisamError(f"{key}: expected ASCII that HTTP can send: no accents, no blank at an end")
    return value


def _address(arguments: Arguments, key: str) -> str | None:
    """The address of a site, as browsers write it; raises PisamError: it is none."""
    from pisam.serve.pictures import origin

    value = arguments.own.get(key)
    found = value and origin(value)
    if value and (found is None or urlsplit(value)._replace(scheme="", netloc="").geturl() not in ("", "/")):
        raise PisamError(f"{key}={value}: expected one http(s)://NAME or http(s)://NAME:PORT, no path")
    return found
