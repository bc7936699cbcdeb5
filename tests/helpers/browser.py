"""Debian's chromium without a window, told what to do over a pipe: real clicks and keys on a real page.

Nothing is downloaded: `make test` installs the browser where it can, see the Makefile.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAME = "chromium"
PATIENCE = 120  # seconds until an answer is given up; answers take milliseconds where nothing else runs
KEYS = {
    "ArrowRight": 39,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowDown": 40,
    "Backspace": 8,
    "End": 35,
    "Home": 36,
    "Tab": 9,
    "Enter": 13,
}


def find_browser() -> str:
    """The browser's path; without one a test is skipped, or fails where `make test` could install it."""
    if path := shutil.which(NAME):
        return path
    if os.geteuid() == 0 and shutil.which("apt-get"):
        pytest.fail(f"no {NAME} on this machine, although root can install it: run `make browser`")
    pytest.skip(f"no {NAME} on this machine: install it, on Debian with apt-get install {NAME}")


class Browser:
    """A browser with one page, by Chrome's DevTools protocol; a context manager.

    Args:
        profile: an empty folder of its own.
        width: of the window, in pixels.
        height: likewise.

    Attributes:
        addresses: of everything that was asked for since the start.
        complaints: errors of the page's scripts.
        tab: that is talked to.
    """

    def __init__(self, profile: Path, *, width: int = 1400, height: int = 1000) -> None:
        self.addresses: list[str] = []
        self.complaints: list[str] = []
        self._loads = 0
        self._numbers = itertools.count(1)
        self._unread = b""
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4; from 10 on they are nobody's.
        theirs = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (commands, answers)]
        options = [
            "--headless",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}', find_browser(), *options],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (commands, answers, *theirs):
            os.close(descriptor)
        self.tab: str | None = None
        self.new_tab()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def new_tab(self) -> None:
        """Open another tab, which is talked to from now on."""
        self.tab = None
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self.tab = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.tell(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Open a file from disk and wait until it is loaded."""
        self.visit(path.resolve().as_uri())

    def visit(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        loads = self._loads
        self.tell("Page.navigate", url=address)
        while self._loads == loads:
            self._hear()

    def value(self, expression: str) -> Any:
        """A JavaScript expression's value, a promise's once it is there."""
        answer = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        self.wait_for(lambda: self.value(f"!!({expression})"), expression)

    def wait_for(self, condition: Callable[[], bool], what: str = "condition") -> None:
        """Wait until something is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"in vain: {what}; {self.complaints}"
            time.sleep(0.02)

    def click_at(self, x: float, y: float, *, button: str = "left") -> None:
        """Click a place of the window, in pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float], *, modifiers: int = 0) -> None:
        """Move the mouse from one place of the window to another one, its left button held down."""
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        for kind, (x, y) in (
            ("mousePressed", start),
            ("mouseMoved", middle),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            self.tell(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=0 if kind == "mouseReleased" else 1,
                clickCount=1,
                modifiers=modifiers,
            )

    def key(self, letter: str) -> None:
        """Press a key with a letter or digit on it."""
        for kind in ("keyDown", "keyUp"):
            self.tell(
                "Input.dispatchKeyEvent", type=kind, key=letter, text=letter if kind == "keyDown" else ""
            )

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements that a selector finds."""
        return self.value(f"[...document.querySelectorAll({selector!r})].map(e => e.textContent)")

    def click(self, selector: str, *, at: float = 0.5) -> None:
        """Click the first element that a selector finds, at a share of its width, half-way down."""
        box = self.value(
            f"""(() => {{
                const element = document.querySelector({selector!r});
                element.scrollIntoView({{block: "center", behavior: "instant"}});
                const box = element.getBoundingClientRect();
                return [box.left, box.top, box.width, box.height];
            }})()"""
        )
        self.click_at(box[0] + at * box[2], box[1] + box[3] / 2)

    def press(self, key: str) -> None:
        """Press a key of `KEYS` on what has the focus."""
        pressed: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.tell("Input.dispatchKeyEvent", type="keyDown", **pressed, **text)
        self.tell("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def resize(self, width: int, height: int) -> None:
        """Show the page in a window of that size."""
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot")["data"]))

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.tab:
            message["sessionId"] = self.tab
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (heard := self._hear()).get("id") != number:
            pass
        assert "error" not in heard, f"{method}: {heard['error']}"
        return heard["result"]

    def _hear(self) -> dict[str, Any]:
        """The next message; what a page asks for and complains of is noted."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._from, 1 << 16) if ready else b""
            assert part, f"the browser says nothing any more (it ended with {self._process.poll()})"
            self._unread += part
        text, self._unread = self._unread.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        match message.get("method"):
            case "Page.loadEventFired":
                self._loads += 1
            case "Network.requestWillBeSent":
                self.addresses.append(message["params"]["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
        return message
