"""A web server on this machine that counts what it sends, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Page:
    """A file of the server, and how the server behaves about it.

    Parameters
    ----------
    data : bytes
    ranges : bool
        Whether parts of it can be had; else every answer is the whole.
    status : int
        Of every answer; other than 200 the file is not sent.
    headers : dict
        Sent along.
    marked : bool
        Whether answers have an ETag, which is another one for other data.
    sized : bool
        Whether an answer with the whole says how long it is.
    promised : int
        Bytes that the header promises beyond those that come.
    drops : int
        How many answers end in their middle.
    pause : Event, optional
        Awaited before every answer.
    """

    data: bytes = b""
    ranges: bool = True
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    marked: bool = True
    sized: bool = True
    promised: int = 0
    drops: int = 0
    pause: threading.Event | None = None


@dataclass
class Asked:
    """One request that came."""

    method: str
    path: str
    range: str | None
    headers: dict[str, str]
    sent: int = 0


class Site(ThreadingHTTPServer):
    """The server; ``with Site() as site: site.add("a.nii", data)``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for page in self.pages.values():
            if page.pause is not None:
                page.pause.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""

    def add(self, name: str, data: bytes = b"", **behaviour: Any) -> str:
        """Put a file there and return its URL."""
        self.pages[name] = Page(data, **behaviour)
        return self.url(name)

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return f"http://127.0.0.1:{self.server_port}/{name}"

    @property
    def sent(self) -> int:
        """Bytes of bodies that were sent since the last `forget`."""
        return sum(asked.sent for asked in self.asked)

    def forget(self) -> None:
        """Count from 0 again."""
        self.asked.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        asked = Asked(self.command, self.path, self.headers.get("Range"), dict(self.headers))
        self.server.asked.append(asked)
        page = self.server.pages.get(unquote(urlsplit(self.path).path[1:]), Page(status=404))
        if page.pause is not None:
            page.pause.wait(30)
        status, data, headers = page.status, page.data, dict(page.headers)
        if page.marked:
            headers["ETag"] = '"' + hashlib.sha256(data).hexdigest()[:16] + '"'
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.range or "")
        if status != 200:
            data = b"" if status < 400 else b"sorry"
        elif wanted is not None and page.ranges:
            first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
            status = 206 if first <= last else 416
            headers["Content-Range"] = f"bytes {f'{first}-{last}' if first <= last else '*'}/{len(data)}"
            data = data[first : last + 1]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if page.sized or status != 200:
            self.send_header("Content-Length", str(len(data) + page.promised))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "GET":
            self._send(data, page, asked)

    def _send(self, data: bytes, page: Page, asked: Asked) -> None:
        whole = len(data)
        if page.drops and whole:
            page.drops -= 1
            data, self.close_connection = data[: whole // 2], True
        if page.promised:
            self.close_connection = True
        for start in range(0, len(data), 1 << 16):
            piece = data[start : start + (1 << 16)]
            asked.sent += len(piece)  # before the client can have it all and look
            self.wfile.write(piece)
