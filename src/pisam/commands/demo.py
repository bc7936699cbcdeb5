"""Open the page of `pisam serve` in a browser: drag a box, click what is wrong.

    pisam demo [MODEL] [image_size=N] [port=N] [browser=true]

MODEL: a checkpoint (.ckpt, .safetensors), a run's folder, or one that pisam export wrote (default: the
trained model of the repository, else the quick start's run).

group: Use
image_size=N: side of the frame (default: that of its training); 1024 shows more than 512, and takes longer
port=N: (default: 8765; 0 = a free one)
browser=true|false: open it (default: true); its address is printed in any case
"""

from __future__ import annotations

import webbrowser

from pisam.commands.serve import serve
from pisam.commands.shared.command import Arguments


def run(arguments: Arguments) -> None:
    """Serve until Ctrl-C."""

    def started(address: str) -> None:
        print(address, flush=True)
        if arguments.own.get("browser") != "false":
            webbrowser.open(address)

    serve(arguments, started)
