"""A real browser for tests: headless Chromium, driven through the DevTools protocol over a pipe, with no other package.

Protocol: https://chromedevtools.github.io/devtools-protocol/; messages are JSON that a NUL ends
(``--remote-debugging-pipe``).
"""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli.errors import MissingExtraError
from medimg_cli.media.niivue import viewer_script

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--hide-scrollbars", "--remote-debugging-pipe", "--disable-dev-shm-usage"),
)
#: Seconds in which a page is there; software draws the volumes.
PATIENCE = 120


def _binary() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _has_viewer() -> bool:
    try:
        viewer_script()
    except MissingExtraError:
        return False
    return True


needs_viewer = pytest.mark.skipif(not _has_viewer(), reason="the viewer is not here: run make viewer")
needs_chromium = pytest.mark.skipif(_binary() is None, reason="there is no Chromium")


class Tab:
    """One page of a browser.

    Parameters
    ----------
    process : subprocess.Popen
        Chromium.
    send, receive : int
        Descriptors of its pipes.
    """

    def __init__(self, process: subprocess.Popen[bytes], send: int, receive: int) -> None:
        self.process, self._send, self._receive = process, send, receive
        self._rest, self._last, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return what it answers."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], PATIENCE)
            assert ready, "Chromium does not answer"
            part = os.read(self._receive, 1 << 20)
            assert part, "Chromium ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def js(self, expression: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """Give the window a size, and wait until the page has it."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def open(self, path: Path, width: int = 1200, height: int = 800) -> dict[str, str]:
        """Open a page of ours, wait until it is loaded or has failed, and return what it says of itself."""
        self.resize(width, height)
        self.events.clear()
        self("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            data = self.js("location.href === 'about:blank' ? {} : {...document.documentElement?.dataset}")
            if data.get("state") in ("loaded", "failed"):
                return dict(data)
            time.sleep(0.05)
        raise AssertionError(f"the page did not load: {self.complaints()}")

    def complaints(self) -> list[str]:
        """Return errors of the page so far: exceptions, messages of the console, what the policy blocked."""
        found = []
        for event in self.events:
            facts = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(facts["exceptionDetails"])[:500])
            elif event.get("method") == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
                found.append(json.dumps(facts["args"])[:500])
            elif event.get("method") == "Log.entryAdded" and facts["entry"]["level"] == "error":
                found.append(facts["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """Return the URLs that the page has asked for, without those of data in itself."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        urls = [facts["request"]["url"] for facts in sent]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def picture(self, selector: str = "body") -> np.ndarray[Any, Any]:
        """Return what is seen of an element, (rows, columns, 3)."""
        box = self.js(f"(({{x, y, width, height}}) => [x, y, width, height])"
                      f"(document.querySelector({selector!r}).getBoundingClientRect())")  # fmt: skip
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)
        content = base64.b64decode(self("Page.captureScreenshot", format="png", clip=clip)["data"])
        return np.asarray(Pillow.open(io.BytesIO(content)).convert("RGB"))


@contextmanager
def browser() -> Iterator[Tab]:
    """Start Chromium, and end it behind the block."""
    binary = _binary()
    assert binary is not None
    (to_read, send), (receive, to_write) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="medimg-chromium-", ignore_cleanup_errors=True) as home:
        pipes = f'exec "$@" 3<&{to_read} 4>&{to_write}'  # the descriptors that Chromium expects
        words = ["bash", "-c", pipes, "chromium", binary, *_FLAGS, f"--user-data-dir={home}", "about:blank"]
        process = subprocess.Popen(
            words, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        try:
            yield Tab(process, send, receive)
        finally:
            os.close(send)
            os.close(receive)
            process.terminate()
            process.wait(30)
