"""A headless Chromium for tests, driven through its debugging pipe: no driver, no server, no package."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --mute-audio --no-first-run --disable-dev-shm-usage "
    "--autoplay-policy=no-user-gesture-required --remote-debugging-pipe"
)


def program() -> str | None:
    """The browser of this machine; None if there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Page:
    """A page; what the browser reports meanwhile is in `events`."""

    def __init__(self, send: Any, receive: Any) -> None:
        self._send, self._receive, self._number, self._session = send, receive, 0, None
        self.events: list[dict[str, Any]] = []
        self._seen = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while (answer := json.loads(self._receive())).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def visit(self, path: Path) -> None:
        """Opens a file, and waits until it is loaded."""
        self.call("Page.navigate", url=f"file://{path}")
        while not any(event["method"] == "Page.loadEventFired" for event in self.events[self._seen :]):
            self.events.append(json.loads(self._receive()))
        self._seen = len(self.events)

    def size(self, width: int, height: int) -> None:
        """Sets the size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def run(self, code: str) -> Any:
        """The value of an expression, or of the promise that it gives."""
        answer = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def key(self, name: str) -> None:
        """Presses a key."""
        text = {"text": name} if len(name) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, **(text if kind == "keyDown" else {}))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Moves the mouse with its button held."""
        for kind, (x, y), held in [("mousePressed", start, 1), ("mouseMoved", end, 1), ("mouseReleased", end, 0)]:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)

    def screenshot(self, path: Path) -> Path:
        """Writes the whole page as PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
        return path


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Page]:
    """Context manager: starts a browser, whose profile is in a folder, and gives a page."""
    to_read, to_send = os.pipe()
    answers, to_answer = os.pipe()
    command = f'exec "{program()}" {FLAGS} "--user-data-dir={folder}" 3<&{to_read} 4>&{to_answer}'
    process = subprocess.Popen(
        ["bash", "-c", command], pass_fds=(to_read, to_answer), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(to_answer)
    with open(to_send, "wb", buffering=0) as out, open(answers, "rb") as back:
        try:
            yield Page(lambda text: out.write(text.encode() + b"\0"), lambda: _until_zero(back))
        finally:
            process.terminate()
            process.wait(20)


def _until_zero(file: Any) -> bytes:
    parts = bytearray()
    while (letter := file.read(1)) != b"\0":
        if not letter:
            raise EOFError("the browser has ended")
        parts += letter
    return bytes(parts)
